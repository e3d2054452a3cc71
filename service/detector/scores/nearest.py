"""The score of the detector `nearest`: how far a record is from the nearest normal row that is remembered."""

import math
from typing import Any, Self

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from kilter.service.detector.manifest import MemoryEntry
from kilter.service.detector.networks.base import View
from kilter.service.detector.networks.linear import LinearVAE
from kilter.service.detector.scores.base import Material
from kilter.service.detector.scores.vectors import NOVELTY, VectorScore, VectorsShape, fit_vectors

MEMORY_ROWS = 4096  # most rows that are remembered, if it is not said
NUMBERS = 1 << 20  # most numbers in these
NEAR = 4  # nearest rows, to the digits of a float32, whose distance is taken by direct difference
ABSENT = 1e30  # the squared distance to a row that is left out


class NearestShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sizes of the score."""

    vectors: VectorsShape
    rows: int


class NearestDistance(VectorScore):
    """The Euclidean distance to the nearest remembered row, in standard units.

    Rows are the fitting and the calibration rows, or a random sample of both. Each calibration row is judged by all
    others, so that calibration takes nothing from the memory.
    """

    shape_type = NearestShape
    holds_calibration = True
    has_points = True
    shape: NearestShape

    def __init__(self, network: LinearVAE, shape: NearestShape) -> None:
        super().__init__(network, shape.vectors)
        self.shape = shape
        self.memory_entry = MemoryEntry(shape.rows, "training rows")
        self.center = nn.Buffer(torch.zeros(self.vectors.axes))
        self.rows = nn.Buffer(torch.zeros(shape.rows, self.vectors.axes))
        self.register_load_state_dict_post_hook(lambda score, _: score.prepare())  # type: ignore[no-untyped-call]
        self.half_square = nn.Buffer(torch.zeros(shape.rows), persistent=False)

    @classmethod
    @torch.no_grad()
    def fit(cls, network: LinearVAE, material: Material) -> tuple[Self, Tensor | None]:
        vectors = fit_vectors(network, material)
        points = torch.cat([cls.points(network, vectors, x) for x in (material.x, material.calibration)])
        size = material.memory_rows or min(MEMORY_ROWS, max(1, NUMBERS // points.shape[1]))
        order = torch.randperm(len(points), generator=torch.Generator().manual_seed(material.seed))
        kept = order[:size].sort().values
        score = cls(network, NearestShape(vectors.shape, len(kept)))
        score.center.copy_(points.mean(0))
        score.rows.copy_(points[kept] - score.center)
        score.prepare()
        score.members = kept
        own = torch.full((len(points),), -1)
        own[kept] = torch.arange(len(kept))
        held = own[len(material.x) :] if len(material.calibration) else None
        return score.adopt(network, vectors, material), held

    def prepare(self) -> None:
        """Prepare the search, once the rows are final."""
        self.half_square.copy_(0.5 * self.rows.square().sum(1))

    def point(self, network: Any, x: Tensor, view: View) -> Tensor:
        """Novelties are an axis more, on which all that is remembered lies at 0."""
        points, novelties = self.vectors(network, x, network.expected_dense(view.likelihood))
        return torch.cat([points - self.center, math.sqrt(NOVELTY) * novelties.sqrt()], dim=1)

    def value(self, points: Tensor, novelties: Tensor, other: Tensor | None) -> Tensor:
        """`other`, (n,), is the remembered row that each record is itself, which is left out, or -1."""
        centred = points - self.center
        rough = self.half_square - centred @ self.rows.T
        if other is not None:
            mine = torch.where(other >= 0)[0]
            rough[mine, other[mine]] = torch.inf
        near = rough.topk(min(NEAR, self.shape.rows), dim=1, largest=False).indices
        square = (centred.unsqueeze(1) - functional.embedding(near, self.rows)).square().sum(2)
        if other is not None:
            square = torch.where(near == other.unsqueeze(1), ABSENT, square)
        return (square.amin(1, keepdim=True) + NOVELTY * novelties).sqrt()
