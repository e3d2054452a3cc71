"""A bounded memory of normal records: how far a point is from them, by several measures."""

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

FLOOR = 1e-6
"""Least squared distance before a logarithm, in units of the typical one between neighbours."""
MEASURES = 5

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
    rank: int
    """The core distance is that to the core row of this rank, nearest first."""


def _index(memory: "Memory", _: object) -> None:
    memory.index()


class Memory(nn.Module):
    """Memory rows with their tangent planes and radii; distances are taken by direct difference.

    Five measures of a point, each a logarithm made robustly standard on records that the memory did not see:

    - nearest: the distance to the nearest row;
    - core: the distance to the core row of rank k (Ramaswamy, Rastogi and Shim, 2000);
    - least and mean distance to the tangent planes of the nearest rows, along which neighbours vary (Simard, LeCun and
      Denker, 1993);
    - relative: the distance to the nearest row, over a power of that row's distance to its own neighbours (after
      Breunig et al., LOF, 2000).
    """

    shift: Tensor
    rows: Tensor
    twice: Tensor
    square: Tensor
    tangent: Tensor
    log_radius: Tensor
    center: Tensor
    scale: Tensor

    def __init__(self, shape: MemoryShape) -> None:
        super().__init__()
        self.shape = shape
        rows = shape.core + shape.suspects
        self.register_buffer("shift", torch.zeros(shape.axes))
        self.register_buffer("rows", torch.zeros(rows, shape.axes))
        self.register_buffer("twice", torch.zeros(shape.axes, rows), persistent=False)
        self.register_buffer("square", torch.zeros(rows), persistent=False)
        self.register_buffer("tangent", torch.zeros(rows, shape.tangents, shape.axes))
        self.register_buffer("log_radius", torch.zeros(rows))
        self.register_buffer("center", torch.zeros(MEASURES))
        self.register_buffer("scale", torch.ones(MEASURES))
        self.register_load_state_dict_post_hook(_index)  # type: ignore[no-untyped-call]

    def index(self) -> None:
        """Prepare the search, once `rows` are what they are to be."""
        self.twice.copy_(2 * self.rows.T)
        self.square.copy_(self.rows.square().sum(1))

    def candidates(self, u: Tensor, own: Tensor | None) -> tuple[Tensor, Tensor]:
        """Positions of the nearest core rows and of the nearest suspects, (n, k) each, to the digits of a float32."""
        shape = self.shape
        closeness = u @ self.twice - self.square
        if own is not None:
            known = own >= 0
            closeness[known, own[known]] = -torch.inf
        core, suspects = closeness[:, : shape.core], closeness[:, shape.core :]
        first = core.topk(min(max(shape.rank, shape.near), shape.core), dim=1).indices
        second = suspects.topk(min(shape.near, shape.suspects), dim=1).indices + shape.core
        return first, second

    def measures(self, points: Tensor, own: Tensor | None = None) -> Tensor:
        """The logarithms for points, (n, axes): (n, 5).

        `own`, (n,), is the position of the row that a point is itself, which is left out, or -1; it is for making the
        measures standard, where the memory holds all rows.
        """
        u = points - self.shift
        first, second = self.candidates(u, own)
        found = torch.cat([first, second], dim=1)
        square = (u.unsqueeze(1) - functional.embedding(found, self.rows)).square().sum(-1)
        if own is not None:
            square = torch.where(found == own.unsqueeze(1), 1e30, square)
        core = -(-square[:, : first.shape[1]]).topk(self.shape.rank, dim=1).values[:, -1]
        nearest = (-square).topk(self.shape.near, dim=1)
        near = -nearest.values
        rows = found.gather(1, nearest.indices)
        step = u.unsqueeze(1) - functional.embedding(rows, self.rows)
        plane = functional.embedding(rows, self.tangent.flatten(1))
        plane = plane.reshape(-1, *rows.shape[1:], *self.tangent.shape[1:])
        along = (plane * step.unsqueeze(2)).sum(-1)
        off = 0.5 * (near - along.square().sum(-1)).clamp(min=FLOOR).log()
        nearest_row = 0.5 * near[:, 0].clamp(min=FLOOR).log()
        relative = nearest_row - SPARSITY * torch.index_select(self.log_radius, 0, rows[:, 0])
        core_row = 0.5 * core.clamp(min=FLOOR).log()
        return torch.stack([nearest_row, core_row, off.amin(1), off.mean(1), relative], dim=1)

    def forward(self, points: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Evidence against points in robust standard units, (n,) each: nearest, core, off the tangents, relative."""
        nearest, core, least, mean, relative = ((self.measures(points) - self.center) / self.scale).unbind(1)
        return nearest, core, (least + mean) / 2, relative
