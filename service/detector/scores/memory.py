"""A bounded memory of normal records: how far a point is from them, by several measures, and which it holds.

And statistics of points in a Euclidean space: their nearest neighbours and their principal axes.
"""

import math

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

CHUNK = 1024  # points whose neighbours are looked for together
FLOOR = 1e-3  # least distance before a logarithm, in units of the typical one between neighbours
MEASURES = ("nearest", "core", "middle", "relative")
SPARSITY = 0.65
"""Power of the neighbour's radius by which a distance is made relative to how sparse its surroundings are."""
ABSENT = 1e15  # the distance to a row that is left out
SEARCH = 48  # most principal axes in which nearest rows are looked for
PRODUCTS = 160 * 1024  # most multiplications that the search for a record's neighbours takes
FLOATS = 1024 * 1024  # most numbers that the rows of a memory hold
PARTS = 4
LEAST_ROWS = 4 * PARTS
SUSPECTS_WEIGHT = 2  # suspects lie far apart: each is so many times as likely to be kept as a row of the core
RADIUS_RANK = 10


def nearest_rows(points: Tensor, of: Tensor, k: int, own: Tensor | None = None) -> tuple[Tensor, Tensor]:
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
        exact, order = (part.unsqueeze(1) - of[nearest]).square().sum(-1).sqrt().sort(1)
        distances.append(exact)
        positions.append(nearest.gather(1, order))
    return torch.cat(distances), torch.cat(positions)


def principal_axes(points: Tensor, count: int) -> Tensor:
    """The directions in which points, (n, axes), vary most, (axes, count): orthonormal."""
    centred = (points - points.mean(0)).double()
    vectors: Tensor = torch.linalg.eigh(centred.T @ centred)[1]
    return vectors[:, -count:].float()


class MemoryShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sizes of a memory."""

    core: int  # rows that nothing speaks against, a multiple of the parts; they come first
    suspects: int  # rows that may be anomalies among the training data
    axes: int
    search: int  # principal axes in which the nearest rows are looked for
    parts: int  # random parts of the core, of the same size, in each of which the nearest row is looked for


class Memory(nn.Module):
    """Memory rows with their radii.

    Rows are looked for in principal axes; the nearest of each part of the core and the nearest suspect are then
    compared in all axes, by direct difference. Four measures of a point, each a logarithm:

    - nearest: the distance to the nearest row;
    - core: the distance to the farthest of the nearest core rows, one from each part: a few odd rows cannot lower it
      (like that to the k-th neighbour of Ramaswamy, Rastogi and Shim, 2000, but faster to look up);
    - middle: the distance to the mean of these rows;
    - relative: the distance to the nearest row, over a power of that row's distance to its own neighbours (after
      Breunig et al., LOF, 2000).

    """

    def __init__(self, shape: MemoryShape) -> None:
        super().__init__()
        self.shape = shape
        rows, keys = shape.core + shape.suspects, shape.search + 1
        self.rows = nn.Buffer(torch.zeros(rows, shape.axes))
        self.origin = nn.Buffer(torch.zeros(shape.axes))
        self.principal = nn.Buffer(torch.zeros(shape.axes, shape.search))  # orthonormal
        self.radius = nn.Buffer(torch.ones(rows))  # how far each row's own neighbours are from it
        self.project = nn.Buffer(torch.zeros(shape.axes, keys), persistent=False)
        self.shift = nn.Buffer(torch.zeros(keys), persistent=False)
        # A point's coordinates and 1 times these are its squared distances, but for a constant.
        self.core_keys = nn.Buffer(torch.zeros(keys, shape.core), persistent=False)
        self.suspect_keys = nn.Buffer(torch.zeros(keys, shape.suspects), persistent=False)
        self.log_sparsity = nn.Buffer(torch.zeros(rows), persistent=False)  # of each row's surroundings
        self.first = nn.Buffer(torch.arange(shape.parts) * (shape.core // shape.parts), persistent=False)
        self.register_load_state_dict_post_hook(lambda memory, _: memory.index())  # type: ignore[no-untyped-call]

    def index(self) -> None:
        """Prepare the search, once rows, axes and radii are final."""
        search = self.shape.search
        reduced = (self.rows - self.origin) @ self.principal
        self.project[:, :search] = self.principal
        self.shift[:search] = -self.origin @ self.principal
        self.shift[search] = 1
        keys = torch.cat([-2 * reduced.T, reduced.square().sum(1)[None]])
        self.core_keys.copy_(keys[:, : self.shape.core])
        self.suspect_keys.copy_(keys[:, self.shape.core :])
        self.log_sparsity.copy_(SPARSITY * self.radius.log())

    def find(self, points: Tensor, own: Tensor | None) -> Tensor:
        """Positions of the nearest row of each part of the core and, if there are any, of suspects: (n, parts + 1).

        `own`, (n,), is the row that each of the points, (n, axes), is itself, which is left out, or -1.
        """
        core, parts = self.shape.core, self.shape.parts
        reduced = torch.addmm(self.shift, points, self.project)
        rough = _rough(reduced, self.core_keys, own).reshape(-1, parts, core // parts)
        near = rough.argmin(2) + self.first
        if not self.shape.suspects:
            return near
        own = own - core if own is not None else None
        suspect = _rough(reduced, self.suspect_keys, own).argmin(1, keepdim=True) + core
        return torch.cat([near, suspect], dim=1)

    def measure(self, measures: tuple[str, ...], points: Tensor, near: Tensor, own: Tensor | None) -> Tensor:
        """Some of `MEASURES` of points by the rows that `find` has found for them: (n, measures)."""
        parts = self.shape.parts
        step = points.unsqueeze(1) - functional.embedding(near, self.rows)
        distance = distances_of(step, near, own)
        logs = {}
        if {"nearest", "relative"} & {*measures}:
            logs["nearest"] = log_length(distance.amin(1, keepdim=True))
        if "core" in measures:
            logs["core"] = log_length(distance[:, :parts].amax(1, keepdim=True))
        if "middle" in measures:
            logs["middle"] = log_length(torch.linalg.vector_norm(step[:, :parts].mean(1), dim=1, keepdim=True))
        if "relative" in measures:
            nearest = near.gather(1, distance.argmin(1, keepdim=True))
            logs["relative"] = logs["nearest"] - self.log_sparsity[nearest]
        return torch.cat([logs[name] for name in measures], dim=1)


def distances_of(step: Tensor, near: Tensor, own: Tensor | None) -> Tensor:
    """The lengths of steps, (n, k, axes), from rows at positions `near`, (n, k); far away from a point's own row."""
    distance = torch.linalg.vector_norm(step, dim=-1)
    return distance if own is None else torch.where(near == own.unsqueeze(1), ABSENT, distance)


