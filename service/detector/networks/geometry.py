"""Where records lie: encoded features, and what a network makes of them, as a point in a Euclidean space."""

from typing import Literal

import msgspec
import torch
from torch import Tensor, nn

from kilter.service.detector.networks.joined import Joined
from kilter.service.detector.networks.tabular import Likelihood, Posterior, TabularShape, TabularVAE, finite, known


class GeometryShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What rebuilds a geometry."""

    dense: int
    missing: tuple[int, ...]
    """Columns that were missing in some fitting rows: each has an axis of its own that says so."""
    means: bool
    """Whether posterior means are coordinates; not in a wide table."""
    whitening: Literal["full", "diagonal", "none"]
    """How residuals become coordinates; not at all in a mixed table, nor in a wide one."""


class Geometry(nn.Module):
    """Maps encoded records to points, (n, axes).

    Axes: the network's dense features, weighted; one per column that training saw missing; one on which
    all lie that training never saw (an unseen level, a column missing that never was), its coordinate the root of the
    sum of their squared weights; the members' posterior means; and the whitened residual of the reconstruction. A
    missing or hidden feature lies where it is expected, with a residual of 0.
    """

    scale: Tensor
    missing_weight: Tensor
    unseen_weight: Tensor
    absent_weight: Tensor
    means_weight: Tensor
    whitening: Tensor
    seen_missing: Tensor
    never_missing: Tensor
    """(columns, 1): 1 for a column that no fitting row lacked."""

    def __init__(self, shape: GeometryShape, network: TabularShape) -> None:
        super().__init__()
        self.shape = shape
        levels = len(network.where("level"))
        never = torch.ones(network.columns, 1)
        never[list(shape.missing)] = 0
        size = {"full": (shape.dense,) * 2, "diagonal": (shape.dense,), "none": ()}[shape.whitening]
        self.joined = None if levels else Joined(network, shape.dense)
        self.register_buffer("seen_missing", torch.tensor(shape.missing, dtype=torch.int64), persistent=False)
        self.register_buffer("never_missing", never, persistent=False)
        self.register_buffer("scale", torch.ones(shape.dense))
        self.register_buffer("missing_weight", torch.ones(len(shape.missing)))
        self.register_buffer("unseen_weight", torch.ones(levels))
        self.register_buffer("absent_weight", torch.ones(()))
        self.register_buffer("means_weight", torch.ones(()))
        self.register_buffer("whitening", torch.zeros(size))

    @property
    def plain(self) -> int:
        """Axes of what was observed; they come first."""
        return self.shape.dense + len(self.shape.missing) + 1

    def look(self, network: TabularVAE, x: Tensor, posterior: Posterior, p: Likelihood) -> tuple[Tensor, Tensor]:
        """What the network makes of records: posterior means of all members, and expected dense features."""
        if self.joined is None:
            return posterior.joined(), network.expected_dense(p)
        means, expected = self.joined(network.dense(x), known(x))
        return means, expected

    def values(self, network: TabularVAE, x: Tensor, expected: Tensor) -> tuple[list[Tensor], Tensor]:
        """Coordinates of what was observed, side by side (n, dense + missing + 1), and the residual, (n, dense)."""
        observed = network.pick(finite(x), "dense_feature")
        filled = torch.where(observed, network.dense(x), expected)
        parts = [filled * self.scale]
        # Parts of no features are left out, not only for speed: the exported program cannot hold tensors of no columns.
        gone = network.missing_columns(x)
        never = (gone @ self.never_missing) * self.absent_weight.square()
        if len(self.seen_missing):
            parts.append(torch.index_select(gone, -1, self.seen_missing) * self.missing_weight)
        if len(self.unseen_weight):
            unseen = (1 - network.hits(x) @ network.slot_group) * network.pick(known(x), "level")
            never = never + (unseen * self.unseen_weight.square()).sum(-1, keepdim=True)
        return [*parts, never.sqrt()], filled - expected

    def forward(self, network: TabularVAE, x: Tensor, posterior: Posterior, p: Likelihood) -> Tensor:
        """The point of each record, (n, axes)."""
        means, expected = self.look(network, x, posterior, p)
        parts, residual = self.values(network, x, expected)
        if self.shape.means:
            parts.append(means * self.means_weight)
        if self.shape.whitening != "none":
            full = self.shape.whitening == "full"
            parts.append(residual @ self.whitening if full else residual * self.whitening)
        return torch.cat(parts, dim=-1)

    def rescale(self, unit: Tensor) -> None:
        """Make `unit` the unit of the coordinates of what was observed."""
        for weight in (self.scale, self.missing_weight, self.unseen_weight, self.absent_weight):
            weight.div_(unit)
