"""Where records lie: encoded features as a point in a Euclidean space, in which distances mean something."""

import msgspec
import torch
from torch import Tensor, nn

from service.detector.networks.tabular import Likelihood, TabularVAE, known


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
    """(columns, 1): 1 for a column that no fitting row lacked."""

    def __init__(self, shape: GeometryShape, columns: int, levels: int) -> None:
        super().__init__()
        self.axes = shape.dense + len(shape.missing) + 1
        never = torch.ones(columns, 1)
        never[list(shape.missing)] = 0
        self.register_buffer("seen_missing", torch.tensor(shape.missing, dtype=torch.int64), persistent=False)
        self.register_buffer("never_missing", never, persistent=False)
        self.register_buffer("center", torch.zeros(shape.dense))
        self.register_buffer("weight", torch.ones(shape.dense))
        self.register_buffer("missing_weight", torch.ones(len(shape.missing)))
        self.register_buffer("unseen_weight", torch.ones(levels))
        self.register_buffer("absent_weight", torch.ones(()))

    def expectation(self, p: Likelihood) -> Tensor:
        """The dense features that the network expects, averaged over members: (n, dense)."""
        parts = []
        if p.mean.shape[-1]:
            parts.append(p.expected_number())
        if p.flag.shape[-1]:
            parts.append(2 * p.flag - 1)
        if p.level.shape[-1]:
            parts.append(p.level.exp())
        return torch.cat(parts, dim=-1).mean(0)

    def forward(self, network: TabularVAE, x: Tensor, p: Likelihood) -> tuple[Tensor, Tensor]:
        """Points, (n, axes), and residuals, (n, dense): what was observed less what was expected.

        A missing or hidden feature lies where it is expected, with a residual of 0.
        """
        expected = self.expectation(p)
        residual = (network.dense(x) - expected) * self.weight * network.pick(known(x), "dense_feature")
        parts = [(expected - self.center) * self.weight + residual]
        # Parts of no features are left out, not only for speed: the exported program cannot hold tensors of no columns.
        gone = network.missing_columns(x)
        never = (gone @ self.never_missing) * self.absent_weight.square()
        if len(self.seen_missing):
            parts.append(torch.index_select(gone, -1, self.seen_missing) * self.missing_weight)
        if len(self.unseen_weight):
            unseen = (1 - network.hits(x) @ network.slot_group) * network.pick(known(x), "level")
            never = never + (unseen * self.unseen_weight.square()).sum(-1, keepdim=True)
        return torch.cat([*parts, never.sqrt()], dim=-1), residual

    def rescale(self, unit: Tensor) -> None:
        """Make `unit` the unit of all coordinates."""
        for weight in (self.weight, self.missing_weight, self.unseen_weight, self.absent_weight):
            weight.div_(unit)
