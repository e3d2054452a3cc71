"""The interface of a network: a posterior, a decoder, the terms of its loss, and its start before the first step.

A kind of network is one module with a subclass of `Network`, and an entry in `NETWORKS` of this package. What a batch
looks like in training, where the network starts, and how large it is belong to it: nothing else asks which kind it is.

Shapes: n records; *members*, networks that are trained side by side, each blind to another part of the fitting rows,
whose outputs are averaged; *latent*, the dimensions of z; *values* of a record, whose likelihood the network knows; and
*columns*, into which the values are summed up (those of a table, or the pixels of a picture).
"""

import math
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import msgspec
import torch
from torch import Tensor, nn

from kilter.service.detector.networks.layers import LayerBuild
from kilter.service.detector.schema import Schema

LOG_POSTERIOR_VARIANCE = (-8.0, 4.0)
HALF_LOG_TWO_PI = 0.9189385332046727
LEAST_SPREAD = 0.2  # an indicator's standard deviation is taken no smaller: one rare flag must not drown all else
LARGEST = 3.4e38  # beyond all finite values of a float32 that encoding gives


class Sizes(Protocol):
    """The sizes of a network that are asked for, and steps of its fit; it chooses by the schema what is None."""

    @property
    def members(self) -> int: ...
    @property
    def steps(self) -> int: ...
    @property
    def hidden(self) -> int | None: ...
    @property
    def latent(self) -> int | None: ...
    @property
    def components(self) -> int | None: ...
    @property
    def condition_on(self) -> str | None: ...
    @property
    def sigma(self) -> float | None: ...
    @property
    def build(self) -> LayerBuild: ...


class Posterior(NamedTuple):
    """q(z | x) = N(mean, diag(exp(log_variance))), each (members, n, latent)."""

    mean: Tensor
    log_variance: Tensor

    def draw(self, generator: torch.Generator) -> Tensor:
        """z = mean + noise * standard deviation, (members, n, latent): Kingma and Welling, 2014."""
        noise = torch.randn(self.mean.shape, generator=generator, device=self.mean.device)
        return self.mean + noise * (0.5 * self.log_variance).exp()

    def side_by_side(self) -> Tensor:
        """The means of all members in one row, (n, members latent)."""
        return self.mean.transpose(0, 1).flatten(1)

    def kl_by_dimension(self) -> Tensor:
        """KL(q(z | x) || N(0, I)) of each dimension in nats, (members, n, latent): Kingma and Welling, 2014."""
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance)

    def kl(self) -> Tensor:
        """KL(q(z | x) || N(0, I)) in nats, (members, n)."""
        return self.kl_by_dimension().sum(-1)

    def excess(self, z: Tensor) -> Tensor:
        """log q(z | x) - log p(z) of draws z, in nats, (members, n), float64; its mean is the KL divergence."""
        standard = (z - self.mean).square() * (-self.log_variance).exp()
        return (0.5 * (z.square() - standard - self.log_variance)).sum(-1).double()


class PointPosterior(Posterior):
    """A posterior some dimensions of which are points, with a log variance of -inf: they are drawn as they are, at no
    cost."""

    __slots__ = ()

    def kl_by_dimension(self) -> Tensor:
        return torch.where(self.log_variance > -torch.inf, super().kl_by_dimension(), 0.0)

    def excess(self, z: Tensor) -> Tensor:
        standard = (z - self.mean).square() * (-self.log_variance).exp()
        each = torch.where(self.log_variance > -torch.inf, z.square() - standard - self.log_variance, 0.0)
        return 0.5 * each.sum(-1).double()


class View(NamedTuple):
    """A network's view of n records at the posterior mean, z = E[q(z | x)], without sampling noise."""

    inputs: Tensor  # the records as the network sees them; see `Network.inputs`
    posterior: Posterior
    likelihood: Any
    terms: Tensor  # (n, columns), in nats, averaged over members: they sum to the reconstruction
    reconstruction: Tensor  # (n,), in nats
    kl: Tensor  # (n,), in nats