def log_length(length: Tensor) -> Tensor:
    """The logarithm, with a floor."""
    return length.clamp(min=FLOOR).log()


def _rough(reduced: Tensor, keys: Tensor, own: Tensor | None) -> Tensor:
    """Squared distances, but for a constant of each point, to the rows of these keys: (n, rows)."""
    rough = reduced @ keys
    if own is not None:
        mine = torch.where((own >= 0) & (own < keys.shape[1]))[0]
        rough[mine, own[mine]] = ABSENT
    return rough


def build_memory(
    points: Tensor, suspect: Tensor, fitted: int, held: Tensor, size: int, generator: torch.Generator
) -> tuple[Memory, Tensor]:
    """A memory of at most `size` of the points (n, axes), fewer where they are very wide, and the row of each, or -1.

    The first `fitted` of them are fitted, the others those of calibration rows; a `suspect`, (n,), is set apart from
    the core. Where there is no room for all, a random sample is kept, and none of those at `held`, by which what is
    usual is learned: centroids would hide how densely points lie.

    Calibration points are in the memory like any others, and nothing else depends on them: radii are taken among fitted
    points alone. So each can be judged as a new record is, by leaving out its row.
    """
    rows, axes = points.shape
    search = min(SEARCH, axes)
    size = max(LEAST_ROWS, min(size, PRODUCTS // search, FLOATS // axes))
    used = torch.ones(rows, dtype=torch.bool)
    if rows > size:
        used[held] = False
    around = points[:fitted][used[:fitted]]
    core, suspects = sample_rows(suspect[used], size, generator)
    kept = torch.cat([core, suspects])
    memory = Memory(MemoryShape(len(core), len(suspects), axes, search, PARTS))
    memory.rows.copy_(points[used][kept])
    memory.origin.copy_(memory.rows.mean(0))
    memory.principal.copy_(principal_axes(memory.rows, search))
    itself = torch.where(kept < len(around), kept, -1)
    memory.radius.copy_(radii(memory.rows, around, itself))
    memory.index()
    own = torch.full((rows,), -1)
    own[torch.where(used)[0][kept]] = torch.arange(len(kept))
    return memory, own


def rows_held(own: Tensor) -> Tensor:
    """The position of each row of a memory, (rows,), by the row that is held of each position, or -1."""
    held = torch.where(own >= 0)[0]
    return held[own[held].argsort()]


def sample_rows(suspect: Tensor, size: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
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


def radii(memory: Tensor, around: Tensor, own: Tensor) -> Tensor:
    """Root mean square distance of each memory row to its nearest fitting points, with a floor: (rows,)."""
    distances, _ = nearest_rows(memory, around, min(RADIUS_RANK, max(1, len(around) // 3)), own)
    radius = distances.square().mean(1).sqrt()
    return torch.maximum(radius, 0.1 * radius.median() + 0.015 * math.sqrt(memory.shape[1]))
