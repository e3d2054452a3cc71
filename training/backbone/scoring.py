"""Builds the score over a backbone's features around a fitted network of pictures."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kilter.service.detector.networks.image import ImageVAE
from kilter.training.backbone.program import BackboneShape, Prepared, ScoredFeatures, ScoredFeaturesShape, grid_of
from kilter.training.backbone.reading import Backbone
from kilter.training.fit import folds
from kilter.training.image_scoring import MEMORY_ROWS
from kilter.training.memory import principal_axes, robust

MOST_AXES = 64
FLOATS = 512 * 1024
"""Most numbers that a memory of local features holds."""
MOST_PLACES = 65_536
"""Local features from which the memory is chosen."""
MOST_DRAWN = 64 * 1024 * 1024
"""Most numbers of them."""
MOST_PICTURES = 10_000
"""Pictures from which those are drawn."""
HELD = 400
"""Most pictures on which distances are made standard."""
CHUNK_VALUES = 65_536
"""Values of encoded pictures whose features are taken together."""

Matrix = npt.NDArray[np.float32]


@torch.no_grad()
def build_features_program(
    network: ImageVAE, backbone: Backbone, x: Matrix, memory_rows: int | None, seed: int
) -> ScoredFeatures:
    """The program of a network fitted with `seed` to the encoded pictures x, (n, width), and of a backbone.

    What is usual is learned on pictures that the memory does not know. Raises KilterError if the backbone cannot be
    run on them.
    """
    generator = torch.Generator().manual_seed(seed)
    shape = network.shape
    given = BackboneShape(backbone.file, backbone.sha256, backbone.channels, backbone.shape(shape.height, shape.width))
    prepared = Prepared(network, backbone.channels).eval()
    (seen,), (held,) = folds(len(x), 1, seed)
    drawn = _drawn(_empty(network, given, 1, 0), backbone, prepared, x[seen[:MOST_PICTURES]], generator)
    center, axes = standard_axes(drawn, MOST_AXES)
    points = (drawn - center) @ axes
    memory = points[coreset(points, min(memory_rows or MEMORY_ROWS, FLOATS // axes.shape[1]), generator)]
    program = _empty(network, given, axes.shape[1], len(memory))
    program.center.copy_(center)
    program.axes.copy_(axes)
    program.memory.copy_(memory)
    distances = torch.cat([program.distances(part) for part in _features(backbone, prepared, x[held[:HELD]])])
    for i, values in enumerate((distances.amax(1), distances.flatten()[:: 1 + distances.numel() // 1_000_000])):
        program.usual[i] = torch.stack(robust(values))
    return program.eval()


def standard_axes(points: Tensor, most: int) -> tuple[Tensor, Tensor]:
    """The mean of points (n, k), and up to `most` directions in which they vary most, (k, axes), over the root of
    their variance in all."""
    center = points.mean(0)
    variance = (points - center).square().sum(1).double().mean()
    return center, principal_axes(points, most) / variance.clamp(min=1e-12).sqrt().float()


def coreset(points: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """Positions of `size` of the points (n, k), each the farthest from those before it (Gonzalez, 1985)."""
    if len(points) <= size:
        return torch.arange(len(points))
    chosen = torch.empty(size, dtype=torch.long)
    chosen[0] = torch.randint(len(points), (), generator=generator)
    square = points.square().sum(1)
    nearest = torch.full((len(points),), torch.inf)
    for i in range(size):
        last = chosen[i]
        nearest = torch.minimum(nearest, square + square[last] - 2 * points @ points[last])
        if i + 1 < size:
            chosen[i + 1] = nearest.argmax()
    return chosen


def _empty(network: ImageVAE, given: BackboneShape, axes: int, places: int) -> ScoredFeatures:
    program = ScoredFeatures(ScoredFeaturesShape(network.shape, "neighbours", given, axes, places, grid_of(given)))
    program.network.load_state_dict(network.state_dict())
    return program


def _features(backbone: Backbone, prepared: Prepared, x: Matrix) -> Iterator[Tensor]:
    """The features of encoded pictures, few at a time."""
    step = max(1, CHUNK_VALUES // x.shape[1])
    for start in range(0, len(x), step):
        pictures, _ = prepared(torch.from_numpy(x[start : start + step]))
        yield torch.from_numpy(backbone.features(pictures.numpy()))


def _drawn(
    program: ScoredFeatures, backbone: Backbone, prepared: Prepared, x: Matrix, generator: torch.Generator
) -> Tensor:
    """Local features of random places of pictures, as many of each: (n, features)."""
    features, places = program.shape.backbone.features[0], program.shape.grid[0] * program.shape.grid[1]
    each = max(1, min(places, min(MOST_PLACES, MOST_DRAWN // features) // len(x)))
    drawn = [
        local[torch.randperm(places, generator=generator)[:each]]
        for part in _features(backbone, prepared, x)
        for local in program.local(part)
    ]
    return torch.cat(drawn)
