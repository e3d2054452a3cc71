"""A variational autoencoder of tables, trained on masked records, with a likelihood per kind of feature."""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import torch
from torch import Tensor, nn

from kilter.service.detector.columns import Feature

LOG_SIGMA = (-2.0, 2.0)
"""Bounds of a Gaussian component's log standard deviation, in standardised units."""
LOG_POSTERIOR_VARIANCE = (-8.0, 4.0)
LOGIT = 15.0
"""Bound of a logit, so that a sum of exponentials needs no maximum taken out first."""
LARGEST = 3.4e38
"""Beyond all finite values of a float32 that the encoder gives."""
HALF_LOG_TWO_PI = 0.9189385332046727


class TabularShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What rebuilds the network: its features and sizes."""

    features: tuple[Feature, ...]
    columns: int
    members: int
    """Networks trained side by side, each blind to another part of the fitting rows; their outputs are averaged."""
    hidden: int
    latent: int
    components: int
    """Gaussians in the mixture of each numeric feature."""

    def where(self, kind: str) -> list[int]:
        """Positions of the features of a kind."""
        return [i for i, feature in enumerate(self.features) if feature.kind == kind]


class Posterior(NamedTuple):
    """q(z | x) = N(mean, diag(exp(log_variance))), each (members, n, latent)."""

    mean: Tensor
    log_variance: Tensor

    def kl_by_dimension(self) -> Tensor:
        """KL(q(z | x) || N(0, I)) of each dimension in nats, (members, n, latent): Kingma and Welling, 2014."""
        return 0.5 * (self.mean.square() + self.log_variance.exp() - 1 - self.log_variance)

    def kl(self) -> Tensor:
        """KL(q(z | x) || N(0, I)) in nats, (members, n)."""
        return self.kl_by_dimension().sum(-1)

    def joined(self) -> Tensor:
        """The means of all members side by side, (n, members latent)."""
        return self.mean.transpose(0, 1).flatten(1)


class Likelihood(NamedTuple):
    """p(x | z): the parameters of every feature's distribution."""

    components: int
    weight: Tensor
    """(members, n, components gaussians), one component after the other: weights before they are made to sum to 1, then
    means, then log standard deviations."""
    mean: Tensor
    log_sigma: Tensor
    flag: Tensor
    """(members, n, flags): probability of 1."""
    level: Tensor
    """(members, n, slots): log probability of each level of each feature, one after the other."""

    def expected_number(self) -> Tensor:
        """The mean of each numeric feature's mixture, (members, n, gaussians)."""
        return total(self.weight * self.mean, self.components) / total(self.weight, self.components)


def finite(x: Tensor) -> Tensor:
    """Where an encoded feature has a value; in two operations, which isfinite is not once it is exported."""
    return x.abs() <= LARGEST


def known(x: Tensor) -> Tensor:
    """1 where an encoded feature has a value, 0 where it is missing (NaN) or hidden (infinite)."""
    return finite(x).to(x.dtype)


def clean(x: Tensor) -> Tensor:
    """Encoded features with 0 where they are missing or hidden."""
    return torch.where(finite(x), x, 0.0)


def total(x: Tensor, components: int) -> Tensor:
    """The sum over the components of (..., components features): component by component, which vectorises."""
    first, *others = x.chunk(components, dim=-1)
    for part in others:
        first = first + part
    return first


def log_sum_exp(x: Tensor, components: int) -> Tensor:
    """log sum exp over the components of (..., components features): component by component, which vectorises."""
    parts = x.chunk(components, dim=-1)
    most = parts[0]
    for part in parts[1:]:
        most = torch.maximum(most, part)
    return total(torch.cat([(part - most).exp() for part in parts], dim=-1), components).log() + most


def _linear(members: int, inputs: int, outputs: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(members, inputs, outputs) * (2.0 / (inputs + outputs)) ** 0.5)


class Layers(nn.Module):
    """Two hidden layers with SiLU, for all members at once: (members, n, inputs) to (members, n, outputs)."""

    def __init__(self, members: int, inputs: int, hidden: int, outputs: int) -> None:
        super().__init__()
        sizes = [(inputs, hidden), (hidden, hidden), (hidden, outputs)]
        self.weights = nn.ParameterList(_linear(members, a, b) for a, b in sizes)
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(members, 1, b)) for _, b in sizes)

    def forward(self, h: Tensor, sizes: Sequence[int]) -> list[Tensor]:
        """The outputs in parts of some sizes, each a product of its own: a program skips those it does not need."""
        for weight, bias in zip(self.weights[:2], self.biases[:2], strict=True):
            h = h @ weight + bias
            h = h * torch.sigmoid(h)
        parts = zip(self.weights[2].split(sizes, dim=-1), self.biases[2].split(sizes, dim=-1), strict=True)
        return [h @ weight + bias for weight, bias in parts]


