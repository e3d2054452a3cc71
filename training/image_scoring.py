"""Builds the program's score around a fitted network of pictures."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kilter.service.detector.networks.contrasts import FILTERS
from kilter.service.detector.networks.displaced import Pictures, PicturesShape
from kilter.service.detector.networks.image import ImageVAE
from kilter.service.detector.networks.names import ScoreName
from kilter.service.detector.networks.pixels import resize, smoothing, standardise
from kilter.service.detector.networks.scored_image import Looked, ScoredImage, ScoredImageShape, grid_of
from kilter.training.fit import folds
from kilter.training.memory import neighbours, robust

MEMORY_ROWS = 2048
"""Most pictures that a memory holds, if it is not said."""
FLOATS = 2 * 1024 * 1024
"""Most numbers that a memory of pictures holds."""
CANDIDATES = 15
MOST_ROWS = 10_000
"""Fitting pictures from which the memory is chosen."""
HELD = 400
"""Most pictures on which measures are made standard."""
MOST_CELLS = 1_000_000
"""Cells by which their evidence is made standard."""
ITERATIONS = 7
NEAREST_CHUNK = 4096
CHUNK_VALUES = 262_144
"""Values of encoded pictures that are looked at together."""
PLACE_SIGMA = 2.0
"""What is usual for a place is smoothed over its surroundings: so many pixels."""
PLACE_FLOOR = 0.05
"""Least share of a filter's overall contrast that is usual in any place."""


@torch.no_grad()
def build_image_program(
    network: ImageVAE, x: npt.NDArray[np.float32], score: ScoreName, memory_rows: int | None, seed: int
) -> ScoredImage:
    """The program of a network fitted with `seed` to the encoded pictures x, (n, width), with the score of that name.

    What is usual is learned on pictures that the network did not see, each left out of the memory.
    """
    generator = torch.Generator().manual_seed(seed)
    _, blind = folds(len(x), 1, seed)
    kept = np.arange(len(x)) if len(x) <= MOST_ROWS else _sample(len(x), MOST_ROWS, seed)
    held = blind[0][:HELD]
    own = torch.full((len(x),), -1)
    memory = None
    if score == "neighbours":
        memory, own[torch.from_numpy(kept)] = _memory(network, x[kept], memory_rows, generator)
    shape = ScoredImageShape(network.shape, score, memory.shape if memory else None, grid_of(network.shape))
    program = ScoredImage(shape)
    program.network.load_state_dict(network.state_dict())
    if memory is not None and program.memory is not None:
        program.memory.load_state_dict(memory.state_dict())
    program.contrasts.usual.copy_(_usual_contrasts(program, x[held]))
    program.eval()
    looked = [program.look(rows, own[torch.from_numpy(held[part])]) for part, rows in _parts(x[held])]
    _make_standard(program, looked)
    return program


def _sample(rows: int, most: int, seed: int) -> npt.NDArray[np.int64]:
    return np.sort(np.random.default_rng(seed).permutation(rows)[:most])


def _parts(x: npt.NDArray[np.float32]) -> Iterator[tuple[slice, Tensor]]:
    """Consecutive rows, few enough to be looked at together."""
    step = max(1, CHUNK_VALUES // x.shape[1])
    for start in range(0, len(x), step):
        yield slice(start, start + step), torch.from_numpy(x[start : start + step])


def _memory(
    network: ImageVAE, x: npt.NDArray[np.float32], memory_rows: int | None, generator: torch.Generator
) -> tuple[Pictures, Tensor]:
    """A memory of the pictures, and the position in it of each of them, (n,), or -1.

    Of more than it can hold it keeps those nearest to k-means centroids: a mean of pictures is a picture of nothing.
    """
    shape = network.shape
    empty = Pictures(PicturesShape(shape.height, shape.width, shape.channels, 0, 0))
    seen = torch.cat([empty.see(standardise(network.pictures(rows))).flatten(1) for _, rows in _parts(x)])
    size = max(2, min(memory_rows or MEMORY_ROWS, FLOATS // seen.shape[1]))
    chosen = torch.arange(len(seen))
    if len(seen) > size:
        nearest = neighbours(centroids(seen, size, generator), seen, 1)[1]
        chosen = torch.from_numpy(np.unique(nearest.numpy()))
    built = Pictures(
        PicturesShape(shape.height, shape.width, shape.channels, len(chosen), min(CANDIDATES, len(chosen) - 1))
    )
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
        total = torch.zeros_like(centers).index_add_(0, nearest, points)
        centers = torch.where(count[:, None] > 0, total / count.clamp(min=1)[:, None], centers)
    return centers[count > 0]


def _usual_contrasts(program: ScoredImage, x: npt.NDArray[np.float32]) -> Tensor:
    """The root mean square of each contrast in each place, smoothed, with a floor: (filters, height, width)."""
    square = torch.zeros_like(program.contrasts.usual)
    for _, rows in _parts(x):
        square += program.contrasts.own(standardise(program.network.pictures(rows))).square().sum(0)
    square /= len(x)
    height, width = square.shape[1:]
    usual = resize(square.sqrt(), smoothing(height, PLACE_SIGMA), smoothing(width, PLACE_SIGMA))
    return usual + PLACE_FLOOR * square.mean((1, 2), keepdim=True).sqrt() + 1e-6


def _make_standard(program: ScoredImage, looked: list[Looked]) -> None:
    """Set what is usual for a picture as a whole and for each cell, by what was measured of new pictures."""
    strongest, whole = torch.cat([part.strongest for part in looked]), torch.cat([part.whole for part in looked])
    cells = torch.cat([part.cells for part in looked])
    evidence = program.evidence
    _set(evidence.center, evidence.scale, strongest, 0)
    _set(evidence.center, evidence.scale, torch.cat([evidence.contrasts(strongest), whole], dim=1), FILTERS)
    for kind, found in enumerate(cells.unbind(1)):
        sample = found.flatten()
        program.cell_center[kind], program.cell_scale[kind] = robust(sample[:: max(1, len(sample) // MOST_CELLS)])


def _set(center: Tensor, scale: Tensor, measures: Tensor, first: int) -> None:
    """Centre and scale of measures, (n, k), at their positions from `first`."""
    for i, values in enumerate(measures.unbind(1), first):
        center[i], scale[i] = robust(values)
