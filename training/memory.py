"""Chooses what the memory of the default score holds, and makes its measures standard."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from service.detector.networks.memory import MEASURES, Memory, MemoryShape

FLOATS = 4 * 1024 * 1024
"""Most numbers that the rows and tangents of a memory hold."""
TANGENTS = 4
NEAR = 4
AROUND = 5
CORE_RANK = 3
SUSPECTS_WEIGHT = 2
"""Suspects lie far apart: each weighs so many rows of the core where centroids are shared out."""
LOCAL_ROWS = 100
"""Rows from which tangents and radii count in full."""
RADIUS_RANK = 10
TANGENT_RANK = 20
ITERATIONS = 6
CHUNK = 1024


class Rows(NamedTuple):
    """Which of the fitting points play which part."""

    suspect: Tensor
    """(n,): whether a point is set apart from the core."""
    held: Tensor
    """Positions of the points on which the measures are made standard."""


def build_memory(points: Tensor, rows: Rows, size: int, relative: float, generator: torch.Generator) -> Memory:
    """A memory of at most `size` rows of the fitting points, (n, axes), fewer where they are very wide.

    Up to that many points are kept as they are, and the measures made standard by leaving out the point itself. Beyond,
    the memory holds k-means centroids of the core and, more of them for their number, of the suspects; and the points
    on which the measures are made standard have no part in it: a centroid cannot leave one of them out. `relative` is
    the share of the relative distance, beside that of the tangent planes, in local evidence.
    """
    n, axes = points.shape
    size = min(size, FLOATS // (2 * axes))
    whole = n <= size
    used = torch.ones(n, dtype=torch.bool)
    if not whole:
        used[rows.held] = False
    core, suspects = torch.where(used & ~rows.suspect)[0], torch.where(used & rows.suspect)[0]
    if whole:
        kept_core, kept_suspects = points[core], points[suspects]
    else:
        share = min(len(suspects), round(size * min(0.5, SUSPECTS_WEIGHT * len(suspects) / int(used.sum()))))
        kept_core = centroids(points[core], size - share, generator)
        kept_suspects = centroids(points[suspects], share, generator)
    memory = torch.cat([kept_core, kept_suspects])
    shape = MemoryShape(
        core=len(kept_core),
        suspects=len(kept_suspects),
        axes=axes,
        tangents=max(1, min(TANGENTS, axes - 1, FLOATS // memory.numel() - 1)),
        near=max(1, min(NEAR, len(memory) - 1)),
        around=max(1, min(AROUND, len(kept_core) - 1)),
        rank=max(1, min(CORE_RANK, len(kept_core) - 2)),
    )
    built = Memory(shape)
    built.rows.copy_(memory)
    built.index()
    original = torch.cat([core, suspects])
    own = torch.arange(len(memory)) if whole else None
    held_own = None if own is None else torch.full((n,), -1).scatter(0, original, own)[rows.held]
    around = points[original]
    built.log_radius.copy_(radii(memory, around, own).log())
    built.tangent.copy_(tangents(memory, around, own, shape.tangents))
    center, scale = standard(built, points[rows.held], held_own)
    built.count(center, scale, shares(min(1.0, n / LOCAL_ROWS), relative))
    return built


def shares(local: float, relative: float) -> Tensor:
    """How much each measure counts as each evidence, (6, 3): `local` of the local evidence is not the nearest row's."""
    share = torch.zeros(MEASURES, 3)
    share[0, 0] = 1 - local
    share[3:5, 0] = local * (1 - relative) / 2
    share[5, 0] = local * relative
    share[1, 1] = share[2, 2] = 1
    return share


def centroids(points: Tensor, size: int, generator: torch.Generator) -> Tensor:
    """k-means centroids from `size` random points (Lloyd, 1982); an empty cluster is dropped."""
    if len(points) <= size:
        return points
    centers = points[torch.randperm(len(points), generator=generator)[:size]].clone()
    for _ in range(ITERATIONS + 1):
        square = centers.square().sum(1)
        nearest = torch.cat([(square - 2 * part @ centers.T).argmin(1) for part in batches(points, 4096)])
        count = torch.bincount(nearest, minlength=size).float()
        total = torch.zeros_like(centers).index_add_(0, nearest, points)
        centers = torch.where(count[:, None] > 0, total / count.clamp(min=1)[:, None], centers)
    return centers[count > 0]


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
            known = mine >= 0
            rough[torch.arange(len(part))[known], mine[known]] = torch.inf
        found = rough.topk(k, dim=1, largest=False).indices
        exact = (part.unsqueeze(1) - of[found]).square().sum(-1).sqrt()
        exact, order = exact.sort(1)
        distances.append(exact)
        positions.append(found.gather(1, order))
    return torch.cat(distances), torch.cat(positions)


def radii(memory: Tensor, around: Tensor, own: Tensor | None) -> Tensor:
    """Root mean square distance of each memory row to its nearest fitting points, with a floor: (rows,)."""
    distances, _ = neighbours(memory, around, min(RADIUS_RANK, max(1, len(around) // 3)), own)
    radius = distances.square().mean(1).sqrt()
    return torch.maximum(radius, 0.1 * radius.median() + 0.015 * math.sqrt(memory.shape[1]))


def tangents(memory: Tensor, around: Tensor, own: Tensor | None, count: int) -> Tensor:
    """Directions in which a row's neighbours vary most, (rows, count, axes).

    Each is scaled by the root of a / (a + noise), a its variance, so that a step along it counts only as far as noise
    would explain it.
    """
    axes = memory.shape[1]
    _, positions = neighbours(memory, around, min(TANGENT_RANK, max(1, len(around) // 3)), own)
    found = []
    for start in range(0, len(memory), 512):
        steps = around[positions[start : start + 512]] - memory[start : start + 512, None]
        # In float64: of near-duplicates, whose products are all but singular, LAPACK gives NaN in float32.
        values, vectors = (part.float() for part in torch.linalg.eigh((steps @ steps.mT).double()))
        kept = min(count, values.shape[1])
        variance = values[:, -kept:].clamp(min=0) / steps.shape[1]
        direction = vectors[:, :, -kept:].mT @ steps
        direction = direction / direction.norm(dim=-1, keepdim=True).clamp(min=1e-4)
        total = steps.square().sum((1, 2))[:, None] / steps.shape[1]
        rest = (total - variance.sum(1, keepdim=True)).clamp(min=0) / max(1, axes - kept)
        noise = rest + 0.02 * total / axes + 1e-9
        scaled = direction * (variance / (variance + noise)).sqrt()[..., None]
        found.append(torch.nn.functional.pad(scaled, (0, 0, 0, count - kept)))
    return torch.cat(found)


def standard(memory: Memory, held: Tensor, own: Tensor | None) -> tuple[Tensor, Tensor]:
    """Centre and scale of the memory's measures, (6,) each, from points that it does not hold, or leaves out."""
    parts = [
        memory.measures(held[i : i + CHUNK], None if own is None else own[i : i + CHUNK])
        for i in range(0, len(held), CHUNK)
    ]
    found = [robust(values) for values in torch.cat(parts).unbind(1)]
    return torch.stack([center for center, _ in found]), torch.stack([scale for _, scale in found])


def batches(rows: Tensor, size: int) -> Iterator[Tensor]:
    """Consecutive rows, so many at a time."""
    return (rows[start : start + size] for start in range(0, len(rows), size))


def robust(values: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and scale: the median, and how far the 95 % quantile lies above it."""
    median = values.median()
    return median, (torch.quantile(values, 0.95) - median).clamp(min=0.05)
