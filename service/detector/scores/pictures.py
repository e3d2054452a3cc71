"""The default score of pictures: a memory of pictures, contrasts, and what the network leaves over."""

from functools import reduce
from itertools import product, starmap
from typing import Any, Self

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kilter.service.detector.manifest import MemoryEntry
from kilter.service.detector.networks.base import View, robust
from kilter.service.detector.networks.pictures import (
    BLUR,
    FILTERS,
    HELD,
    PictureVAE,
    PlaceEvidence,
    averaging,
    in_parts,
    resize,
    smoothing,
    standardise,
)
from kilter.service.detector.scores.base import AnomalyScore, Material
from kilter.service.detector.scores.memory import nearest_rows, rows_held
from kilter.service.detector.scores.moves import CANDIDATES, MOST_SIDE, PATCH, SHIFT

FLOOR = 1e-6
SHARPNESS = 3.0
CONTRAST_WEIGHT = 0.5
CONTRAST_SIDE = 64
"""Pixels of the shorter side from which contrasts count in full: in a smaller picture they are no longer local."""
NETWORK_WEIGHT = 0.2
LEAST_RESIDUAL = 1e-9
MEMORY_ROWS = 2048  # most pictures that a memory holds, if it is not said
FLOATS = 2 * 1024 * 1024  # most numbers that a memory of pictures holds
MOST_ROWS = 10_000  # fitting pictures from which the memory is chosen
ITERATIONS = 7
NEAREST_CHUNK = 4096


class PictureMemoryShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sizes of the memory."""

    height: int
    width: int
    channels: int
    rows: int
    candidates: int  # pictures nearest without any move, that are looked at with moves

    @property
    def small(self) -> tuple[int, int]:
        """Height and width at which pictures are compared."""
        return min(self.height, MOST_SIDE), min(self.width, MOST_SIDE)


class PictureMemory(nn.Module):
    """How far a picture is from those of a memory when small parts of it may move a little.

    Nearest neighbours under the image distortion model (Keysers et al., Deformation Models for Image Recognition,
    2007): the squared difference of patches, each at the best of the displacements by up to `SHIFT` pixels.
    """

    def __init__(self, shape: PictureMemoryShape) -> None:
        super().__init__()
        self.shape = shape
        height, width = shape.small
        self.rows = nn.Buffer(torch.zeros(shape.rows, shape.channels * height * width))
        self.half_square = nn.Buffer(torch.zeros(shape.rows))
        self.shrink_rows = nn.Buffer(smoothing(height, BLUR) @ averaging(height, shape.height), persistent=False)
        self.shrink_columns = nn.Buffer(smoothing(width, BLUR) @ averaging(width, shape.width), persistent=False)

    def index(self) -> None:
        """Take the squares of the rows, once these are final."""
        self.half_square.copy_(0.5 * self.rows.square().sum(1))

    def see(self, standard: Tensor) -> Tensor:
        """Standardised pictures, (n, channels, height, width), as they are compared: smaller and a little blurred."""
        return resize(standard, self.shrink_rows, self.shrink_columns)

    def forward(self, seen: Tensor, own: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """The distance to the nearest picture, (n,), and the least distance of each place, (n, height, width), squared.

        `own`, (n,), is the position of the row that a picture is itself, which is left out, or -1.
        """
        rough = self.half_square - seen.flatten(1) @ self.rows.T
        if own is not None:
            inside = own >= 0
            rough[inside, own[inside]] = torch.inf
        nearest = rough.topk(self.shape.candidates, dim=1, largest=False).indices
        (height, width), channels = self.shape.small, self.shape.channels
        pictures = functional.embedding(nearest, self.rows).reshape(-1, channels, height, width)
        pictures = functional.pad(pictures, (SHIFT,) * 4, mode="replicate")
        pictures = pictures.reshape(-1, self.shape.candidates, channels, height + 2 * SHIFT, width + 2 * SHIFT)

        def apart(down: int, right: int) -> Tensor:
            moved = pictures[..., down : down + height, right : right + width]
            square = (seen.unsqueeze(1) - moved).square().sum(2)
            return functional.avg_pool2d(square, PATCH, 1, PATCH // 2, count_include_pad=False)

        best = reduce(torch.minimum, starmap(apart, product(range(2 * SHIFT + 1), repeat=2)))
        return best.sum((2, 3)).amin(1).clamp(min=FLOOR), best.amin(1)


class PictureNeighbours(AnomalyScore):
    """The sum of three kinds of evidence, in robust standard units: 0 is usual, 1 is the 95 % quantile.

    The distance to the nearest picture of the memory, parts of which may move a little, which sees a wrong whole;
    contrasts too strong for the picture's own texture, which see a small defect; and how far the network's
    reconstruction is off.
    """

    shape_type = PictureMemoryShape
    has_points = True
    shape: PictureMemoryShape

    def __init__(self, network: PictureVAE, shape: PictureMemoryShape) -> None:
        super().__init__()
        self.shape = shape
        picture = network.shape.size
        self.memory = PictureMemory(shape)
        self.memory_entry = MemoryEntry(shape.rows, "training pictures, reduced")
        self.evidence = PlaceEvidence(picture, network.shape.small, shape.small)
        self.grid = self.evidence.grid
        self.contrast_weight = CONTRAST_WEIGHT * min(1.0, min(picture) / CONTRAST_SIDE)
        # What is usual on new pictures of each contrast, all contrasts, the memory and the network.
        self.center = nn.Buffer(torch.zeros(FILTERS + 3))
        self.scale = nn.Buffer(torch.ones(FILTERS + 3))

    @classmethod
    @torch.no_grad()
    def fit(cls, network: PictureVAE, material: Material) -> tuple[Self, None]:
        """Fit the memory; learn what is usual on pictures that the network did not see, each left out of the memory."""
        x = material.x
        generator = torch.Generator().manual_seed(material.seed)
        kept = torch.from_numpy(np.sort(np.random.default_rng(material.seed).permutation(len(x))[:MOST_ROWS]))
        held = material.blind[0][:HELD]
        memory, rows = build_picture_memory(network, x[kept], material.memory_rows or MEMORY_ROWS, generator)
        own = torch.full((len(x),), -1)
        own[kept] = rows
        score = cls(network, memory.shape).eval()
        score.memory, score.members = memory, rows_held(own)
        score.evidence.contrasts.fit(network, x[held])
        parts = in_parts(x[held])
        measured = [
            score.measure(network, part, network.see(part), mine)
            for part, mine in zip(parts, torch.split(own[held], len(parts[0])), strict=True)
        ]
        strongest, whole, cells = (torch.cat(values) for values in zip(*measured, strict=True))
        score._make_standard(strongest, 0)
        score._make_standard(torch.cat([score.contrasts(strongest), whole], dim=1), FILTERS)
        score.evidence.fit_cells(cells)
        return score, None

    def _make_standard(self, measures: Tensor, first: int) -> None:
        """Take centre and scale of measures, (n, k), at their positions from `first`."""
        for i, values in enumerate(measures.unbind(1), first):
            self.center[i], self.scale[i] = robust(values)

    def measure(
        self, network: PictureVAE, x: Tensor, view: View, own: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The measures of encoded pictures; `own` as in `PictureMemory`.

        Logarithms of: the strongest of each contrast, (n, filters); the squared distance to the memory and what the
        network leaves over, (n, 2); each cell's distance and strongest contrast, as `PlaceEvidence.cells` gives them.
        """
        standard = standardise(network.pictures(x))
        strongest, contrasts = self.evidence.contrasts(standard)
        left = self.evidence.residual(network, view).mean((1, 2)).clamp(min=LEAST_RESIDUAL).log()
        distance, places = self.memory(self.memory.see(standard), own)
        return strongest, torch.stack([distance.log(), left], dim=1), self.evidence.cells(places, contrasts)

    def contrasts(self, strongest: Tensor) -> Tensor:
        """One measure of all contrasts, (n, filters): their soft maximum, (n, 1)."""
        standard = (strongest - self.center[:FILTERS]) / self.scale[:FILTERS]
        return torch.logsumexp(SHARPNESS * standard, dim=1, keepdim=True)

    def forward(self, network: Any, x: Tensor, view: View, other: Tensor | None = None) -> tuple[Tensor, Tensor]:
        strongest, whole, cells = self.measure(network, x, view, other)
        measures = torch.cat([self.contrasts(strongest), whole], dim=1)
        contrasts, memory, left = ((measures - self.center[FILTERS:]) / self.scale[FILTERS:]).unbind(1)
        return memory + self.contrast_weight * contrasts + NETWORK_WEIGHT * left, self.evidence.terms(cells)

    def point(self, network: Any, x: Tensor, view: View) -> Tensor:
        return self.memory.see(standardise(network.pictures(x))).flatten(1)


