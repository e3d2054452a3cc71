"""How rare each feature's value is on its own."""

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from service.detector.networks.tabular import clean


class MarginalsShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What rebuilds the histograms."""

    bins: tuple[int, ...]
    """Bins of each feature, without the one below and the one above."""


class Marginals(nn.Module):
    """A histogram per feature; outside its range, for a level never seen and for a value missing, a bin of its own.

    The sum over features of -log of the bin's share is the histogram-based outlier score of Goldstein and Dengel, 2012.
    """

    low: Tensor
    per_unit: Tensor
    table: Tensor
    missing: Tensor
    usual: Tensor
    """(features,): mean surprise, which a hidden feature is taken to have."""
    offset: Tensor
    size: Tensor
    center: Tensor
    scale: Tensor

    def __init__(self, shape: MarginalsShape) -> None:
        super().__init__()
        features = len(shape.bins)
        size = torch.tensor(shape.bins)
        self.register_buffer("size", size.float(), persistent=False)
        self.register_buffer("offset", torch.cumsum(size + 2, 0) - size - 1, persistent=False)
        self.register_buffer("low", torch.zeros(features))
        self.register_buffer("per_unit", torch.ones(features))
        self.register_buffer("table", torch.zeros(int((size + 2).sum())))
        self.register_buffer("missing", torch.zeros(features))
        self.register_buffer("usual", torch.zeros(features))
        self.register_buffer("center", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    def surprise(self, x: Tensor) -> Tensor:
        """-log of the share of each feature's bin in nats, (n, features)."""
        place = (clean(x) - self.low) * self.per_unit
        bins = torch.minimum(place.floor().clamp(min=-1), self.size).to(torch.int64)
        seen = torch.where(
            torch.isinf(x), self.usual, functional.embedding(bins + self.offset, self.table.unsqueeze(1)).squeeze(-1)
        )
        return torch.where(torch.isnan(x), self.missing, seen)

    def forward(self, x: Tensor) -> Tensor:
        """Evidence against records, (n, 1), in robust standard units."""
        return (self.surprise(x).sum(-1, keepdim=True) - self.center) / self.scale
