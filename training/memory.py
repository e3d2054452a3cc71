"""Chooses what the memory of the default score holds, and makes its measures standard."""

import math
from typing import NamedTuple

import torch
from torch import Tensor

from kilter.service.detector.networks.memory import MEASURES, Memory, MemoryShape

SEARCH = 48
"""Most principal axes in which nearest rows are looked for."""
PRODUCTS = 160 * 1024
"""Most multiplications that the search for a record's neighbours takes."""
FLOATS = 1024 * 1024
"""Most numbers that the rows of a memory hold."""
TANGENTS = 4
PARTS = 4
LEAST_ROWS = 4 * PARTS
SUSPECTS_WEIGHT = 2
"""Suspects lie far apart: each is so many times as likely to be kept as a row of the core."""
LOCAL_ROWS = 100
"""Rows from which tangents and radii count in full."""
RADIUS_RANK = 10
TANGENT_RANK = 20
CHUNK = 1024


class Rows(NamedTuple):
    """Points that a memory may hold."""

    points: Tensor
    """(n, axes)"""
    suspect: Tensor
    """(n,): whether a point is set apart from the core."""


def build_memory(
    fitted: Rows, calibration: Rows, held: Tensor, size: int, plane: float, relative: float, generator: torch.Generator
) -> tuple[Memory, Tensor]:
    """A memory of at most `size` rows of points, fewer where they are very wide, and the row of each calibration point.

    Where there is no room for all, a random sample is kept: centroids would hide how densely points lie. The points at
    the positions `held` of the fitted ones make the measures standard, left out of the memory if they are in it.

    Calibration points are in the memory like any others, and nothing else depends on them: tangents and radii are taken
    among fitted points alone. So each can be judged as a new record is, by leaving out its row, which is -1 where it
    was not kept. `plane` and `relative` are the shares of these measures in local evidence.
    """
    axes, search = fitted.points.shape[1], min(SEARCH, fitted.points.shape[1])
    size = max(LEAST_ROWS, min(size, PRODUCTS // search, FLOATS // axes))
    total = len(fitted.points) + len(calibration.points)
    used = torch.ones(len(fitted.points), dtype=torch.bool)
    if total > size:
        used[held] = False
    around = fitted.points[used]
    points = torch.cat([around, calibration.points])
    core, suspects = sample(torch.cat([fitted.suspect[used], calibration.suspect]), size, generator)
    kept = torch.cat([core, suspects])
    row = torch.full((len(points),), -1)
    row[kept] = torch.arange(len(kept))
    shape = MemoryShape(
        core=len(core),
        suspects=len(suspects),
        axes=axes,
        search=search,
        tangents=min(TANGENTS, search),
        parts=PARTS,
    )
    memory = Memory(shape)
    memory.rows.copy_(points[kept])
    memory.origin.copy_(memory.rows.mean(0))
    memory.principal.copy_(principal_axes(memory.rows, search))
    itself = torch.where(kept < len(around), kept, -1)
    memory.radius.copy_(radii(memory.rows, around, itself))
    reduced, others = ((part - memory.origin) @ memory.principal for part in (memory.rows, around))
    memory.tangent.copy_(tangents(reduced, others, itself, shape.tangents))
    memory.index()
    own = torch.full((len(fitted.points),), -1)
    own[used] = row[: len(around)]
    center, scale = standard(memory, fitted.points[held], own[held])
    memory.count(center, scale, shares(min(1.0, total / LOCAL_ROWS), plane, relative))
    return memory, row[len(around) :]


def sample(suspect: Tensor, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Positions of at most `size` points in all: of the core, in random order, and of suspects, who are half at most.

    Those of the core are a multiple of PARTS.
    """
    core, suspects = (
        part[torch.randperm(len(part), generator=generator)]
        for part in (torch.where(~suspect)[0], torch.where(suspect)[0])
    )
    room = len(suspects)
    if len(suspect) > size:
        room = min(room, round(size * min(0.5, SUSPECTS_WEIGHT * room / len(suspect))))
    kept = min(len(core), size - room)
    return core[: kept - kept % PARTS], suspects[:room]


def shares(local: float, plane: float, relative: float) -> Tensor:
    """How much each measure counts as each evidence, (5, 3): `local` of the local evidence is not the nearest row's."""
    share = torch.zeros(MEASURES, 3)
    share[0, 0] = 1 - local * (plane + relative)
    share[3, 0], share[4, 0] = local * plane, local * relative
    share[1, 1] = share[2, 2] = 1
    return share


def principal_axes(points: Tensor, count: int) -> Tensor:
    """The directions in which points, (n, axes), vary most, (axes, count): orthonormal."""
    centred = (points - points.mean(0)).double()
    vectors: Tensor = torch.linalg.eigh(centred.T @ centred)[1]
    return vectors[:, -count:].float()


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


def radii(memory: Tensor, around: Tensor, own: Tensor) -> Tensor:
    """Root mean square distance of each memory row to its nearest fitting points, with a floor: (rows,)."""
    distances, _ = neighbours(memory, around, min(RADIUS_RANK, max(1, len(around) // 3)), own)
    radius = distances.square().mean(1).sqrt()
    return torch.maximum(radius, 0.1 * radius.median() + 0.015 * math.sqrt(memory.shape[1]))


def tangents(memory: Tensor, around: Tensor, own: Tensor, count: int) -> Tensor:
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


def standard(memory: Memory, held: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and scale of the memory's measures, (5,) each, by points that are left out: `own` as in `Memory`."""
    measured = map(memory.measures, torch.split(held, CHUNK), torch.split(own, CHUNK))
    found = [robust(values) for values in torch.cat(list(measured)).unbind(1)]
    return torch.stack([center for center, _ in found]), torch.stack([scale for _, scale in found])


def robust(values: Tensor) -> tuple[Tensor, Tensor]:
    """Centre and scale: the median, and how far the 95 % quantile lies above it."""
    median = values.median()
    return median, (torch.quantile(values, 0.95) - median).clamp(min=0.05)
