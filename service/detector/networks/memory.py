"""A bounded memory of normal records: how far a point is from them, by several measures."""

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

FLOOR = 1e-6
"""Least squared distance before a logarithm, in units of the typical one between neighbours."""
MEASURES = 5
EVIDENCE = 3
SPARSITY = 0.65
"""Power of the neighbour's radius by which a distance is made relative to how sparse its surroundings are."""
ABSENT = 1e15
"""The distance to a row that is left out."""


class MemoryShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What rebuilds a memory."""

    core: int
    """Rows that nothing speaks against, a multiple of the parts; they come first."""
    suspects: int
    """Rows that may be anomalies among the training data."""
    axes: int
    search: int
    """Principal axes in which the nearest rows are looked for, and in which tangents lie."""
    tangents: int
    parts: int
    """Random parts of the core, of the same size, in each of which the nearest row is looked for."""


def _index(memory: "Memory", _: object) -> None:
    memory.index()


class Memory(nn.Module):
    """Memory rows with their tangent planes and radii.

    Rows are looked for in principal axes; the nearest of the core and the nearest suspect are then compared in all
    axes, by direct difference. Five measures of a point, each a logarithm:

    - nearest: the distance to the nearest row;
    - core: the distance to the farthest of the nearest core rows, one from each part: a few odd rows cannot lower it
      (like that to the k-th neighbour of Ramaswamy, Rastogi and Shim, 2000, but found faster);
    - middle: the distance to the mean of these rows;
    - plane: the distance to the tangent plane of the nearest row, along which its neighbours vary (Simard, LeCun and
      Denker, 1993);
    - relative: the distance to the nearest row, over a power of that row's distance to its own neighbours (after
      Breunig et al., LOF, 2000).

    Evidence is linear in them: `weight` and `bias` hold what makes each robustly standard on records that the memory
    did not see, and how much each counts.
    """

    rows: Tensor
    origin: Tensor
    principal: Tensor
    """(axes, search): orthonormal."""
    tangent: Tensor
    """(rows, tangents, search), in half precision: they are most of a memory."""
    radius: Tensor
    """(rows,): how far each row's own neighbours are from it."""
    weight: Tensor
    bias: Tensor
    project: Tensor
    shift: Tensor
    core_keys: Tensor
    suspect_keys: Tensor
    """(search + 1, rows): what a point's coordinates and 1 are multiplied with for its squared distances, but for a
    constant."""
    surroundings: Tensor
    """(rows, tangents (search + 1) + 1): what coordinates and 1 are multiplied with for a step along each tangent; and
    the row's radius."""
    mix: Tensor
    first: Tensor
    """(parts,): the first row of each part."""

    def __init__(self, shape: MemoryShape) -> None:
        super().__init__()
        self.shape = shape
        rows, flat = shape.core + shape.suspects, shape.tangents * (shape.search + 1)
        self.register_buffer("rows", torch.zeros(rows, shape.axes))
        self.register_buffer("origin", torch.zeros(shape.axes))
        self.register_buffer("principal", torch.zeros(shape.axes, shape.search))
        self.register_buffer("tangent", torch.zeros(rows, shape.tangents, shape.search, dtype=torch.float16))
        self.register_buffer("radius", torch.ones(rows))
        self.register_buffer("weight", torch.zeros(MEASURES, EVIDENCE))
        self.register_buffer("bias", torch.zeros(EVIDENCE))
        self.register_buffer("project", torch.zeros(shape.axes, shape.search + 1), persistent=False)
        self.register_buffer("shift", torch.zeros(shape.search + 1), persistent=False)
        self.register_buffer("core_keys", torch.zeros(shape.search + 1, shape.core), persistent=False)
        self.register_buffer("suspect_keys", torch.zeros(shape.search + 1, shape.suspects), persistent=False)
        self.register_buffer("surroundings", torch.zeros(rows, flat + 1), persistent=False)
        self.register_buffer("mix", _mix(), persistent=False)
        first = torch.arange(shape.parts) * (shape.core // shape.parts)
        self.register_buffer("first", first, persistent=False)
        self.register_load_state_dict_post_hook(_index)  # type: ignore[no-untyped-call]

    def index(self) -> None:
        """Prepare the search, once rows, axes, tangents and radii are what they are to be."""
        search = self.shape.search
        reduced = (self.rows - self.origin) @ self.principal
        self.project[:, :search] = self.principal
        self.shift[:search] = -self.origin @ self.principal
        self.shift[search] = 1
        keys = torch.cat([-2 * reduced.T, reduced.square().sum(1)[None]])
        for part, own in (
            (self.core_keys, keys[:, : self.shape.core]),
            (self.suspect_keys, keys[:, self.shape.core :]),
        ):
            part.copy_(own)
        tangent = self.tangent.float()
        offset = -(tangent @ reduced.unsqueeze(2))
        self.surroundings[:, :-1] = torch.cat([tangent, offset], dim=2).flatten(1)
        self.surroundings[:, -1] = self.radius

    def count(self, center: Tensor, scale: Tensor, share: Tensor) -> None:
        """Set evidence to (measures - center) / scale, (5,), times each measure's share of it, (5, 3)."""
        self.weight.copy_(_measures() @ (share / scale[:, None]))
        self.bias.copy_(-(center / scale) @ share)

    def measures(self, points: Tensor, own: Tensor | None = None) -> Tensor:
        """The measures of points, (n, axes): (n, 5); `own`, (n,), is the row that each is itself, or -1."""
        return self.logs(points, own) @ _measures()

    def forward(self, points: Tensor, own: Tensor | None = None) -> Tensor:
        """The evidence against points, (n, axes), in robust standard units, (n, 3): local, core and middle.

        `own`, (n,), is the row that each of them is itself, which is left out, or -1.
        """
        return self.logs(points, own) @ self.weight + self.bias

    def logs(self, points: Tensor, own: Tensor | None) -> Tensor:
        """The logarithms, (n, 5), of the squares of: nearest, core, middle, plane, and the nearest row's radius."""
        parts = self.shape.parts
        reduced = torch.addmm(self.shift, points, self.project)
        found = self.candidates(reduced, own)
        step = points.unsqueeze(1) - functional.embedding(found, self.rows)
        distance = torch.linalg.vector_norm(step, dim=-1)
        if own is not None:
            distance = torch.where(found == own.unsqueeze(1), ABSENT, distance)
        nearest = distance.argmin(1, keepdim=True)
        surroundings = functional.embedding(found.gather(1, nearest).squeeze(1), self.surroundings)
        tangent, radius = torch.split(surroundings, [surroundings.shape[1] - 1, 1], dim=1)
        tangent = tangent.reshape(-1, self.shape.tangents, self.shape.search + 1)
        lengths = [
            distance.amin(1, keepdim=True),
            distance[:, :parts].amax(1, keepdim=True),
            torch.linalg.vector_norm(step[:, :parts].mean(1), dim=1, keepdim=True),
            torch.linalg.vector_norm((tangent * reduced.unsqueeze(1)).sum(-1), dim=1, keepdim=True),
            radius,
        ]
        return (torch.cat(lengths, dim=1).square() @ self.mix).clamp(min=FLOOR).log()

    def candidates(self, reduced: Tensor, own: Tensor | None) -> Tensor:
        """Positions of the nearest row of each part of the core and, if there are any, of suspects: (n, parts + 1)."""
        core, parts = self.shape.core, self.shape.parts
        rough = _rough(reduced, self.core_keys, own).reshape(-1, parts, core // parts)
        found = rough.argmin(2) + self.first
        if not self.shape.suspects:
            return found
        own = own - core if own is not None else None
        suspect = _rough(reduced, self.suspect_keys, own).argmin(1, keepdim=True) + core
        return torch.cat([found, suspect], dim=1)


def _rough(reduced: Tensor, keys: Tensor, own: Tensor | None) -> Tensor:
    """Squared distances, but for a constant of each point, to the rows of these keys: (n, rows)."""
    rough = reduced @ keys
    if own is not None:
        mine = torch.where((own >= 0) & (own < keys.shape[1]))[0]
        rough[mine, own[mine]] = ABSENT
    return rough


def _mix() -> Tensor:
    """Of the squares of nearest, core, middle, along and radius those of nearest, core, middle, off and radius."""
    mix = torch.eye(MEASURES)
    mix[0, 3], mix[3, 3] = 1, -1
    return mix


def _measures() -> Tensor:
    """Of logarithms of squares the measures."""
    mix = torch.eye(MEASURES) / 2
    mix[0, 4], mix[4, 4] = 0.5, -SPARSITY / 2
    return mix
