"""Networks of tables: what all have in common, and a variational autoencoder that is trained on masked records."""

import math
from typing import Any, ClassVar, NamedTuple, Self

import msgspec
import torch
from torch import Tensor, nn

from kilter.service.detector.columns import Feature
from kilter.service.detector.columns.boolean import UNSEEN
from kilter.service.detector.networks.base import (
    HALF_LOG_TWO_PI,
    Evidence,
    Network,
    Posterior,
    Sizes,
    View,
    chance,
    clean,
    latent_size,
    observed,
)
from kilter.service.detector.networks.layers import DEFAULT, LayerBuild, Layers
from kilter.service.detector.schema import Schema

LOG_SIGMA = (-2.0, 2.0)  # bounds of a Gaussian component's log standard deviation, in standardised units
LOGIT = 15.0  # bound of a logit, so that a sum of exponentials needs no maximum taken out first
HIDDEN = 64  # units of each hidden layer of a member, if they are not asked for
COMPONENTS = 3
MIXTURE_FEATURES = 200  # more features than these have one Gaussian each: a mixture would take too long
UNMASKED = 0.3
"""Share of the records of a batch that are shown whole; of each other one a share drawn from U(0, MASKED) is hidden."""
MASKED = 0.8
USUAL_ROWS = 2_000  # fitting rows over which the usual terms are taken


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
    sums = (parts[0] - most).exp()
    for part in parts[1:]:
        sums = sums + (part - most).exp()
    return sums.log() + most


class ColumnEvidence(Evidence):
    """The surprise of each column under the network in nats, less its median over fitting rows."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.usual = nn.Buffer(torch.zeros(columns))

    def forward(self, network: Network, x: Tensor, view: View) -> Tensor:
        return view.terms - self.usual

    def fit(self, network: Network, x: Tensor, held: Tensor) -> None:
        self.usual.copy_(network.see(x[:USUAL_ROWS]).terms.median(0).values)


class TableNetwork(Network):
    """Features as a network takes them, and the likelihood of a value's being missing.

    A feature that is missing (NaN), or hidden (infinite), is 0 among the dense features: numbers, flags as -1 and 1,
    and one-hot levels.
    """

    gaussian: Tensor
    flag: Tensor
    level: Tensor
    slot_feature: Tensor
    dense_feature: Tensor
    order: Tensor  # positions of the features among those of the three kinds, one kind after the other

    def __init__(self, features: tuple[Feature, ...], columns: int) -> None:
        super().__init__()
        self.features, self.values, self.columns = features, len(features), columns
        gaussian, flag, level = (
            [i for i, feature in enumerate(features) if feature.kind == kind] for kind in ("gaussian", "flag", "level")
        )
        slots = [(i, code) for i in level for code in range(features[i].levels)]
        positions = {
            "gaussian": gaussian,
            "flag": flag,
            "level": level,
            "slot_feature": [i for i, _ in slots],
            "dense_feature": gaussian + flag + [i for i, _ in slots],
            "order": sorted(range(len(features)), key=lambda i: (gaussian + flag + level)[i]),
        }
        for name, places in positions.items():
            self.register_buffer(name, torch.tensor(places, dtype=torch.int64), persistent=False)
        self._levels = level
        self._all = {name for name, places in positions.items() if places == list(range(len(features)))}
        group = self.slot_feature[:, None] == self.level
        to_columns = torch.tensor([feature.column for feature in features])[:, None] == torch.arange(columns)
        self.slot_code = nn.Buffer(torch.tensor([code for _, code in slots]).float(), persistent=False)
        self.slot_group = nn.Buffer(group.float(), persistent=False)
        self.to_columns = nn.Buffer(to_columns.float(), persistent=False)
        self.missing = nn.Buffer(torch.full((columns,), 1e-6))  # the probability that a value is missing

    def pick(self, x: Tensor, name: str) -> Tensor:
        """The features at the positions of a name, in their order; an index would be exported as something slower."""
        return x if name in self._all else torch.index_select(x, -1, getattr(self, name))

    def missing_columns(self, x: Tensor) -> Tensor:
        """1 where a column is missing, (..., columns)."""
        absent = torch.isnan(x).to(x.dtype)
        if self.columns == self.values:
            return absent
        return (absent @ self.to_columns).clamp(max=1)

    def dense(self, x: Tensor) -> Tensor:
        """The dense features, (..., dense); 0 where missing, hidden or of an unseen level."""
        parts = []
        if len(self.gaussian):
            parts.append(self.pick(clean(x), "gaussian"))
        if len(self.flag):
            parts.append(self.pick((2 * clean(x) - 1) * observed(x), "flag"))
        if len(self.level):
            parts.append(self.hits(x))
        return torch.cat(parts, dim=-1)

    def hits(self, x: Tensor) -> Tensor:
        """Whether each level of each feature is the observed one, (..., slots)."""
        return (self.pick(x, "slot_feature") == self.slot_code).to(x.dtype)

    def column_terms(self, inputs: Tensor, surprise: Tensor) -> Tensor:
        """Surprise per column with that of its being missing or not: (members, n, columns)."""
        there = torch.log1p(-self.missing)
        by_column = surprise if self.columns == self.values else surprise @ self.to_columns
        return by_column - (self.missing_columns(inputs) * (self.missing.log() - there) + there)

    def expected_dense(self, likelihood: Any) -> Tensor:
        """The expectation of each dense feature, averaged over members: (n, dense)."""
        raise NotImplementedError

    def target(self, inputs: Tensor) -> Tensor:
        return self.dense(inputs)

    def center(self, likelihood: Any) -> Tensor:
        return self.expected_dense(likelihood)

    def chances_of_unseen(self, schema: Schema) -> Tensor:
        """The probability of a level not seen in training, of each feature of levels: that of Good and Turing."""
        counts = [schema.columns[self.features[i].column].counts for i in self._levels]
        rows = schema.rows + 2
        return torch.tensor([1e-6 if seen is None else min((seen.count(1) + 1) / rows, 0.5) for seen in counts])

    def evidence(self) -> ColumnEvidence:
        return ColumnEvidence(self.columns)

    def start(self, schema: Schema, x: Tensor) -> None:
        """A missing value has the probability (m + 1) / (n + 2): Laplace's rule of succession."""
        chances = [(column.missing + 1) / (schema.rows + 2) for column in schema.columns]
        self.missing.copy_(torch.tensor(chances))


class TabularShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The features and sizes of a `TabularVAE`."""

    features: tuple[Feature, ...]
    columns: int
    members: int
    hidden: int
    latent: int
    components: int  # Gaussians in the mixture of each numeric feature
    sigma: float | None = None  # standard deviation of each of them, in standardised units; None where it is learned
    build: LayerBuild = DEFAULT


class TabularLikelihood(NamedTuple):
    """p(x | z): the parameters of every feature's distribution."""

    components: int
    log_weight: Tensor
    """(members, n, components gaussians), one component after the other: logarithms of weights before they are made to
    sum to 1, then means, then log standard deviations."""
    mean: Tensor
    log_sigma: Tensor
    flag: Tensor  # (members, n, flags): probability of 1
    level: Tensor  # (members, n, slots): log probability of each level of each feature, one after the other

    def expected_number(self) -> Tensor:
        """The mean of each numeric feature's mixture, (members, n, gaussians)."""
        weight = self.log_weight.exp()
        return total(weight * self.mean, self.components) / total(weight, self.components)


class TabularVAE(TableNetwork):
    """Encoder, decoder and per-feature likelihood.

    A feature that is missing, or masked in training, enters the encoder as 0 with its mask bit set, as in Ivanov et
    al., Variational Autoencoder with Arbitrary Conditioning, 2019.
    """

    shape_type: ClassVar[type[msgspec.Struct]] = TabularShape
    batch_rows = 128
    shape: TabularShape

    def __init__(self, shape: TabularShape) -> None:
        super().__init__(shape.features, shape.columns)
        self.shape = shape
        self.members, self.latent = shape.members, shape.latent
        self.flag_floor = nn.Buffer(torch.full((len(self.flag),), 1e-6))  # the least probability of either value
        self.unseen = nn.Buffer(torch.full((len(self.level),), 1e-6))  # the probability of a level not seen in training
        dense, numbers = len(self.dense_feature), shape.components * len(self.gaussian)
        self.encoder = self.layers(dense + self.values, self.code_numbers * shape.latent)
        outputs = 3 * numbers + len(self.flag) + len(self.slot_code)
        self.decoder = self.layers(shape.latent, outputs)
        if shape.components > 1:  # components of a mixture that start together would stay together
            apart = torch.linspace(-1, 1, shape.components).repeat_interleave(len(self.gaussian))
            with torch.no_grad():
                self.decoder.biases[-1][..., numbers : 2 * numbers] += apart

    @classmethod
    def untrained(cls, schema: Schema, sizes: Sizes) -> Self:
        features, columns = schema.features(), len(schema.columns)
        hidden, latent = sizes.hidden or HIDDEN, sizes.latent or latent_size(len(features))
        alone = len(features) > MIXTURE_FEATURES or sizes.sigma is not None
        components = sizes.components or (1 if alone else COMPONENTS)
        return cls(TabularShape(features, columns, sizes.members, hidden, latent, components, sizes.sigma, sizes.build))

    def layers(self, inputs: int, outputs: int) -> Layers:
        """Hidden layers between so many inputs and outputs."""
        return Layers(self.shape.members, inputs, self.shape.hidden, outputs, self.shape.build)

    def start(self, schema: Schema, x: Tensor) -> None:
        """Set the probabilities of what training rarely or never saw, and expect each flag and level as often as it is.

        A flag's probability stays 1 / (n + 2) away from 0 and 1: Laplace's rule of succession. An unseen level has the
        Good-Turing estimate, the share of levels seen once.
        """
        super().start(schema, x)
        rows = schema.rows + 2
        self.flag_floor.fill_(1 / rows)
        self.unseen.copy_(self.chances_of_unseen(schema))
        sizes = [len(self.gaussian), len(self.flag), len(self.slot_code)]
        _, flags, slots = torch.split(self.dense(x), sizes, dim=-1)
        flag, level = ((counts.sum(0) + 1) / (len(x) + 2) for counts in ((flags + 1) / 2, slots))
        bias = self.decoder.biases[-1]
        with torch.no_grad():
            bias[..., bias.shape[-1] - len(flag) - len(level) :] = torch.cat([flag.logit(), level.log()])

    def encode(self, inputs: Tensor) -> Posterior:
        return self.encode_masked(self.dense(inputs), observed(inputs))

    def shown(self, inputs: Tensor, generator: torch.Generator) -> Posterior:
        """The posterior with a random part of each record masked; a column is hidden with all its features."""
        size, device = inputs.shape[:2], generator.device
        rate = MASKED * torch.rand((*size, 1), generator=generator, device=device)
        whole = torch.rand((*size, 1), generator=generator, device=device) < UNMASKED
        drawn = torch.rand((*size, self.columns), generator=generator, device=device)
        mask = (whole | (drawn >= rate)).float()
        seen = observed(inputs) * mask[..., [feature.column for feature in self.features]]
        return self.encode_masked(self.dense(inputs) * self.pick(seen, "dense_feature"), seen)

    def encode_masked(self, dense: Tensor, seen: Tensor) -> Posterior:
        """The posterior of dense features, (..., n, dense), 0 where they are not `seen`, (..., n, features)."""
        inputs = self.encoder_inputs(dense, seen)
        if inputs.dim() == 2:
            inputs = inputs.unsqueeze(0)
        return self.posterior_of(self.encoder(inputs, [self.shape.latent] * self.code_numbers))

    def encoder_inputs(self, dense: Tensor, seen: Tensor) -> Tensor:
        """What the encoder takes of dense features, (..., n, inputs)."""
        return torch.cat([dense, 1 - seen], dim=-1)

    def decode(self, z: Tensor) -> TabularLikelihood:
        numbers = len(self.gaussian) * self.shape.components
        sizes = [numbers, numbers, numbers, len(self.flag), len(self.slot_code)]
        log_weight, mean, log_sigma, flag, level = self.decoder(z, sizes)
        level = LOGIT * torch.tanh(level / LOGIT)
        seen = (level.exp() @ self.slot_group).log() - torch.log1p(-self.unseen)
        return TabularLikelihood(
            self.shape.components,
            log_weight.clamp(-LOGIT, LOGIT),
            mean,
            self.log_deviation(log_sigma),
            self.flag_floor + (1 - 2 * self.flag_floor) * torch.sigmoid(flag),
            level - seen @ self.slot_group.T,
        )

    def log_deviation(self, learned: Tensor) -> Tensor:
        """The log standard deviation of each Gaussian, by what the decoder gives for it."""
        if self.shape.sigma is None:
            return learned.clamp(*LOG_SIGMA)
        return torch.full_like(learned, math.log(self.shape.sigma))

    def surprise(self, inputs: Tensor, likelihood: TabularLikelihood) -> Tensor:
        x, p = clean(inputs), likelihood
        parts = []
        if len(self.gaussian):
            numbers = torch.cat([self.pick(x, "gaussian")] * p.components, dim=-1)
            standard = (numbers - p.mean) * (-p.log_sigma).exp()
            density = p.log_weight - p.log_sigma - 0.5 * standard.square()
            weights = total(p.log_weight.exp(), p.components).log() + HALF_LOG_TWO_PI
            parts.append(weights - log_sum_exp(density, p.components))
        if len(self.flag):
            flag = self.pick(x, "flag")
            chance = torch.where(flag > 0.5, p.flag, 1 - p.flag)
            parts.append(-torch.where(flag > UNSEEN - 0.5, self.flag_floor, chance).log())
        if len(self.level):
            hit = self.hits(inputs)
            unseen = 1 - hit @ self.slot_group
            parts.append(-((p.level * hit) @ self.slot_group) - unseen * self.unseen.log())
        return self.pick(torch.cat(parts, dim=-1), "order") * observed(inputs)

    def expected(self, x: Tensor, likelihood: TabularLikelihood) -> Tensor:
        p, parts = likelihood, []
        if len(self.gaussian):
            parts.append(p.expected_number().mean(0))
        if len(self.flag):
            parts.append(p.flag.mean(0))
        start = 0
        for i in self._levels:
            size = self.features[i].levels
            code = p.level.mean(0)[:, start : start + size].argmax(-1, keepdim=True)
            parts.append(code.to(p.level.dtype))
            start += size
        return self.pick(torch.cat(parts, dim=-1), "order")

    @property
    def noise_size(self) -> int:
        """For the member, for two choices of each value, and for each column's being missing."""
        return 1 + 2 * self.values + self.columns

    def draw(self, likelihood: TabularLikelihood, noise: Tensor) -> Tensor:
        """A record is drawn by one of the members, and each level from those that training saw."""
        member, which, value, absent = torch.split(noise, [1, self.values, self.values, self.columns], dim=-1)
        picked = torch.floor(chance(member) * self.members).clamp(max=self.members - 1)
        own = (picked == torch.arange(self.members, device=noise.device)).to(noise.dtype).T.unsqueeze(-1)
        log_weight, mean, log_sigma, flag, level = ((part * own).sum(0) for part in likelihood[1:])
        weight, which, parts = log_weight.exp(), chance(which), []
        if len(self.gaussian):
            weights, below = weight.chunk(likelihood.components, dim=-1), self.pick(which, "gaussian")
            below = below * total(weight, likelihood.components)
            normal = torch.cat([self.pick(value, "gaussian")] * likelihood.components, dim=-1)
            first, *others = (mean + log_sigma.exp() * normal).chunk(likelihood.components, dim=-1)
            reached = weights[0]
            for one, more in zip(others, weights[1:], strict=True):
                first = torch.where(below < reached, first, one)
                reached = reached + more
            parts.append(first)
        if len(self.flag):
            parts.append((self.pick(which, "flag") < flag).to(noise.dtype))
        if len(self.level):  # all features at once: to export a loop over them would take seconds
            chances = level.exp()
            sums = chances @ self.slot_group
            below = sums.cumsum(-1) - sums + self.pick(which, "level") * sums
            passed = (chances.cumsum(-1) <= below @ self.slot_group.T).to(noise.dtype) @ self.slot_group
            parts.append(torch.minimum(passed, self.slot_group.sum(0) - 1).clamp(min=0))
        missing = chance(absent) < self.missing
        return torch.where(
            missing[:, [feature.column for feature in self.features]],
            torch.nan,
            self.pick(torch.cat(parts, dim=-1), "order"),
        )

    def expected_dense(self, likelihood: TabularLikelihood) -> Tensor:
        p, parts = likelihood, []
        if len(self.gaussian):
            parts.append(p.expected_number())
        if len(self.flag):
            parts.append(2 * p.flag - 1)
        if len(self.level):
            parts.append(p.level.exp())
        return torch.cat(parts, dim=-1).mean(0)
