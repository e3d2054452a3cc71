"""A conditional variational autoencoder of tables: what is normal given the value of one column (Sohn et al., 2015).

The value is part of the code: a point in it, which costs nothing, beside the dimensions that are inferred. So whatever
takes codes (the decoder, interpolation, the bound on the likelihood) has it, and knows nothing of it.
"""

from collections.abc import Sequence
from typing import ClassVar, Self

import msgspec
import torch
from torch import Tensor, nn

from kilter.service.detector.errors import KilterError
from kilter.service.detector.networks.base import PointPosterior, Posterior, Sizes
from kilter.service.detector.networks.layers import LayerBuild, Layers
from kilter.service.detector.networks.tabular import TabularLikelihood, TabularShape, TabularVAE
from kilter.service.detector.schema import Schema

APART = 0.5
"""Standard deviation of the gains at the start: from equal ones, values of the condition come apart too slowly."""
LEAST = 1e-6  # probability of a value other than the one that is given


class ConditionalShape(TabularShape, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The features and sizes of a `ConditionalVAE`, and the feature that it is conditional on."""

    condition: int

    @property
    def conditions(self) -> int:
        """The values that the feature had in training, and one place for all that is unknown."""
        return (self.features[self.condition].levels or 2) + 1


class ConditionedLayers(Layers):
    """Hidden layers whose units each value of the condition turns up or down (Perez et al., FiLM, 2018).

    The condition is the last part of the inputs.
    """

    def __init__(
        self, members: int, inputs: int, hidden: int, outputs: int, conditions: int, build: LayerBuild
    ) -> None:
        super().__init__(members, inputs, hidden, outputs, build)
        self.conditions = conditions
        gains = [APART * torch.randn(members, conditions, hidden) for _ in range(build.depth)]
        self.gains = nn.ParameterList(map(nn.Parameter, gains))

    def forward(self, h: Tensor, sizes: Sequence[int]) -> list[Tensor]:
        condition = h[..., h.shape[-1] - self.conditions :]
        for place, gain in enumerate(self.gains):
            h = self.joined(place, h, self.activated(place, h) * (1 + condition @ gain))
        return self.outputs(h, sizes)


class ConditionalVAE(TabularVAE):
    """p(x | z, c), c being the value of a column; a value that training never saw, or none, has a place of its own.

    That place is learned on records whose column was hidden while it was fitted. There the network expects a value of
    the column by the others, as the unconditional one does; elsewhere the value is what it is, and costs nothing.
    """

    shape_type: ClassVar[type[msgspec.Struct]] = ConditionalShape
    standard_prior = False
    shape: ConditionalShape

    def __init__(self, shape: ConditionalShape) -> None:
        super().__init__(shape)
        self.latent = shape.latent + shape.conditions
        dense, slots, flags = (where == shape.condition for where in (self.dense_feature, self.slot_feature, self.flag))
        self.own_dense = nn.Buffer(torch.nonzero(dense).flatten(), persistent=False)
        own = torch.arange(self.values) == shape.condition
        self.own_value = nn.Buffer(own.float(), persistent=False)
        self.own_slots = nn.Buffer(slots.float(), persistent=False)  # 1 where a slot is the column's
        self.own_flags = nn.Buffer(flags.float(), persistent=False)
        to_slots = torch.nonzero(slots).flatten()[:, None] == torch.arange(len(slots))
        self.to_slots = nn.Buffer(to_slots.float(), persistent=False)
        self.shares = nn.Buffer(torch.full((shape.conditions,), 1 / shape.conditions))  # of the fitting rows

    @property
    def condition_column(self) -> int:
        return self.features[self.shape.condition].column

    @property
    def _conditions_level(self) -> bool:
        return self.features[self.shape.condition].kind == "level"

    @classmethod
    def untrained(cls, schema: Schema, sizes: Sizes) -> Self:
        """Raises KilterError unless the column is one of levels or flags."""
        name, shape = sizes.condition_on, TabularVAE.untrained(schema, sizes).shape
        names = [column.name for column in schema.columns]
        if name not in names:
            raise KilterError(f"--condition-on {name}: there is no such column among {', '.join(names)}")
        column = names.index(name)
        own = [i for i, feature in enumerate(shape.features) if feature.column == column]
        if len(own) != 1 or shape.features[own[0]].kind == "gaussian":
            raise KilterError(
                f"--condition-on {name}: it is for a column of categories or flags, and this one is "
                f"{schema.columns[column].kind}; --categorical {name} takes it for categories, where it has few values"
            )
        return cls(ConditionalShape(**msgspec.structs.asdict(shape), condition=own[0]))

    def layers(self, inputs: int, outputs: int) -> Layers:
        conditions, shape = self.shape.conditions, self.shape
        return ConditionedLayers(shape.members, inputs + conditions, shape.hidden, outputs, conditions, shape.build)

    def start(self, schema: Schema, x: Tensor) -> None:
        super().start(schema, x)
        self.shares.copy_(self.condition_of(self.dense(x)).mean(0))

    def condition_of(self, dense: Tensor) -> Tensor:
        """Which value the column has, (..., conditions): the last where it is unknown, by dense features."""
        own = torch.index_select(dense, -1, self.own_dense)
        known = own if self._conditions_level else torch.cat([own == 1, own == -1], dim=-1).to(dense.dtype)
        return torch.cat([known, 1 - known.sum(-1, keepdim=True)], dim=-1)

    def encoder_inputs(self, dense: Tensor, seen: Tensor) -> Tensor:
        """A value that was never seen counts as hidden, which the network was trained on."""
        condition = self.condition_of(dense)
        known = 1 - condition[..., -1:]
        seen = seen * (1 - self.own_value) + known * self.own_value
        return torch.cat([super().encoder_inputs(dense, seen), condition], dim=-1)

    def encode_masked(self, dense: Tensor, seen: Tensor) -> Posterior:
        mean, log_variance = super().encode_masked(dense, seen)
        condition = self.condition_of(dense).expand(*mean.shape[:-1], -1)
        point = torch.full_like(condition, -torch.inf)
        return PointPosterior(torch.cat([mean, condition], dim=-1), torch.cat([log_variance, point], dim=-1))

    def sample(self, count: int, generator: torch.Generator) -> Tensor:
        """Draws from the prior, with a value of the column as frequent as among the fitting rows."""
        free = super().sample(count, generator)[..., : self.shape.latent]
        drawn = torch.multinomial(self.shares, count, replacement=True, generator=generator)
        condition = nn.functional.one_hot(drawn, self.shape.conditions).to(free.dtype)
        return torch.cat([free, condition.expand(self.members, -1, -1)], dim=-1)

    def decode(self, z: Tensor) -> TabularLikelihood:
        likelihood = super().decode(z)
        known, unknown = torch.split(z[..., self.shape.latent :], [self.shape.conditions - 1, 1], dim=-1)
        if not self._conditions_level:
            given = (likelihood.flag * unknown + known[..., :1]).clamp(LEAST, 1 - LEAST)
            return likelihood._replace(flag=likelihood.flag * (1 - self.own_flags) + given * self.own_flags)
        chances = likelihood.level.exp() * unknown + known @ self.to_slots
        given = chances.clamp(min=LEAST).log()
        return likelihood._replace(level=likelihood.level * (1 - self.own_slots) + given * self.own_slots)
