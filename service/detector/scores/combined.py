"""The default score of tables: pieces of evidence, each by how surprising it is, weighed by what it tells."""

from typing import Any, NamedTuple, Self

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kilter.service.detector.manifest import MemoryEntry
from kilter.service.detector.networks.base import View
from kilter.service.detector.networks.tabular import TableNetwork
from kilter.service.detector.scores.base import AnomalyScore, Material
from kilter.service.detector.scores.geometry import HELD, Geometry, GeometryShape, build_geometry
from kilter.service.detector.scores.memory import (
    CHUNK,
    Memory,
    MemoryShape,
    build_memory,
    distances_of,
    log_length,
    rows_held,
)
from kilter.service.detector.scores.mixture import MOST_AXES, FullMixture, FullMixtureShape, build_mixture
from kilter.service.detector.scores.raw import RawView, build_raw_view
from kilter.service.detector.scores.span import Span, SpanShape, build_span
from kilter.service.detector.scores.surprise import Surprise

MEMORY_ROWS = 4096  # most rows that the memory holds, if it is not said
MOST_ROWS = 30_000  # fitting rows from which the memory is chosen
MIXED_UP = (1.0, 0.1)  # shares of the fields that are mixed up in the rows by which evidence is weighed
SHARPNESS = 15.0
"""By how many natural logarithms a weight grows with the separation, an AUROC from 0 to 1."""
POWER = 1.5
"""Exponent of the mean of surprises: above 1, so that one that is large is heard among others that are not."""


class CombinedShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sizes of the score, and which parts it has."""

    geometry: GeometryShape
    memory: MemoryShape
    measures: tuple[str, ...]  # those of the memory that count
    relations: FullMixtureShape | SpanShape
    power: float = 1.0  # exponent of the mean

    @property
    def wide(self) -> bool:
        """Whether there are no more rows than features."""
        return not self.geometry.means

    @property
    def pieces(self) -> tuple[str, ...]:
        """The names of the pieces of evidence."""
        kind = "mixture" if isinstance(self.relations, FullMixtureShape) else "span"
        return *self.measures, *(() if self.wide else ("elbo", "raw")), kind


class CombinedScore(AnomalyScore):
    """How surprising six pieces of evidence against a record are, each by what is usual for it: their mean, in nats.

    It is a weighted power mean, (sum of w s ** p) ** (1 / p).

    Of the memory how far the record is from the nearest row, from rows that nothing speaks against, and from the
    nearest row for how far that is from its own neighbours. Of the network the negative ELBO. Of the records as they
    came how far the record is from the rows that the memory found, and -log density under a mixture of Gaussians: both
    see what is extreme in a heavy tail, and the mixture knows linear relations.

    A piece of evidence weighs the more, the better it tells normal rows that nothing was fitted to from rows in which
    fields of these are mixed up: all fields, or a tenth. Labels have no part in it.

    In a table with categories the relative distance is left out: levels have no surroundings. In a wide table, with no
    more rows than features, there are two pieces, the relative distance, and the distance from all that the rows span:
    a network or a mixture has learned little there, and all records are about as far from each other.
    """

    shape_type = CombinedShape
    holds_calibration = True
    has_points = True
    shape: CombinedShape

    def __init__(self, network: TableNetwork, shape: CombinedShape) -> None:
        super().__init__()
        self.shape = shape
        parts = len(shape.pieces)
        self.evidence = network.evidence()
        self.geometry = Geometry(shape.geometry, network)
        self.memory = Memory(shape.memory)
        self.view = RawView(shape.geometry.dense)
        self.relations: FullMixture | Span = (
            FullMixture(shape.relations) if isinstance(shape.relations, FullMixtureShape) else Span(shape.relations)
        )
        self.surprise = Surprise(parts)
        self.weight = nn.Buffer(torch.full((parts,), 1 / parts))
        rows = shape.memory.core + shape.memory.suspects
        self.memory_entry = MemoryEntry(rows, "training rows")
        self.raw_rows = nn.Buffer(torch.zeros(0 if shape.wide else rows, shape.geometry.dense), persistent=False)

    @classmethod
    @torch.no_grad()
    def fit(cls, network: TableNetwork, material: Material) -> tuple[Self, Tensor | None]:
        """The memory holds the calibration rows, too, unless there are more rows than it is chosen from.

        What is usual is learned from fitting rows that a member of the network is blind to, each as if neither memory
        nor mixture knew it. Raises TypeError without the fits of scikit-learn that it needs.
        """
        if material.mixture is None:
            raise TypeError("the score 'neighbours' is fitted with a mixture of Gaussians")
        space = build_space(network, material)
        geometry, rows = space.geometry, space.x
        wide, mixed = not geometry.shape.means, len(network.level) > 0
        measures = ("relative",) if wide else ("nearest", "core") if mixed else ("nearest", "core", "relative")
        values = geometry.values(space.points[: len(rows)])
        view = build_raw_view(network, material.schema, values)
        raw = view(values)
        unheld = torch.ones(len(rows), dtype=torch.bool)
        unheld[space.held] = False
        unknowing, knowing = (
            build_span(part)
            if wide or geometry.shape.dense > MOST_AXES
            else build_mixture(part, material.mixture, material.seed)
            for part in (raw[unheld], raw)
        )
        shape = CombinedShape(geometry.shape, space.memory.shape, measures, knowing.shape, POWER)
        score = cls(network, shape)
        score.geometry, score.memory, score.view = geometry, space.memory, view
        score.members = space.members
        score.index(network)
        # Until it is weighed it has relations that do not know the rows by which it is.
        score.relations = unknowing
        score.weigh(network, rows[space.held], space.own_held, material.seed)
        score.relations = knowing
        score.evidence.fit(network, material.x, material.blind[0][:HELD])
        return score, space.own

    def index(self, network: Any) -> None:
        if not self.shape.wide:
            self.raw_rows.copy_(self.view(self.geometry.values(self.memory.rows)))

    def weigh(self, network: TableNetwork, held: Tensor, own: Tensor, seed: int) -> None:
        """Learn what is usual from encoded rows that nothing was fitted to, (m, features), and weigh the evidence.

        `own`, (m,), is the memory's row that each of them is, or -1.
        """
        usual = self.gather(network, held, network.see(held), own)
        self.surprise.fit(usual)
        normal = self.surprise(usual)
        generator = torch.Generator().manual_seed(seed)
        column = network.to_columns.argmax(1)
        separation = torch.zeros(len(self.shape.pieces))
        for share in MIXED_UP:
            rows, mine = (part.repeat(-(-HELD // len(held)), *[1] * (part.dim() - 1)) for part in (held, own))
            mixed = mix_fields(rows, column, share, generator)
            odd = self.surprise(self.gather(network, mixed, network.see(mixed), mine if share < 1 else None))
            separation += torch.stack([area(*pair) for pair in zip(normal.T, odd.T, strict=True)])
        self.weight.copy_(torch.softmax(SHARPNESS * separation / len(MIXED_UP), dim=0))

    def gather(self, network: Any, x: Tensor, view: View, own: Tensor | None) -> Tensor:
        """The evidence against encoded records, (n, features), each piece in its own unit: (n, parts)."""
        points = self.point(network, x, view)
        near = self.memory.find(points, own)
        parts = [self.memory.measure(self.shape.measures, points, near, own)]
        raw = self.view(self.geometry.values(points))
        if not self.shape.wide:
            parts.append((view.reconstruction + view.kl).unsqueeze(1))
            step = raw.unsqueeze(1) - functional.embedding(near, self.raw_rows)
            parts.append(log_length(distances_of(step, near, own).amin(1, keepdim=True)))
        parts.append(self.relations(raw).unsqueeze(1))
        return torch.cat(parts, dim=1)

    def forward(self, network: Any, x: Tensor, view: View, other: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """`other`, (n,), is the memory's row that each record is itself, which is left out, or -1."""
        surprise = self.surprise(self.gather(network, x, view, other))
        return power_mean(surprise, self.weight, self.shape.power), self.evidence(network, x, view)

    def point(self, network: Any, x: Tensor, view: View) -> Tensor:
        points: Tensor = self.geometry(network, x, view.posterior, view.likelihood)
        return points


