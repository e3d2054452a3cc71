"""Statistics of points in a Euclidean space: their nearest neighbours, their principal axes, robust standard units."""

import torch
from torch import Tensor

CHUNK = 1024
"""Points whose neighbours are looked for together."""


def neighbours(points: Tensor, of: Tensor, k: int, own: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Distances, by direct difference, and positions in `of` of the k nearest rows of each point: (n, k) each.

    `own`, (n,), is the position in `of` of the row that a point is itself, which is left out, or -1.
    """
    shift = of.mean(0)
    points, of = points - shift, of - shift
    square = of.square().sum(1)
    k = max(1, min(k, len(of) - (own is not None)))
    distances, positions = [], []
    for start in range(0, len(points), CHUNK):
        part = points[start : start + CHUNK]
        rough = square - 2 * part @ of.T
        if own is not None:
            mine = own[start : start + CHUNK]
            inside = mine >= 0
            rough[torch.arange(len(part))[inside], mine[inside]] = torch.inf
        nearest = rough.topk(k, dim=1, largest=False).indices
        exact = (part.unsqueeze(1) - of[nearest]).square().sum(-1).sqrt()
        exact, order = exact.sort(1)
        distances.append(exact)
        positions.append(nearest.gather(1, order))
    return torch.cat(distances), torch.cat(positions)


def principal_axes(points: Tensor, count: int) -> Tensor:
    """The directions in which points, (n, axes), vary most, (axes, count): orthonormal."""
    centred = (points - points.mean(0)).double()
    vectors: Tensor = torch.linalg.eigh(centred.T @ centred)[1]
    return vectors[:, -count:].float()


def robust(values: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and scale: the median, and how far the 95 % quantile lies above it."""
    median = values.median()
    return median, (torch.quantile(values, 0.95) - median).clamp(min=0.05)