def build_picture_memory(
    network: PictureVAE, x: Tensor, most: int, generator: torch.Generator
) -> tuple[PictureMemory, Tensor]:
    """A memory of at most so many of the encoded pictures, and the position in it of each of them, (n,), or -1.

    Of more than it can hold it keeps those nearest to k-means centroids: a mean of pictures is a picture of nothing.
    """
    picture = (*network.shape.size, network.shape.channels)
    empty = PictureMemory(PictureMemoryShape(*picture, rows=0, candidates=0))
    seen = torch.cat([empty.see(standardise(network.pictures(rows))).flatten(1) for rows in in_parts(x)])
    size = max(2, min(most, FLOATS // seen.shape[1]))
    chosen = torch.arange(len(seen))
    if len(seen) > size:
        chosen = torch.unique(nearest_rows(centroids(seen, size, generator), seen, 1)[1])
    built = PictureMemory(PictureMemoryShape(*picture, len(chosen), min(CANDIDATES, len(chosen) - 1)))
    built.rows.copy_(seen[chosen])
    built.index()
    return built, torch.full((len(seen),), -1).scatter(0, chosen, torch.arange(len(chosen)))


def centroids(points: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """k-means centroids from `size` random points (Lloyd, 1982); an empty cluster is dropped."""
    if len(points) <= size:
        return points
    centers = points[torch.randperm(len(points), generator=generator)[:size]].clone()
    for _ in range(ITERATIONS):
        square = centers.square().sum(1)
        nearest = torch.cat([(square - 2 * part @ centers.T).argmin(1) for part in torch.split(points, NEAREST_CHUNK)])
        count = torch.bincount(nearest, minlength=size).float()
        sums = torch.zeros_like(centers).index_add_(0, nearest, points)
        centers = torch.where(count[:, None] > 0, sums / count.clamp(min=1)[:, None], centers)
    return centers[count > 0]
