"""Where records lie: encoded features, and what a network makes of them, as a point in a Euclidean space."""

import math
from typing import Any, Literal

import msgspec
import torch
from torch import Tensor, nn

from kilter.service.detector.networks.base import Posterior, finite, observed
from kilter.service.detector.networks.points import neighbours
from kilter.service.detector.networks.tabular import TableNetwork
from kilter.service.detector.schema import Schema

LEAST_SPREAD = 0.2
"""An indicator's standard deviation is taken no smaller: one rare flag must not drown all else."""
MOST_WHITENED = 256
"""Residuals of more features are made of unit variance each, and not uncorrelated."""
HELD = 600
"""Rows by which the unit of distance is measured."""
CHUNK = 4096


class GeometryShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What rebuilds a geometry."""

    dense: int
    missing: tuple[int, ...]
    """Columns that were missing in some fitting rows: each has an axis of its own that says so."""
    means: bool
    """Whether posterior means are coordinates; not in a wide table."""
    whitening: Literal["full", "diagonal", "none"]
    """How residuals become coordinates; not at all in a mixed table, nor in a wide one."""


class Geometry(nn.Module):
    """Maps encoded records to points, (n, axes).

    Axes: the network's dense features, weighted; one per column that training saw missing; one on which
    all lie that training never saw (an unseen level, a column missing that never was), its coordinate the root of the
    sum of their squared weights; the members' posterior means; and the whitened residual of the reconstruction. A
    missing or hidden feature lies where it is expected, with a residual of 0.
    """

    scale: Tensor
    missing_weight: Tensor
    unseen_weight: Tensor
    absent_weight: Tensor
    means_weight: Tensor
    whitening: Tensor
    seen_missing: Tensor
    never_missing: Tensor
    """(columns, 1): 1 for a column that no fitting row lacked."""

    def __init__(self, shape: GeometryShape, network: TableNetwork) -> None:
        super().__init__()
        self.shape = shape
        never = torch.ones(network.columns, 1)
        never[list(shape.missing)] = 0
        size = {"full": (shape.dense,) * 2, "diagonal": (shape.dense,), "none": ()}[shape.whitening]
        self.joined = network.joined()
        self.register_buffer("seen_missing", torch.tensor(shape.missing, dtype=torch.int64), persistent=False)
        self.register_buffer("never_missing", never, persistent=False)
        self.register_buffer("scale", torch.ones(shape.dense))
        self.register_buffer("missing_weight", torch.ones(len(shape.missing)))
        self.register_buffer("unseen_weight", torch.ones(len(network.level)))
        self.register_buffer("absent_weight", torch.ones(()))
        self.register_buffer("means_weight", torch.ones(()))
        self.register_buffer("whitening", torch.zeros(size))

    @property
    def plain(self) -> int:
        """Axes of what was observed; they come first."""
        return self.shape.dense + len(self.shape.missing) + 1

    def look(self, network: TableNetwork, x: Tensor, posterior: Posterior, likelihood: Any) -> tuple[Tensor, Tensor]:
        """What the network makes of records: posterior means of all members, and expected dense features."""
        if self.joined is None:
            return posterior.joined(), network.expected_dense(likelihood)
        means, expected = self.joined(network.dense(x), observed(x))
        return means, expected

    def coordinates(self, network: TableNetwork, x: Tensor, expected: Tensor) -> tuple[list[Tensor], Tensor]:
        """Coordinates of what was observed, side by side (n, dense + missing + 1), and the residual, (n, dense)."""
        there = network.pick(finite(x), "dense_feature")
        filled = torch.where(there, network.dense(x), expected)
        parts = [filled * self.scale]
        # Parts of no features are left out, not only for speed: the exported program cannot hold tensors of no columns.
        gone = network.missing_columns(x)
        never = (gone @ self.never_missing) * self.absent_weight.square()
        if len(self.seen_missing):
            parts.append(torch.index_select(gone, -1, self.seen_missing) * self.missing_weight)
        if len(self.unseen_weight):
            unseen = (1 - network.hits(x) @ network.slot_group) * network.pick(observed(x), "level")
            never = never + (unseen * self.unseen_weight.square()).sum(-1, keepdim=True)
        return [*parts, never.sqrt()], filled - expected

    def forward(self, network: TableNetwork, x: Tensor, posterior: Posterior, likelihood: Any) -> Tensor:
        """The point of each record, (n, axes)."""
        means, expected = self.look(network, x, posterior, likelihood)
        parts, residual = self.coordinates(network, x, expected)
        if self.shape.means:
            parts.append(means * self.means_weight)
        if self.shape.whitening != "none":
            full = self.shape.whitening == "full"
            parts.append(residual @ self.whitening if full else residual * self.whitening)
        return torch.cat(parts, dim=-1)

    def weigh(self, network: TableNetwork, rows: Tensor, schema: Schema) -> None:
        """Weigh numbers as they are, indicators over their standard deviation, and levels so that the squared distance
        of two is the sum of their surprises in nats; by encoded rows, (n, features)."""
        dense = network.dense(rows)
        count = schema.rows + 2
        first = len(network.gaussian)
        last = first + len(network.flag)
        share = (dense[:, first:last].add(1).div(2).sum(0) + 1) / count
        levels = (dense[:, last:].sum(0) + 1) / count
        self.scale[first:last] = 0.5 / _spread(share)
        self.scale[last:] = (-levels.log()).sqrt()
        absent = torch.tensor([(schema.columns[i].missing + 1) / count for i in self.shape.missing])
        self.missing_weight.copy_(1 / _spread(absent))
        self.unseen_weight.fill_(math.sqrt(math.log(count)))
        self.absent_weight.fill_(1 / LEAST_SPREAD)

    def index(self, network: TableNetwork) -> None:
        """Take over the weights of the network, where its members are joined."""
        if self.joined is not None:
            self.joined.index(network)

    def rescale(self, unit: Tensor) -> None:
        """Make `unit` the unit of the coordinates of what was observed."""
        for weight in (self.scale, self.missing_weight, self.unseen_weight, self.absent_weight):
            weight.div_(unit)


def build_geometry(network: TableNetwork, rows: Tensor, schema: Schema, blind: list[Tensor]) -> Geometry:
    """The space of a network fitted to encoded rows, (n, features), and blind, member by member, to some of them.

    What was observed and what the network makes of it are each in units of the typical distance to the nearest of the
    rows. In a mixed table residuals are left out: that of a level is no coordinate. In a wide one so is all that the
    network makes of a record, of which it has learned little.
    """
    any_blind = torch.unique(torch.cat(blind))
    missing = tuple(i for i, column in enumerate(schema.columns) if column.missing)
    dense = len(network.dense_feature)
    mixed, wide = len(network.level) > 0, len(rows) < dense + len(missing) + 1
    plain = Geometry(GeometryShape(dense, missing, means=False, whitening="none"), network)
    plain.weigh(network, rows, schema)
    if plain.joined is not None:
        plain.joined.fit(network, rows)
    looked = [plain.look(network, part, *network.infer(part)[1:]) for part in torch.split(rows, CHUNK)]
    means, expected = (torch.cat(parts) for parts in zip(*looked, strict=True))
    coordinates, residual = plain.coordinates(network, rows, expected)
    weight = plain.scale.clone()
    plain.rescale(typical(torch.cat(coordinates, dim=1), blind[0][:HELD]))
    if wide:
        return plain
    parts = [means / math.sqrt(network.members)]
    whitening = torch.zeros(())
    if not mixed:
        whitening = whitened((residual * weight)[any_blind])
        whitening = weight[:, None] * whitening if whitening.dim() == 2 else weight * whitening
        parts.append(residual @ whitening if whitening.dim() == 2 else residual * whitening)
    unit = typical(torch.cat(parts, dim=1), any_blind[:HELD])
    kind = GeometryShape(dense, missing, means=True, whitening=("none", "diagonal", "full")[whitening.dim()])
    geometry = Geometry(kind, network)
    geometry.load_state_dict(plain.state_dict() | {"whitening": whitening / unit})
    geometry.means_weight.copy_(1 / (unit * math.sqrt(network.members)))
    geometry.index(network)
    return geometry


def whitened(residual: Tensor) -> Tensor:
    """What makes residuals, (n, dense), of unit covariance: a matrix, or a diagonal where rows are too few for one.

    The covariance is shrunk to its diagonal by 10 dense / n.
    """
    n, size = residual.shape
    r = residual.double()
    shrinkage = min(max(10 * size / n, 0.1), 1.0)
    diagonal = r.square().mean(0) + 1e-4
    if shrinkage == 1.0 or size > MOST_WHITENED:
        return diagonal.rsqrt().float()
    covariance = (1 - shrinkage) * (r.T @ r / n) + torch.diag(shrinkage * diagonal + 1e-6)
    values, vectors = torch.linalg.eigh(covariance)
    whitening: Tensor = (vectors * values.clamp(min=1e-6).rsqrt()).float()
    return whitening


def typical(points: Tensor, held: Tensor) -> Tensor:
    """The typical distance of a point to its nearest neighbour, with a floor."""
    distances, _ = neighbours(points[held], points, 1, held)
    unit: Tensor = distances.median() + 0.02 * math.sqrt(points.shape[1])
    return unit


def _spread(share: Tensor) -> Tensor:
    return (share * (1 - share)).sqrt().clamp(min=LEAST_SPREAD)