class TabularVAE(nn.Module):
    """Encoder, decoder and per-feature likelihood.

    A feature that is missing, or masked in training, enters the encoder as 0 with its mask bit set, as in Ivanov et
    al., Variational Autoencoder with Arbitrary Conditioning, 2019.
    """

    gaussian: Tensor
    flag: Tensor
    level: Tensor
    slot_feature: Tensor
    slot_code: Tensor
    slot_group: Tensor
    dense_feature: Tensor
    order: Tensor
    """Positions of the features among those of the three kinds, one kind after the other."""
    to_columns: Tensor
    flag_floor: Tensor
    unseen: Tensor
    missing: Tensor

    def __init__(self, shape: TabularShape) -> None:
        super().__init__()
        self.shape = shape
        gaussian, flag, level = (shape.where(kind) for kind in ("gaussian", "flag", "level"))
        slots = [(i, code) for i in level for code in range(shape.features[i].levels)]
        dense = gaussian + flag + [i for i, _ in slots]
        positions = {
            "gaussian": gaussian,
            "flag": flag,
            "level": level,
            "slot_feature": [i for i, _ in slots],
            "dense_feature": dense,
            "order": sorted(range(len(shape.features)), key=lambda i: (gaussian + flag + level)[i]),
        }
        for name, values in positions.items():
            self.register_buffer(name, torch.tensor(values, dtype=torch.int64), persistent=False)
        self._all = {name for name, values in positions.items() if values == list(range(len(shape.features)))}
        group = torch.zeros(len(slots), len(level))
        for slot, (i, _) in enumerate(slots):
            group[slot, level.index(i)] = 1
        to_columns = torch.zeros(len(shape.features), shape.columns)
        for i, feature in enumerate(shape.features):
            to_columns[i, feature.column] = 1
        self.register_buffer("slot_code", torch.tensor([code for _, code in slots]).float(), persistent=False)
        self.register_buffer("slot_group", group, persistent=False)
        self.register_buffer("to_columns", to_columns, persistent=False)
        self.register_buffer("flag_floor", torch.full((len(flag),), 1e-6))
        self.register_buffer("unseen", torch.full((len(level),), 1e-6))
        self.register_buffer("missing", torch.full((shape.columns,), 1e-6))
        self.encoder = Layers(shape.members, len(dense) + len(shape.features), shape.hidden, 2 * shape.latent)
        outputs = 3 * shape.components * len(gaussian) + len(flag) + len(slots)
        self.decoder = Layers(shape.members, shape.latent, shape.hidden, outputs)
        self._spread_components()

    def _spread_components(self) -> None:
        """Start the components of each mixture apart, or they would stay one."""
        numbers = len(self.gaussian) * self.shape.components
        if self.shape.components > 1:
            start = torch.linspace(-1, 1, self.shape.components).repeat_interleave(len(self.gaussian))
            with torch.no_grad():
                self.decoder.biases[-1][..., numbers : 2 * numbers] += start

    def start_at(self, flags: Tensor, levels: Tensor) -> None:
        """Let every record expect flags, (flags,), and levels, (slots,), with these probabilities, untrained."""
        bias = self.decoder.biases[-1]
        first = bias.shape[-1] - len(flags) - len(levels)
        with torch.no_grad():
            bias[..., first : first + len(flags)] = flags.logit()
            bias[..., first + len(flags) :] = levels.log()

    def pick(self, x: Tensor, name: str) -> Tensor:
        """The features at the positions of a name, in their order; an index would be exported as something slower."""
        return x if name in self._all else torch.index_select(x, -1, getattr(self, name))

    def missing_columns(self, x: Tensor) -> Tensor:
        """1 where a column is missing, (..., columns)."""
        absent = torch.isnan(x).to(x.dtype)
        if self.shape.columns == len(self.shape.features):
            return absent
        return (absent @ self.to_columns).clamp(max=1)

    def dense(self, x: Tensor) -> Tensor:
        """Numbers, flags as -1 and 1, and one-hot levels, (..., dense); 0 where missing, hidden or unseen."""
        parts = []
        if len(self.gaussian):
            parts.append(self.pick(clean(x), "gaussian"))
        if len(self.flag):
            parts.append(self.pick((2 * clean(x) - 1) * known(x), "flag"))
        if len(self.level):
            parts.append(self.hits(x))
        return torch.cat(parts, dim=-1)

    def hits(self, x: Tensor) -> Tensor:
        """Whether each level of each feature is the observed one, (..., slots)."""
        return (self.pick(x, "slot_feature") == self.slot_code).to(x.dtype)

    def encode(self, dense: Tensor, observed: Tensor) -> Posterior:
        """The posterior from (..., n, dense) and the mask (..., n, features) of what may be looked at."""
        return self._posterior(dense * self.pick(observed, "dense_feature"), observed)

    def _posterior(self, shown: Tensor, observed: Tensor) -> Posterior:
        inputs = torch.cat([shown, 1 - observed], dim=-1)
        if inputs.dim() == 2:
            inputs = inputs.unsqueeze(0)
        mean, log_variance = self.encoder(inputs, [self.shape.latent] * 2)
        return Posterior(mean, log_variance.clamp(*LOG_POSTERIOR_VARIANCE))

    def decode(self, z: Tensor) -> Likelihood:
        """The likelihood given z, (members, n, latent)."""
        numbers = len(self.gaussian) * self.shape.components
        sizes = [numbers, numbers, numbers, len(self.flag), len(self.slot_code)]
        weight, mean, log_sigma, flag, level = self.decoder(z, sizes)
        level = LOGIT * torch.tanh(level / LOGIT)
        seen = (level.exp() @ self.slot_group).log() - torch.log1p(-self.unseen)
        return Likelihood(
            self.shape.components,
            weight.clamp(-LOGIT, LOGIT).exp(),
            mean,
            log_sigma.clamp(*LOG_SIGMA),
            self.flag_floor + (1 - 2 * self.flag_floor) * torch.sigmoid(flag),
            level - seen @ self.slot_group.T,
        )

    def surprise(self, x: Tensor, p: Likelihood) -> Tensor:
        """-log p(x_j | z) of every feature in nats, 0 where missing or hidden: (members, n, features)."""
        observed = clean(x)
        parts = []
        if len(self.gaussian):
            numbers = torch.cat([self.pick(observed, "gaussian")] * p.components, dim=-1)
            standard = (numbers - p.mean) * (-p.log_sigma).exp()
            density = p.weight.log() - p.log_sigma - 0.5 * standard.square() - HALF_LOG_TWO_PI
            parts.append(total(p.weight, p.components).log() - log_sum_exp(density, p.components))
        if len(self.flag):
            parts.append(-torch.where(self.pick(observed, "flag") > 0.5, p.flag, 1 - p.flag).log())
        if len(self.level):
            hit = self.hits(x)
            unseen = 1 - hit @ self.slot_group
            parts.append(-((p.level * hit) @ self.slot_group) - unseen * self.unseen.log())
        return self.pick(torch.cat(parts, dim=-1), "order") * known(x)

    def column_terms(self, x: Tensor, surprise: Tensor) -> Tensor:
        """Surprise per column with that of its being missing or not: (members, n, columns)."""
        absent = self.missing_columns(x)
        return surprise @ self.to_columns - absent * self.missing.log() - (1 - absent) * torch.log1p(-self.missing)

    def expected(self, p: Likelihood) -> Tensor:
        """What is expected of each feature, averaged over members: (n, features); see `detector.runtime`."""
        parts = []
        if len(self.gaussian):
            parts.append(p.expected_number().mean(0))
        if len(self.flag):
            parts.append(p.flag.mean(0))
        start = 0
        for i in self.shape.where("level"):
            size = self.shape.features[i].levels
            code = p.level.mean(0)[:, start : start + size].argmax(-1, keepdim=True)
            parts.append(code.to(p.level.dtype))
            start += size
        return self.pick(torch.cat(parts, dim=-1), "order")

    def expected_dense(self, p: Likelihood) -> Tensor:
        """What is expected of each dense feature, averaged over members: (n, dense)."""
        parts = []
        if len(self.gaussian):
            parts.append(p.expected_number())
        if len(self.flag):
            parts.append(2 * p.flag - 1)
        if len(self.level):
            parts.append(p.level.exp())
        return torch.cat(parts, dim=-1).mean(0)

    def posterior(self, x: Tensor) -> Posterior:
        """The posterior of encoded records, (..., n, features)."""
        return self._posterior(self.dense(x), known(x))

    def infer(self, x: Tensor) -> tuple[Posterior, Likelihood]:
        """The posterior of records, (n, features), and the likelihood at its mean, with no sampling noise."""
        posterior = self.posterior(x)
        return posterior, self.decode(posterior.mean)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Reconstruction (n,) and KL (n,) in nats, column terms (n, columns) and expected (n, features).

        The ELBO is taken at the posterior mean, z = E[q(z | x)]: a plug-in value.
        """
        posterior, p = self.infer(x)
        terms = self.column_terms(x, self.surprise(x, p)).mean(0)
        return terms.sum(-1), posterior.kl().mean(0), terms, self.expected(p)
