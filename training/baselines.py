"""Simple detectors on the same rows: what a model has to beat."""

from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors

from kilter.training.bootstrap import ranking
from kilter.training.spoiling import Basis, Kind

LEAST_ANOMALIES = 10
"""With fewer labelled anomalies a comparison says nothing: fields are swapped instead."""
NOISE = 2.5
"""A detector is better if it is so by more than this many standard errors; there are three that could be by chance."""
LEAST_GAIN = 0.005
"""The smallest gain in AUROC that is worth a word."""
OWN = "Kilter"

Matrix = npt.NDArray[np.float32]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
Score = Callable[[Matrix], Floats]


class Baseline(msgspec.Struct, frozen=True):
    """What a detector reaches on rows on which others are tried too."""

    name: str
    auroc: float
    ap: float
    """Average precision."""
    gain: float = 0.0
    """By how much its AUROC is above that of the model."""
    error: float = 0.0
    """Standard error of the gain, the rows being the same (DeLong et al., 1988)."""


class Comparison(msgspec.Struct, frozen=True):
    """The model, first, and simple detectors that were fitted to the same rows."""

    detectors: tuple[Baseline, ...]
    basis: Basis
    """What counts as an anomaly."""
    normal: int
    anomalous: int

    @property
    def better(self) -> Baseline | None:
        """The best of the detectors that are better than the model by more than noise."""
        found = [other for other in self.detectors[1:] if other.gain > max(LEAST_GAIN, NOISE * other.error)]
        return max(found, key=lambda other: other.auroc, default=None)

    @property
    def rows(self) -> str:
        """What the detectors were tried on, in words."""
        if self.basis == "labels":
            return f"{self.normal:,} normal rows and {self.anomalous:,} labelled anomalies"
        if self.basis == "pasted parts":
            return f"{self.normal:,} normal pictures and {self.anomalous:,} with a part of another one pasted in"
        return f"{self.normal:,} normal rows and {self.anomalous:,} made from them by swapping fields between rows"

    @property
    def warning(self) -> str | None:
        """What to say where a simple detector is better, and what to do."""
        best = self.better
        if best is None:
            return None
        alike = {
            "labels": "Prefer it for anomalies like these",
            "swapped fields": "If anomalies that break the relation between fields matter to you, prefer it",
            "pasted parts": "If anomalies that are a wrong part of a picture matter to you, prefer it",
        }
        advice = f"{alike[self.basis]}, or bring more normal rows and more fit.steps."
        return (
            f"A simple detector does better: {best.name} has a ROC AUC of {best.auroc:.3f} on {self.rows}, this model "
            f"{self.detectors[0].auroc:.3f} (difference {best.gain:.3f}, standard error {best.error:.3f}). {advice}"
        )


def compare(own: Score, fitted: Matrix, normal: Matrix, anomalous: Matrix, kind: Kind, seed: int) -> Comparison | None:
    """Fit simple detectors to `fitted` and try them, and the model's `own` score, on rows that none has seen.

    All rows are encoded as for the network, (n, features); for the simple detectors a missing value is 0 (the mean),
    levels are one-hot, and pictures reduced. With too few labelled anomalies synthetic ones are made of normal rows.
    None if there are no rows to try them on, or nothing in a row can be swapped.
    """
    rng = np.random.default_rng(seed)
    parts = ((fitted, kind.fitted), (normal, kind.tried), (anomalous, kind.tried))
    fitted, normal, anomalous = (_sample(x, most, rng) for x, most in parts)
    basis: Basis = "labels"
    if len(anomalous) < LEAST_ANOMALIES:
        anomalous, basis = kind.spoilt(normal, rng), kind.basis
    if len(normal) < LEAST_ANOMALIES or len(anomalous) < LEAST_ANOMALIES:
        return None
    tried = np.concatenate([normal, anomalous])
    odd = np.arange(len(tried)) >= len(normal)
    train, test = kind.design(fitted), kind.design(tried)
    ours = own(tried)
    others = {name: fit(train, seed)(test) for name, fit in DETECTORS.items()}
    detectors = (_judged(OWN, ours, ours, odd), *(_judged(name, s, ours, odd) for name, s in others.items()))
    return Comparison(detectors, basis, len(normal), len(anomalous))


def gain(scores: Floats, own: Floats, anomalous: Mask) -> tuple[float, float]:
    """By how much the AUROC of scores exceeds that of `own` on the same rows, (n,), and its standard error."""
    above, below = (a - b for a, b in zip(_placements(scores, anomalous), _placements(own, anomalous), strict=True))
    error = np.sqrt(above.var(ddof=1) / len(above) + below.var(ddof=1) / len(below))
    return float(above.mean()), float(error)


def _placements(scores: Floats, anomalous: Mask) -> tuple[Floats, Floats]:
    """For each anomaly the share of normal rows below it; for each normal row that of anomalies above it."""
    ranks = stats.rankdata(scores)
    odd, normal = ranks[anomalous], ranks[~anomalous]
    above = (odd - stats.rankdata(scores[anomalous])) / len(normal)
    return above, 1 - (normal - stats.rankdata(scores[~anomalous])) / len(odd)


def _judged(name: str, scores: Floats, own: Floats, anomalous: Mask) -> Baseline:
    curve = ranking(scores, anomalous)
    return Baseline(name, curve.roc_auc(), curve.average_precision(), *gain(scores, own, anomalous))


def _nearest(train: Matrix, seed: int) -> Score:  # noqa: ARG001
    model = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(train)
    return lambda x: np.asarray(model.kneighbors(x)[0][:, 0], np.float64)


def _principal_components(train: Matrix, seed: int) -> Score:  # noqa: ARG001
    centre = train.mean(axis=0)
    if not (train - centre).any():
        return lambda x: np.square(x - centre, dtype=np.float64).sum(axis=1)
    model = PCA(n_components=0.95, svd_solver="full").fit(train)
    return lambda x: np.square(x - model.inverse_transform(model.transform(x)), dtype=np.float64).sum(axis=1)


def _isolation_forest(train: Matrix, seed: int) -> Score:
    model = IsolationForest(random_state=seed % 2**32).fit(train)
    return lambda x: -np.asarray(model.score_samples(x), np.float64)


DETECTORS: dict[str, Callable[[Matrix, int], Score]] = {
    "nearest neighbour": _nearest,
    "PCA reconstruction": _principal_components,
    "isolation forest": _isolation_forest,
}
"""The simple detectors: each fits rows of numbers, (n, width), and returns a function that scores others."""


def _sample(x: Matrix, most: int, rng: np.random.Generator) -> Matrix:
    return x[np.sort(rng.permutation(len(x))[:most])]
