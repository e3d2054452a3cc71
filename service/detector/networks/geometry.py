"""Where records lie: encoded features as a point in a Euclidean space, in which distances mean something."""

import msgspec
import torch
from torch import Tensor, nn

from service.detector.networks.tabular import Likelihood, TabularVAE, known, pick


class GeometryShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What rebuilds a geometry."""

    dense: int
    missing: tuple[int, ...]
    """Columns that were missing in some fitting rows: each has an axis of its own that says so."""


class Geometry(nn.Module):
    """Maps encoded records to points, (n, axes).

    Axes: the network's dense features, centred and weighted; one per column that training saw missing; and one on
    which all lie that training never saw (an unseen level, a column missing that never was), its coordinate the root
    of the sum of their squared weights.
    """

    center: Tensor
    weight: Tensor
    missing_weight: Tensor
    unseen_weight: Tensor
    absent_weight: Tensor
    seen_missing: Tensor
    never_missing: Tensor

    def __init__(self, shape: GeometryShape, columns: int, levels: int) -> None:
        super().__init__()
        self.axes = shape.dense + len(shape.missing) + 1
        never = [column for column in range(columns) if column not in shape.missing]
        self.register_buffer("seen_missing", torch.tensor(shape.missing, dtype=torch.int64), persistent=False)
        self.register_buffer("never_missing", torch.tensor(never, dtype=torch.int64), persistent=False)
        self.register_buffer("center", torch.zeros(shape.dense))
        self.register_buffer("weight", torch.ones(shape.dense))
        self.register_buffer("missing_weight", torch.ones(len(shape.missing)))
        self.register_buffer("unseen_weight", torch.ones(levels))
        self.register_buffer("absent_weight", torch.ones(()))

    def place(self, dense: Tensor) -> Tensor:
        """Dense features, (..., dense), as coordinates."""
        return (dense - self.center) * self.weight

    def expectation(self, p: Likelihood) -> Tensor:
        """The coordinates that the network expects, averaged over members: (n, dense)."""
        parts = []
        if p.mean.shape[-1]:
            parts.append((p.weight.exp() * p.mean).sum(-2))
        if p.flag.shape[-1]:
            parts.append(2 * p.flag - 1)
        if p.level.shape[-1]:
            parts.append(p.level.exp())
        return self.place(torch.cat(parts, dim=-1).mean(0))

    def forward(self, network: TabularVAE, x: Tensor, p: Likelihood) -> tuple[Tensor, Tensor]:
        """Points, (n, axes), and residuals, (n, dense): what was observed less what was expected.

        A missing or hidden feature lies where it is expected, with a residual of 0.
        """
        expected = self.expectation(p)
        residual = (self.place(network.dense(x)) - expected) * pick(known(x), network.dense_feature)
        placed = expected + residual
        gone = (torch.isnan(x).to(x.dtype) @ network.to_columns).clamp(max=1)
        # Parts of no features are left out, not only for speed: the exported program cannot hold tensors of no columns.
        parts = [placed]
        never = torch.zeros_like(gone[:, :1])
        if len(self.seen_missing):
            parts.append(pick(gone, self.seen_missing) * self.missing_weight)
        if len(self.never_missing):
            never = never + self.absent_weight.square() * pick(gone, self.never_missing).sum(-1, keepdim=True)
        if len(self.unseen_weight):
            unseen = (1 - network.hits(x) @ network.slot_group) * pick(known(x), network.level)
            never = never + (unseen * self.unseen_weight.square()).sum(-1, keepdim=True)
        return torch.cat([*parts, never.sqrt()], dim=-1), residual
