"""How rare each value of a record is on its own."""

import math

import msgspec
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kilter.service.detector.networks.base import clean, finite, robust

EDGE = 1e-4  # by how much of its width a histogram reaches beyond the values that were seen, at either end
BINS = (5, 30)


class MarginalsShape(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The sizes of the histograms."""

    features: int
    bins: int  # bins of the feature that has most of them, without the one below and the one above


class Marginals(nn.Module):
    """A histogram per feature: how rare its value is on its own. Outside its range, or missing, it has other bins.

    The sum over features of -log of the bin's share is the histogram-based outlier score of Goldstein and Dengel, 2012.
    """

    def __init__(self, shape: MarginalsShape) -> None:
        super().__init__()
        self.shape = shape
        # A value v lies in bin floor((v - start) per_unit), the one below the range being bin 0.
        self.start = nn.Buffer(torch.zeros(shape.features))
        self.per_unit = nn.Buffer(torch.ones(shape.features))
        # The evidence of each bin: below, within, above, for a feature that is hidden, for one missing.
        self.table = nn.Buffer(torch.zeros(shape.features, shape.bins + 4))
        self.offset = nn.Buffer(torch.arange(shape.features) * (shape.bins + 4), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The evidence against records, (n, 1), summed over their features."""
        above = self.shape.bins + 1
        place = ((clean(x) - self.start) * self.per_unit).clamp(0, above)
        absent = torch.isnan(x).to(x.dtype) + (above + 1)
        # Nothing is below 0, so that cutting off the fraction is rounding down.
        bins = torch.where(finite(x), place, absent).to(torch.int64) + self.offset
        return functional.embedding(bins, self.table.flatten().unsqueeze(1)).sum(1)


def build_marginals(core: Tensor, held: Tensor) -> Marginals:
    """Histograms of every feature, numbers and flags, over the encoded core rows, (n, features), NaN where missing.

    Shares are smoothed by half a count a bin; the evidence is made robustly standard on `held` rows.
    """
    n, features = core.shape
    marginals = Marginals(MarginalsShape(features, min(max(round(math.sqrt(n)), BINS[0]), BINS[1])))
    bins, table = marginals.shape.bins, marginals.table
    above, hidden, missing = bins + 1, bins + 2, bins + 3
    for i, values in enumerate(core.T.numpy().astype(np.float64)):
        present = values[~np.isnan(values)]
        start, end = (float(present.min()), float(present.max())) if len(present) else (0.0, 0.0)
        if end - start <= 1e-9:
            start, end = start - 1e-3, end + 1e-3
        # The ends lie within the range, not on its edges, where a rounding error would decide.
        start, end = start - EDGE * (end - start), end + EDGE * (end - start)
        width = (end - start) / bins
        marginals.start[i], marginals.per_unit[i] = start - width, 1 / width
        counts = np.histogram(present, bins, (start, end))[0]
        table[i, 1:above] = torch.from_numpy(-np.log((counts + 0.5) / (len(present) + 0.5 * bins)))
        table[i, 0] = table[i, above] = math.log(n + 2)
        table[i, missing] = -math.log((n - len(present) + 1) / (n + 2))
        places = np.where(np.isnan(values), missing, np.clip((values - start) / width + 1, 0, above))
        # A hidden value is taken to be as rare as values are on average.
        table[i, hidden] = table[i, torch.from_numpy(places.astype(np.int64))].mean()
    center, scale = robust(marginals(held).squeeze(1))
    table.sub_(center / features).div_(scale)
    return marginals