class Network(nn.Module):
    """A variational autoencoder; a subclass gives every method that raises NotImplementedError."""

    modality: ClassVar[str] = "table"  # name of the modality whose records it takes
    shape_type: ClassVar[type[msgspec.Struct]]
    """The part of a manifest that rebuilds it: `cls(shape)` is a network that was not fitted."""
    batch_rows: ClassVar[int]  # rows of a training step, unless another number is asked for
    code_numbers: ClassVar[int] = 2
    """Numbers that the encoder gives for each dimension of a code: here its mean and log variance."""
    has_elbo: ClassVar[bool] = True
    """Whether codes have a prior: reconstruction and KL then bound -log p(x), and a posterior can collapse onto it."""
    standard_prior: ClassVar[bool] = True
    """Whether that prior is N(0, I), so that codes may be drawn from it."""
    shape: msgspec.Struct
    members: int
    latent: int
    values: int
    columns: int

    @classmethod
    def untrained(cls, schema: Schema, sizes: Sizes) -> Self:
        """A network for a schema, with random weights by torch's global generator."""
        raise NotImplementedError

    def start(self, schema: Schema, x: Tensor) -> None:
        """Set what is known before the first step, by a schema and the encoded fitting rows, (n, features)."""

    def finish(self, x: Tensor) -> None:
        """Set what is known after the last step, by the encoded fitting rows, (n, features)."""

    def inputs(self, x: Tensor) -> Tensor:
        """Encoded records, (..., features), as the network sees them: by default as they are."""
        return x

    def encode(self, inputs: Tensor) -> Posterior:
        """The posterior of what `inputs` gives."""
        raise NotImplementedError

    def decode(self, z: Tensor) -> Any:
        """p(x | z): the parameters of the likelihood given z, (members, n, latent)."""
        raise NotImplementedError

    def posterior_of(self, numbers: Sequence[Tensor]) -> Posterior:
        """The posterior by as many numbers of each dimension as `code_numbers`, (members, n, latent) each."""
        mean, log_variance = numbers
        return Posterior(mean, log_variance.clamp(*LOG_POSTERIOR_VARIANCE))

    def surprise(self, inputs: Tensor, likelihood: Any) -> Tensor:
        """-log p(x_j | z) of every value, (members, n, values), in nats; 0 where one is missing or hidden."""
        raise NotImplementedError

    def column_terms(self, inputs: Tensor, surprise: Tensor) -> Tensor:
        """The surprise of every column, (members, n, columns), in nats: by default each value is a column."""
        return surprise

    def expected(self, x: Tensor, likelihood: Any) -> Tensor:
        """The expectation of each feature of encoded records, (n, features): see `detector.runtime`."""
        raise NotImplementedError

    def target(self, inputs: Tensor) -> Tensor:
        """What the network describes of a record, as numbers, (n, axes)."""
        raise NotImplementedError

    def center(self, likelihood: Any) -> Tensor:
        """What is expected of it, as numbers that change smoothly with the code: (n, axes)."""
        raise NotImplementedError

    def evidence(self) -> "Evidence":
        """The evidence against records for a score that has no better one."""
        raise NotImplementedError

    def shown(self, inputs: Tensor, generator: torch.Generator) -> Posterior:
        """The posterior of a batch, (members, n, ...), as training shows it: by default whole."""
        return self.encode(inputs)

    @property
    def condition_column(self) -> int | None:
        """The column, by its place in the schema, given whose value all else is judged; None of most networks."""
        return None

    @property
    def least_steps(self) -> int:
        """Steps of a fit before which it never ends: none of most networks."""
        return 0

    @property
    def allowance(self) -> float:
        """Nats by which the held-out ELBO of the network that is kept may be below the best: none of most networks."""
        return 0.0

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def posterior(self, x: Tensor) -> Posterior:
        """The posterior of encoded records, (..., n, features)."""
        return self.encode(self.inputs(x))

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draws of z from the prior N(0, I), (members, count, latent)."""
        return torch.randn(self.members, count, self.latent, generator=generator, device=self.device)

    @property
    def code_size(self) -> int:
        """Numbers of a record's code: by default the posterior means of all members, side by side."""
        return self.members * self.latent

    @property
    def noise_size(self) -> int:
        """Draws of N(0, 1) by which the values of a record are drawn; 0 of a network that cannot draw them."""
        return 0

    def code(self, x: Tensor) -> Tensor:
        """The codes of encoded records, (n, features): (n, code_size)."""
        return self.code_of(x, self.posterior(x))

    def code_of(self, x: Tensor, posterior: Posterior) -> Tensor:
        """`code` of encoded records, (n, features), whose posterior is known."""
        return posterior.side_by_side()

    def decoded(self, code: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """The features of codes, (n, code_size): as expected, and as drawn by noise, (n, noise_size).

        Each (n, features). Where the network cannot draw them, they are as expected. For a network whose `expected`
        looks at no features.
        """
        likelihood = self.decode(code.reshape(-1, self.members, self.latent).transpose(0, 1))
        expected = self.expected(code[:, :0], likelihood)
        return expected, self.draw(likelihood, noise) if self.noise_size else expected.clone()

    def decoded_rows(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """`decoded` of codes with the noise beside them, (n, code_size + noise_size)."""
        return self.decoded(rows[:, : self.code_size], rows[:, self.code_size :])

    def draw(self, likelihood: Any, noise: Tensor) -> Tensor:
        """Features drawn from a likelihood by noise, (n, noise_size): (n, features), NaN where a value is missing."""
        raise NotImplementedError

    def infer(self, x: Tensor) -> tuple[Tensor, Posterior, Any]:
        """The inputs of encoded records, (n, features), their posterior, and the likelihood at its mean."""
        inputs = self.inputs(x)
        posterior = self.encode(inputs)
        return inputs, posterior, self.decode(posterior.mean)

    def see(self, x: Tensor) -> View:
        """View encoded records, (n, features)."""
        inputs, posterior, likelihood = self.infer(x)
        terms = self.column_terms(inputs, self.surprise(inputs, likelihood)).mean(0)
        return View(inputs, posterior, likelihood, terms, terms.sum(-1), posterior.kl().mean(0))

    def negative_elbo(self, inputs: Tensor, posterior: Posterior, z: Tensor) -> Tensor:
        """-ELBO of records, each member's own, with the reconstruction at z: (members, n), in nats."""
        terms = self.column_terms(inputs, self.surprise(inputs, self.decode(z)))
        return terms.sum(-1) + posterior.kl()

    def loss_terms(self, x: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """The terms of the loss of a batch, (members, n, features), as training shows it, z being drawn.

        The reconstruction of each record, (members, n), and the KL by dimension, (members, n, latent), in nats.
        """
        inputs = self.inputs(x)
        posterior = self.shown(inputs, generator)
        likelihood = self.decode(posterior.draw(generator))
        return self.surprise(inputs, likelihood).sum(-1), posterior.kl_by_dimension()


class Evidence(nn.Module):
    """The evidence against each column or place of a record, above what is usual: the `terms` of a program."""

    grid: tuple[int, int] | None = None  # rows and columns of the places; None if the evidence is against columns

    def forward(self, network: Any, x: Tensor, view: View) -> Tensor:
        """(n, columns or places), of encoded records, (n, features), and a network's view of them."""
        raise NotImplementedError

    def fit(self, network: Any, x: Tensor, held: Tensor) -> None:
        """Learn what is usual from encoded fitting rows, (n, features); no member saw those at `held`, (m,)."""
        raise NotImplementedError


def finite(x: Tensor) -> Tensor:
    """Where an encoded feature has a value; in two operations, which isfinite is not once it is exported."""
    return x.abs() <= LARGEST


def observed(x: Tensor) -> Tensor:
    """1 where an encoded feature has a value, 0 where it is missing (NaN) or hidden (infinite)."""
    return finite(x).to(x.dtype)


def clean(x: Tensor) -> Tensor:
    """Encoded features with 0 where they are missing or hidden."""
    return torch.where(finite(x), x, 0.0)


def spread_of(share: Tensor) -> Tensor:
    """The standard deviations of indicators that are 1 in such shares of the rows, with a floor."""
    return (share * (1 - share)).sqrt().clamp(min=LEAST_SPREAD)


def chance(noise: Tensor) -> Tensor:
    """Draws of N(0, 1) as draws of U(0, 1)."""
    return 0.5 * (1 + torch.erf(noise / math.sqrt(2)))


def robust(values: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and scale: the median, and how far the 95 % quantile lies above it."""
    median = values.median()
    return median, (torch.quantile(values, 0.95) - median).clamp(min=0.05)


def latent_size(values: int) -> int:
    """Dimensions of the latent space for records of so many values."""
    return min(max(2 * round(math.sqrt(values)) + 2, 3), 32)
