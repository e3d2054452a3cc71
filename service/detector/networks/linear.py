"""A linear-Gaussian variational autoencoder of tables in closed form: probabilistic principal components."""

from typing import Any, NamedTuple, Self

import msgspec
import torch
from torch import Tensor, nn

from kilter.service.detector.columns import Feature
from kilter.service.detector.columns.boolean import UNSEEN
from kilter.service.detector.networks.base import (
    HALF_LOG_TWO_PI,
    Evidence,
    Posterior,
    Sizes,
    View,
    clean,
    finite,
    observed,
    spread_of,
)
from kilter.service.detector.networks.tabular import USUAL_ROWS, TableNetwork
from kilter.service.detector.schema import Schema

VARIANCE = 0.95  # share of the variance that the principal subspace holds
MOST_LATENT = 64
LEAST_NOISE = 0.01  # residuals of less than a tenth of a standard deviation are not told apart
STEPS = 8  # of conjugate gradients
CLOSE = 1e-12  # of its first value: from here on the error of a solution is that of float32
TINY = 1e-30
CHUNK = 4096  # rows whose products are taken together


class LinearShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The features and sizes of a `LinearVAE`."""

    features: tuple[Feature, ...]
    columns: int
    latent: int


class LinearLikelihood(NamedTuple):
    """p(x | z): the expectation of every dense feature, (1, n, dense)."""

    center: Tensor


class ConditionalSurprise(Evidence):
    """How surprising each column is given all others, above what is usual: in nats, but for a constant.

    Of a Gaussian feature with precision matrix P it is (P (x - mean))_j^2 / 2 P_jj: half the square of its distance,
    in standard deviations, from what the other features let one expect.
    """

    def __init__(self, network: "LinearVAE") -> None:
        super().__init__()
        self.usual = nn.Buffer(torch.zeros(network.columns))

    def forward(self, network: "LinearVAE", x: Tensor, view: View) -> Tensor:
        inputs = view.inputs
        return network.column_terms(inputs, network.conditional_surprise(inputs, view.likelihood)) - self.usual

    def fit(self, network: "LinearVAE", x: Tensor, held: Tensor) -> None:
        rows = x[:USUAL_ROWS]
        self.usual.zero_()
        self.usual.copy_(self(network, rows, network.see(rows)).median(0).values)


class LinearVAE(TableNetwork):
    """A Gaussian code z, and dense features that are linear in it, with equal noise: x = mean + W z + noise.

    Its likelihood is greatest in closed form (Tipping and Bishop, 1999): W are the principal axes, each times the root
    of its variance above the noise, which is the mean variance along all others. Features are weighed: numbers as they
    are, indicators over their standard deviation, and levels so that the squared distance of two is the sum of their
    surprises in nats. Numbers are Gaussian, and the linear expectation of a flag or level is its probability.

    The posterior is that of the observed features, found by conjugate gradients, which are exact for a record that has
    all features, and in one step more than it lacks. So what is expected of a missing or hidden one is its conditional
    mean. It has no parameters to step: `start` is the whole fit, to all rows.
    """

    shape_type = LinearShape
    members = 1
    shape: LinearShape

    def __init__(self, shape: LinearShape) -> None:
        super().__init__(shape.features, shape.columns)
        dense = len(self.dense_feature)
        self.scale = nn.Buffer(torch.ones(dense))
        self.mean = nn.Buffer(torch.zeros(dense))
        self.noise = nn.Buffer(torch.ones(()))
        self.least = nn.Buffer(torch.full((), 1e-6))  # the least probability of a flag's value, or of a level
        self.unseen = nn.Buffer(torch.full((len(self.level),), 1e-6))  # the probability of a level not seen in training
        to_values = self.dense_feature[:, None] == torch.arange(self.values)
        level_values = self.level[:, None] == torch.arange(self.values)
        self.to_values = nn.Buffer(to_values.float(), persistent=False)
        self.level_values = nn.Buffer(level_values.float(), persistent=False)
        self._resize(shape)

    def _resize(self, shape: LinearShape) -> None:
        self.shape, self.latent = shape, shape.latent
        self.loading = nn.Buffer(torch.zeros(len(self.dense_feature), shape.latent))

    @classmethod
    def untrained(cls, schema: Schema, sizes: Sizes) -> Self:
        """Of one latent dimension, until `start` decides by the rows."""
        return cls(LinearShape(schema.features(), len(schema.columns), latent=1))

    @torch.no_grad()
    def start(self, schema: Schema, x: Tensor) -> None:
        """Fit it to encoded rows, (n, features); covariances are those of the rows that have both features.

        As many latent dimensions are kept as hold 95 % of the variance, fewer than there are dense features, and 64 at
        most. Probabilities of what was rarely seen are those of the VAE: the rule of succession, and Good and Turing's.
        """
        super().start(schema, x)
        rows = schema.rows + 2
        self.least.fill_(1 / rows)
        self.unseen.copy_(self.chances_of_unseen(schema))
        self.scale.copy_(dense_weights(self, x))
        mean, covariance = moments(self, x)
        variances, axes = principal(covariance)
        latent = min(subspace_size(variances), MOST_LATENT, max(len(variances) - 1, 1))
        rest = variances[latent:].mean() if latent < len(variances) else torch.zeros(())
        noise = rest.clamp(min=LEAST_NOISE)
        self._resize(msgspec.structs.replace(self.shape, latent=latent))
        self.mean.copy_(mean)
        self.noise.copy_(noise)
        self.loading.copy_(axes[:, :latent] * (variances[:latent] - noise).clamp(min=0).sqrt())

    @property
    def mean_dense(self) -> Tensor:
        """The mean of each dense feature, (1, dense), weighed no more."""
        return (self.mean / self.scale).unsqueeze(0)

    @property
    def device(self) -> torch.device:
        return self.mean.device

    def seen(self, inputs: Tensor) -> Tensor:
        """1 where a dense feature is observed, (..., dense)."""
        return self.pick(observed(inputs), "dense_feature")

    def encode(self, inputs: Tensor) -> Posterior:
        """The mean is exact; of several features missing together, the variance is that of the best diagonal."""
        inputs = inputs if inputs.dim() == 3 else inputs.unsqueeze(0)
        seen = self.seen(inputs)
        offset = (self.dense(inputs) * self.scale - self.mean) * seen
        precision = seen @ self.loading.square() + self.noise
        return Posterior(self.solve(offset @ self.loading, seen), (self.noise / precision).log())

    def solve(self, b: Tensor, seen: Tensor) -> Tensor:
        """z of (W' S W + noise) z = b, (1, n, latent), S being the diagonal of what is `seen`, (1, n, dense)."""
        whole = self.loading.square().sum(0) + self.noise  # the matrix of a record that has all features is diagonal
        z, rest = torch.zeros_like(b), b
        direction = steepest = rest / whole
        error = (rest * steepest).sum(-1, keepdim=True)
        close = CLOSE * error
        for _ in range(STEPS):
            image = ((direction @ self.loading.T) * seen) @ self.loading + self.noise * direction
            length = error / (direction * image).sum(-1, keepdim=True).clamp(min=TINY)
            length = torch.where(error > close, length, 0.0)
            z, rest = z + length * direction, rest - length * image
            steepest = rest / whole
            before, error = error, (rest * steepest).sum(-1, keepdim=True)
            direction = steepest + error / before.clamp(min=TINY) * direction
        return z

    def decode(self, z: Tensor) -> LinearLikelihood:
        return LinearLikelihood((z @ self.loading.T + self.mean) / self.scale)

    def parts(self, likelihood: LinearLikelihood) -> tuple[Tensor, Tensor, Tensor]:
        """What is expected of numbers, (1, n, gaussians), of flags from -1 to 1, and of levels, (1, n, slots)."""
        number, flag, slots = torch.split(
            likelihood.center, [len(self.gaussian), len(self.flag), len(self.slot_code)], dim=-1
        )
        return number, flag, slots

    def chances(self, flag: Tensor, slots: Tensor) -> tuple[Tensor, Tensor]:
        """The probabilities of flags, and of levels, by their linear expectations."""
        chance, share = ((1 + flag) / 2).clamp(self.least, 1 - self.least), slots.clamp(min=self.least)
        if len(self.level):
            total = (share @ self.slot_group) / (1 - self.unseen)
            share = share / (total @ self.slot_group.T)
        return chance, share

    def surprise(self, inputs: Tensor, likelihood: LinearLikelihood) -> Tensor:
        number, flag, slots = self.parts(likelihood)
        chance, share = self.chances(flag, slots)
        x, parts = clean(inputs), []
        if len(self.gaussian):
            square = (self.pick(x, "gaussian") - number).square() / self.noise
            parts.append(0.5 * (square + self.noise.log()) + HALF_LOG_TWO_PI)
        if len(self.flag):
            value = self.pick(x, "flag")
            known = torch.where(value > 0.5, chance, 1 - chance)
            parts.append(-torch.where(value > UNSEEN - 0.5, self.least, known).log())
        if len(self.level):
            hit = self.hits(inputs)
            unseen = 1 - hit @ self.slot_group
            parts.append(-((share.log() * hit) @ self.slot_group) - unseen * self.unseen.log())
        return self.pick(torch.cat(parts, dim=-1), "order") * observed(inputs)

    def conditional_surprise(self, inputs: Tensor, likelihood: LinearLikelihood) -> Tensor:
        """How surprising each value is given all others, (n, values): see `ConditionalSurprise`."""
        offset = self.filled(inputs, likelihood) * self.scale - self.mean
        share = self.loading / (self.loading.square().sum(0) + self.noise)
        rest = offset - (offset @ self.loading) @ share.T
        free = 1 - (self.loading * share).sum(-1)
        surprise = (0.5 * rest.square() / (self.noise * free) * self.seen(inputs)) @ self.to_values
        if not len(self.level):
            return surprise
        unseen = (1 - self.hits(inputs) @ self.slot_group) * self.pick(observed(inputs), "level")
        return surprise - (unseen * self.unseen.log()) @ self.level_values

    def filled(self, x: Tensor, likelihood: LinearLikelihood) -> Tensor:
        """The dense features of encoded records, (n, dense), with what is expected where one is missing or hidden."""
        there = self.pick(finite(x), "dense_feature")
        return torch.where(there, self.dense(x), self.expected_dense(likelihood))

    def expected(self, x: Tensor, likelihood: LinearLikelihood) -> Tensor:
        number, flag, slots = self.parts(likelihood)
        chance, share = self.chances(flag, slots)
        parts = []
        if len(self.gaussian):
            parts.append(number[0])
        if len(self.flag):
            parts.append(chance[0])
        start = 0
        for i in self._levels:
            size = self.features[i].levels
            parts.append(share[0, :, start : start + size].argmax(-1, keepdim=True).to(share.dtype))
            start += size
        return self.pick(torch.cat(parts, dim=-1), "order")

    def expected_dense(self, likelihood: Any) -> Tensor:
        center: Tensor = likelihood.center[0]
        return center

    def evidence(self) -> ConditionalSurprise:  # type: ignore[override]
        return ConditionalSurprise(self)


def dense_weights(network: LinearVAE, x: Tensor) -> Tensor:
    """The weight of each dense feature by encoded rows, (n, features): see `LinearVAE`."""
    sizes = [len(network.gaussian), len(network.flag), len(network.slot_code)]
    parts = [torch.stack([network.dense(part).sum(0), network.seen(part).sum(0)]) for part in torch.split(x, CHUNK)]
    counts, seen = torch.stack(parts).sum(0)
    numbers, flags, slots = torch.split(counts, sizes)
    _, rows, _ = torch.split(seen, sizes)
    share = ((flags + rows) / 2 + 1) / (rows + 2)
    return torch.cat([torch.ones_like(numbers), 0.5 / spread_of(share), (-((slots + 1) / (len(x) + 2)).log()).sqrt()])


def moments(network: LinearVAE, x: Tensor) -> tuple[Tensor, Tensor]:
    """Mean, (dense,), and covariance, (dense, dense), of the weighed dense features of encoded rows, in float64."""
    dense = len(network.dense_feature)
    sums, counts = torch.zeros(2, dense, dtype=torch.float64)
    for part in torch.split(x, CHUNK):
        seen = network.seen(part).double()
        counts += seen.sum(0)
        sums += (network.dense(part).double() * network.scale * seen).sum(0)
    mean = sums / counts.clamp(min=1)
    products, pairs = torch.zeros(2, dense, dense, dtype=torch.float64)
    for part in torch.split(x, CHUNK):
        seen = network.seen(part).double()
        offset = (network.dense(part).double() * network.scale - mean) * seen
        products += offset.T @ offset
        pairs += seen.T @ seen
    return mean, products / (pairs - 1).clamp(min=1)


def principal(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Variances, (axes,), largest first and none below 0, and the directions in which they lie, (axes, axes)."""
    variances, axes = torch.linalg.eigh(covariance)
    return variances.flip(0).clamp(min=0), axes.flip(1)


def subspace_size(variances: Tensor) -> int:
    """How many of the variances, (axes,), largest first, hold 95 % of their sum together: one at least."""
    share = variances.cumsum(0) / variances.sum().clamp(min=TINY)
    return min(1 + int((share < VARIANCE - 1e-9).sum()), len(variances))
