"""How rare each feature's value is on its own."""

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional

from kilter.service.detector.networks.tabular import clean, finite


class MarginalsShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What rebuilds the histograms."""

    features: int
    bins: int
    """Bins of the feature that has most of them, without the one below and the one above."""


class Marginals(nn.Module):
    """A histogram per feature; what lies outside its range, or is missing, has bins of its own.

    The sum over features of -log of the bin's share is the histogram-based outlier score of Goldstein and Dengel, 2012.
    """

    start: Tensor
    per_unit: Tensor
    """(features,): a value v lies in bin floor((v - start) per_unit), the one below the range being bin 0."""
    table: Tensor
    """(features, bins + 4): evidence of each bin: below, within, above, for a feature that is hidden, for one missing;
    the bins of a feature with fewer than `bins` are followed by what is above."""
    offset: Tensor

    def __init__(self, shape: MarginalsShape) -> None:
        super().__init__()
        self.shape = shape
        self.register_buffer("start", torch.zeros(shape.features))
        self.register_buffer("per_unit", torch.ones(shape.features))
        self.register_buffer("table", torch.zeros(shape.features, shape.bins + 4))
        self.register_buffer("offset", torch.arange(shape.features) * (shape.bins + 4), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Evidence against records, (n, 1): the sum of what the table has of their features."""
        above = self.shape.bins + 1
        place = ((clean(x) - self.start) * self.per_unit).clamp(0, above)
        absent = torch.isnan(x).to(x.dtype) + (above + 1)
        # Nothing is below 0, so that cutting off the fraction is rounding down.
        found = torch.where(finite(x), place, absent).to(torch.int64) + self.offset
        return functional.embedding(found, self.table.flatten().unsqueeze(1)).sum(1)
