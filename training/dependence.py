"""Whether columns depend on one another: what there is for a latent space to learn."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy import stats

from kilter.service.detector.columns import Feature

ROWS = 4_000
FEATURES = 100
"""Most features that are held against one another; of more, a random sample."""
BINS = 5
SIGNIFICANCE = 0.01
LEAST = 0.01
"""Nats of mutual information below which a dependence is not worth a latent dimension, however certain it is."""

Matrix = npt.NDArray[np.float32]


class Dependence(NamedTuple):
    """The pair of columns that tell most about each other, and how much, in nats."""

    columns: tuple[int, int]
    nats: float


def dependence(x: Matrix, features: tuple[Feature, ...]) -> Dependence | None:
    """The strongest dependence between two columns of encoded rows, (n, features); None if there is none to speak of.

    Numbers are cut into quantiles, and each pair has a G-test of independence at a level of 0.01 over all pairs. The
    mutual information is corrected for its bias, (r - 1)(c - 1) / 2n (Miller, 1955).
    """
    rng = np.random.default_rng(0)
    rows = x[np.sort(rng.permutation(len(x))[:ROWS])]
    picked = np.sort(rng.permutation(len(features))[:FEATURES]).tolist()
    codes = [codes_of(rows[:, i], features[i]) for i in picked]
    pairs = [
        (a, b)
        for a in range(len(picked))
        for b in range(a + 1, len(picked))
        if features[picked[a]].column != features[picked[b]].column
    ]
    best: Dependence | None = None
    for a, b in pairs:
        nats, freedom = mutual_information(codes[a], codes[b])
        corrected = nats - freedom / (2 * len(rows))
        if corrected > (best.nats if best else LEAST):
            certain = stats.chi2.sf(2 * len(rows) * nats, freedom) * len(pairs) < SIGNIFICANCE
            if certain:
                best = Dependence((features[picked[a]].column, features[picked[b]].column), corrected)
    return best


def codes_of(values: Matrix, feature: Feature) -> npt.NDArray[np.int64]:
    """A feature's values, (n,), as few codes from 0: quantiles of numbers, the commonest levels; one for missing."""
    present = ~np.isnan(values)
    codes = np.full(len(values), BINS + 1)
    if feature.kind == "gaussian":
        if present.any():
            edges = np.unique(np.quantile(values[present], np.arange(1, BINS) / BINS))
            codes[present] = np.searchsorted(edges, values[present])
    else:
        codes[present] = np.minimum(values[present].astype(np.int64), BINS)
    return np.asarray(np.unique(codes, return_inverse=True)[1], np.int64)


def mutual_information(a: npt.NDArray[np.int64], b: npt.NDArray[np.int64]) -> tuple[float, int]:
    """Mutual information of two columns of codes from 0, (n,), in nats, and its degrees of freedom."""
    counts = np.zeros((int(a.max()) + 1, int(b.max()) + 1))
    np.add.at(counts, (a, b), 1)
    share = counts / len(a)
    alone = share.sum(1, keepdims=True) * share.sum(0, keepdims=True)
    held = share > 0
    nats = float((share[held] * np.log(share[held] / alone[held])).sum())
    return nats, (counts.shape[0] - 1) * (counts.shape[1] - 1)
