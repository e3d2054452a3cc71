"""The space in which records are compared: their values, and what the network makes of them."""

import math
from typing import Any, Literal

import msgspec
import torch
from torch import Tensor, nn

from kilter.service.detector.networks.base import LEAST_SPREAD, Posterior, finite, observed, spread_of
from kilter.service.detector.networks.tabular import TableNetwork
from kilter.service.detector.schema import Schema
from kilter.service.detector.scores.memory import nearest_rows

HELD = 600  # most rows by which what is usual is measured
MOST_WHITENED = 256  # residuals of more features are made of unit variance each, and not uncorrelated
GEOMETRY_CHUNK = 4096  # fitting rows whose coordinates are taken together


class GeometryShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sizes of a geometry, and which parts it has."""

    dense: int
    missing: tuple[int, ...]  # columns that were missing in some fitting rows: each has an axis of its own that says so
    means: bool  # whether posterior means are coordinates; not in a wide table
    whitening: Literal["full", "diagonal", "none"]
    """How residuals become coordinates: not at all in a mixed table, nor in a wide one."""


class Geometry(nn.Module):
    """Maps encoded records to points, (n, axes).

    Axes: the network's dense features, weighted; one per column that training saw missing; one on which
    all lie that training never saw (an unseen level, a column missing that never was), its coordinate the root of the
    sum of their squared weights; the members' posterior means; and the whitened residual of the reconstruction. A
    missing or hidden feature lies where it is expected, with a residual of 0.
    """

    def __init__(self, shape: GeometryShape, network: TableNetwork) -> None:
        super().__init__()
        self.shape = shape
        never = torch.ones(network.columns, 1)
        never[list(shape.missing)] = 0
        size = {"full": (shape.dense,) * 2, "diagonal": (shape.dense,), "none": ()}[shape.whitening]
        self.seen_missing = nn.Buffer(torch.tensor(shape.missing, dtype=torch.int64), persistent=False)
        self.never_missing = nn.Buffer(never, persistent=False)  # 1 for a column that no fitting row lacked
        self.scale = nn.Buffer(torch.ones(shape.dense))
        self.missing_weight = nn.Buffer(torch.ones(len(shape.missing)))
        self.unseen_weight = nn.Buffer(torch.ones(len(network.level)))
        self.absent_weight = nn.Buffer(torch.ones(()))
        self.means_weight = nn.Buffer(torch.ones(()))
        self.whitening = nn.Buffer(torch.zeros(size))

    @property
    def plain(self) -> int:
        """Axes of what was observed; they come first."""
        return self.shape.dense + len(self.shape.missing) + 1

    def values(self, points: Tensor) -> Tensor:
        """The dense features of points, (n, axes), with what is expected where one is not there: (n, dense)."""
        return points[:, : self.shape.dense] / self.scale

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
        parts, residual = self.coordinates(network, x, network.expected_dense(likelihood))
        if self.shape.means:
            parts.append(posterior.side_by_side() * self.means_weight)
        if self.shape.whitening != "none":
            parts.append(whiten(residual, self.whitening))
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
        self.scale[first:last] = 0.5 / spread_of(share)
        self.scale[last:] = (-levels.log()).sqrt()
        absent = torch.tensor([(schema.columns[i].missing + 1) / count for i in self.shape.missing])
        self.missing_weight.copy_(1 / spread_of(absent))
        self.unseen_weight.fill_(math.sqrt(math.log(count)))
        self.absent_weight.fill_(1 / LEAST_SPREAD)


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
    seen = [network.infer(part)[1:] for part in torch.split(rows, GEOMETRY_CHUNK)]
    means = torch.cat([posterior.side_by_side() for posterior, _ in seen])
    expected = torch.cat([network.expected_dense(likelihood) for _, likelihood in seen])
    coordinates, residual = plain.coordinates(network, rows, expected)
    weight = plain.scale.clone()
    unit = typical_distance(torch.cat(coordinates, dim=1), blind[0][:HELD])
    for scale in (plain.scale, plain.missing_weight, plain.unseen_weight, plain.absent_weight):
        scale.div_(unit)
    if wide:
        return plain
    parts = [means / math.sqrt(network.members)]
    whitening = torch.zeros(())
    if not mixed:
        whitening = whitening_of((residual * weight)[any_blind])
        whitening = weight[:, None] * whitening if whitening.dim() == 2 else weight * whitening
        parts.append(whiten(residual, whitening))
    unit = typical_distance(torch.cat(parts, dim=1), any_blind[:HELD])
    kind = GeometryShape(dense, missing, means=True, whitening=("none", "diagonal", "full")[whitening.dim()])
    geometry = Geometry(kind, network)
    geometry.load_state_dict(plain.state_dict() | {"whitening": whitening / unit})
    geometry.means_weight.copy_(1 / (unit * math.sqrt(network.members)))
    return geometry


def whiten(residual: Tensor, whitening: Tensor) -> Tensor:
    """Residuals, (n, dense), by a matrix or a diagonal."""
    return residual @ whitening if whitening.dim() == 2 else residual * whitening


def whitening_of(residual: Tensor) -> Tensor:
    """The matrix that makes residuals, (n, dense), of unit covariance, or a diagonal where rows are too few for one.

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


def typical_distance(points: Tensor, held: Tensor) -> Tensor:
    """The typical distance to its nearest neighbour of the points at the positions `held`, with a floor."""
    distances, _ = nearest_rows(points[held], points, 1, held)
    unit: Tensor = distances.median() + 0.02 * math.sqrt(points.shape[1])
    return unit
