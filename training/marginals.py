"""Builds the histograms of the default score."""

import math

import numpy as np
import torch
from torch import Tensor

from kilter.service.detector.networks.marginals import Marginals, MarginalsShape
from kilter.training.memory import robust

EDGE = 1e-4
"""By how much of its width a histogram reaches beyond the values that were seen, at either end."""
BINS = (5, 30)


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