def power_mean(values: Tensor, weight: Tensor, power: float) -> Tensor:
    """The weighted power mean of values, (n, parts), 0 or more: (n,)."""
    return values @ weight if power == 1 else (values.pow(power) @ weight).pow(1 / power)


def mix_fields(rows: Tensor, column: Tensor, share: float, generator: torch.Generator) -> Tensor:
    """Rows, (n, features), in which so large a share of the columns, at least one, is that of another row.

    `column`, (features,), is the column of each feature.
    """
    count = int(column.max()) + 1
    drawn = torch.rand(len(rows), count, generator=generator)
    mixed = drawn.argsort(1).argsort(1) < max(1, round(share * count))
    others = torch.randint(len(rows), (len(rows), count), generator=generator)
    return torch.where(mixed[:, column], rows[others[:, column], torch.arange(len(column))], rows)


def area(usual: Tensor, odd: Tensor) -> Tensor:
    """How often one of the `odd` values, (m,), exceeds one of the usual, (n,); a tie counts half: the AUROC."""
    ordered = usual.sort().values
    odd = odd.contiguous()
    below = torch.searchsorted(ordered, odd).double() + torch.searchsorted(ordered, odd, right=True).double()
    return (below.mean() / (2 * len(usual))).to(usual.dtype)


class Space(NamedTuple):
    """The space and memory of a score, and the rows by which it is judged."""

    geometry: Geometry
    memory: Memory
    x: Tensor  # encoded fitting rows from which the memory is chosen, (n, features)
    points: Tensor  # theirs and those of calibration rows, (n + m, axes)
    suspect: Tensor  # whether each is easily isolated, (n + m,)
    held: Tensor  # places of fitting rows that a member of the network did not see, (h,)
    own_held: Tensor  # the memory's row of each of these, (h,), or -1
    own: Tensor | None  # the memory's row of each calibration row, (m,), or -1; None if it may hold none
    members: Tensor  # the position of each of the memory's rows among all fitting rows and, after them, these


def build_space(network: TableNetwork, material: Material) -> Space:
    """Fit the geometry, and fill the memory. Raises TypeError without an isolation forest, which tells suspects."""
    if material.isolation is None:
        raise TypeError("a memory of rows is fitted with an isolation forest")
    x, blind, calibration = material.x, material.blind, material.calibration
    generator = torch.Generator().manual_seed(material.seed)
    if len(x) + len(calibration) > MOST_ROWS:
        calibration = calibration[:0]
    places = np.arange(len(x) + len(calibration))
    if len(x) > MOST_ROWS:
        places = kept = np.sort(np.random.default_rng(material.seed).permutation(len(x))[:MOST_ROWS])
        x = x[torch.from_numpy(kept)]
        blind = [torch.from_numpy(np.flatnonzero(np.isin(kept, fold))) for fold in blind]
    held = torch.unique(torch.cat([part[: HELD // len(blind)] for part in blind]))
    geometry = build_geometry(network, x, material.schema, blind)
    fitted, others = (
        torch.cat([geometry(network, part, *network.infer(part)[1:]) for part in torch.split(rows, CHUNK)])
        for rows in (x, calibration)
    )
    points, plain = torch.cat([fitted, others]), geometry.plain
    isolated = material.isolation(fitted[:, :plain].numpy(), material.seed)
    suspect = torch.from_numpy(isolated(points[:, :plain].numpy()))
    memory, own = build_memory(points, suspect, len(x), held, material.memory_rows or MEMORY_ROWS, generator)
    others_own = own[len(x) :] if len(calibration) else None
    members = torch.from_numpy(places)[rows_held(own)]
    return Space(geometry, memory, x, points, suspect, held, own[held], others_own, members)
