"""A bounded memory of normal records: how far a point is from them, by several measures."""

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

FLOOR = 1e-6
"""Least squared distance before a logarithm, in units of the typical one between neighbours."""
MEASURES = 6
EVIDENCE = 3

SPARSITY = 0.65
"""Power of the neighbour's radius by which a distance is made relative to how sparse its surroundings are."""


class MemoryShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What rebuilds a memory."""

    core: int
    """Rows that nothing speaks against; they come first."""
    suspects: int
    """Rows that may be anomalies among the training data."""
    axes: int
    tangents: int
    near: int
    """Nearest rows whose tangent planes are looked at."""
    around: int
    """Nearest core rows whose mean is looked at."""
    rank: int
    """The core distance is that to the core row of this rank, nearest first."""


def _index(memory: "Memory", _: object) -> None:
    memory.index()


class Memory(nn.Module):
    """Memory rows with their tangent planes and radii; distances are taken by direct difference.

    Six measures of a point, each a logarithm:

    - nearest: the distance to the nearest row;
    - core: the distance to the core row of rank k (Ramaswamy, Rastogi and Shim, 2000);
    - middle: the distance to the mean of the nearest core rows, each weighted by its inverse squared distance;
    - least and mean distance to the tangent planes of the nearest rows, along which neighbours vary (Simard, LeCun and
      Denker, 1993);
    - relative: the distance to the nearest row, over a power of that row's distance to its own neighbours (after
      Breunig et al., LOF, 2000).

    Evidence is linear in them: `weight` and `bias` hold what makes each robustly standard on records that the memory
    did not see, and how much each counts.
    """

    rows: Tensor
    twice: Tensor
    square: Tensor
    tangent: Tensor
    log_radius: Tensor
    mix: Tensor
    weight: Tensor
    bias: Tensor

    def __init__(self, shape: MemoryShape) -> None:
        super().__init__()
        self.shape = shape
        rows = shape.core + shape.suspects
        self.register_buffer("rows", torch.zeros(rows, shape.axes))
        self.register_buffer("twice", torch.zeros(shape.axes, rows), persistent=False)
        self.register_buffer("square", torch.zeros(rows), persistent=False)
        self.register_buffer("tangent", torch.zeros(rows, shape.tangents, shape.axes))
        self.register_buffer("log_radius", torch.zeros(rows))
        self.register_buffer("mix", _mix(shape.near), persistent=False)
        self.register_buffer("weight", torch.zeros(len(self.mix), EVIDENCE))
        self.register_buffer("bias", torch.zeros(EVIDENCE))
        self.register_load_state_dict_post_hook(_index)  # type: ignore[no-untyped-call]

    def index(self) -> None:
        """Prepare the search, once `rows` are what they are to be."""
        self.twice.copy_(-2 * self.rows.T)
        self.square.copy_(self.rows.square().sum(1))

    def count(self, center: Tensor, scale: Tensor, share: Tensor) -> None:
        """Set evidence to (measures - center) / scale, (6,), times each measure's share of it, (6, 3)."""
        self.weight.copy_(self.mix @ (share / scale[:, None]))
        self.bias.copy_(-(center / scale) @ share)

    def candidates(self, points: Tensor, own: Tensor | None) -> tuple[Tensor, Tensor]:
        """Positions of the nearest core rows and of the nearest suspects, (n, k) each, to the digits of a float32."""
        found = []
        for start, size, k in (
            (0, self.shape.core, max(self.shape.around, self.shape.near)),
            (self.shape.core, self.shape.suspects, self.shape.near),
        ):
            part = slice(start, start + size)
            distance = torch.addmm(self.square[part], points, self.twice[:, part])  # squared, but for a constant
            if own is not None:
                inside = (own >= start) & (own < start + size)
                distance[inside, own[inside] - start] = torch.inf
            found.append(distance.topk(min(k, size), dim=1, largest=False).indices + start)
        return found[0], found[1]

    def logs(self, points: Tensor, own: Tensor | None) -> Tensor:
        """Logarithms of squares for points, (n, axes), that `mix` turns into measures: (n, near + 5)."""
        first, second = self.candidates(points, own)
        found = torch.cat([first, second], dim=1)
        step = points.unsqueeze(1) - functional.embedding(found, self.rows)
        square = step.square().sum(-1)
        if own is not None:
            square = torch.where(found == own.unsqueeze(1), 1e30, square)
        around = square[:, : first.shape[1]]
        core = around.topk(self.shape.rank, dim=1, largest=False).values[:, -1:]
        pull = 1 / around.clamp(min=FLOOR)
        middle = (pull.unsqueeze(2) * step[:, : first.shape[1]]).sum(1) / pull.sum(1, keepdim=True)
        near, nearest = square.topk(self.shape.near, dim=1, largest=False)
        rows = found.gather(1, nearest)
        step = points.unsqueeze(1) - functional.embedding(rows, self.rows)
        plane = functional.embedding(rows, self.tangent.flatten(1))
        plane = plane.reshape(-1, *rows.shape[1:], *self.tangent.shape[1:])
        off = near - (plane * step.unsqueeze(2)).sum(-1).square().sum(-1)
        squares = [near[:, :1], core, middle.square().sum(1, keepdim=True), off, off.amin(1, keepdim=True)]
        radius = functional.embedding(rows[:, :1], self.log_radius.unsqueeze(1)).squeeze(-1)
        return torch.cat([torch.cat(squares, dim=1).clamp(min=FLOOR).log(), radius], dim=1)

    def measures(self, points: Tensor, own: Tensor | None = None) -> Tensor:
        """The measures of points, (n, axes): (n, 6).

        `own`, (n,), is the position of the row that a point is itself, which is left out, or -1; it is for making the
        measures standard, where the memory holds all rows.
        """
        return self.logs(points, own) @ self.mix

    def forward(self, points: Tensor) -> Tensor:
        """The evidence against points, (n, axes), in robust standard units, (n, 3): local, core and middle."""
        return self.logs(points, None) @ self.weight + self.bias


def _mix(near: int) -> Tensor:
    """What turns logarithms into measures, (near + 5, 6): those of the squares of nearest, core, middle, `near` planes
    and the least of them, and that of the radius.
    """
    mix = torch.zeros(near + 5, MEASURES)
    for measure, position in enumerate((0, 1, 2, near + 3)):
        mix[position, measure] = 0.5
    mix[3 : near + 3, 4] = 0.5 / near
    mix[0, 5], mix[near + 4, 5] = 0.5, -SPARSITY
    return mix
