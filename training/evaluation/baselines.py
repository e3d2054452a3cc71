"""Simple detectors on the same rows, which a model has to beat, and anomalies made of normal rows to try them on."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from scipy import stats
from sklearn.decomposition import PCA
from sklearn.ensemble import IsolationForest
from sklearn.neighbors import NearestNeighbors

from kilter.service.detector.arrays import Floats, Mask, Matrix
from kilter.service.detector.columns import Feature
from kilter.service.detector.findings import Baseline, Basis, DetectorComparison
from kilter.service.detector.pictures.column import ImageColumn
from kilter.training.evaluation.evaluate import Ranking

LEAST_ANOMALIES = 10  # with fewer labelled anomalies a comparison says nothing: fields are swapped instead
NOISE = 2.5
"""A detector is better if it is so by more than this many standard errors; there are three that could be by chance."""
LEAST_GAIN = 0.005  # the smallest gain in AUROC that is worth a word
OWN = "Kilter"
MOST_ROWS = 4_000
SWAPPED = 1 / 3  # the share of its fields that a synthetic anomaly has from another row
SIDE = 32  # simple detectors see pictures reduced to at most this many pixels in each direction
AREA = (0.02, 0.15)  # share of the picture that is pasted (Li et al., CutPaste, 2021)
RATIO = (0.3, 3.3)  # ratio of width to height of what is pasted (ibid.)

RowScore = Callable[[Matrix], Floats]
"""Scores encoded rows, (n, features): (n,)."""


class Simplification(NamedTuple):
    """How simple detectors see encoded rows, as numbers alone by `design`, and how anomalies are made of normal ones.

    At most `fitted` rows are fitted, and all detectors are tried on at most `tried` rows of each label.
    """

    fitted: int
    tried: int
    design: Callable[[Matrix], Matrix]
    spoilt: Callable[[Matrix, np.random.Generator], Matrix]
    basis: Basis
    selectable: bool = False
    """Whether a model can be one of the simple detectors."""


def compare(
    own: RowScore,
    fitted: Matrix,
    normal: Matrix,
    anomalous: Matrix,
    kind: Simplification,
    seed: int,
    anomaly_rate: float | None = None,
) -> DetectorComparison | None:
    """Fit simple detectors to `fitted` and try them, and the model's `own` score, on rows that none has seen.

    All rows are encoded as for the network, (n, features); for the simple detectors a missing value is 0 (the mean),
    levels are one-hot, and pictures reduced. With too few labelled anomalies synthetic ones are made of normal rows.
    With labelled ones the average precision is that at `anomaly_rate`. None if there are no rows to try them on, or
    nothing in a row can be swapped.
    """
    rng = np.random.default_rng(seed)
    fitted, normal, anomalous = (
        x[np.sort(rng.permutation(len(x))[:most])]
        for x, most in ((fitted, kind.fitted), (normal, kind.tried), (anomalous, kind.tried))
    )
    basis: Basis = "labels"
    if len(anomalous) < LEAST_ANOMALIES:
        anomalous, basis, anomaly_rate = kind.spoilt(normal, rng), kind.basis, None
    if len(normal) < LEAST_ANOMALIES or len(anomalous) < LEAST_ANOMALIES:
        return None
    rows = np.concatenate([normal, anomalous])
    is_anomaly = np.arange(len(rows)) >= len(normal)
    weight = 1.0 if anomaly_rate is None else (1 / anomaly_rate - 1) * len(anomalous) / len(normal)
    train, test = kind.design(fitted), kind.design(rows)
    scores = {OWN: own(rows)} | {name: fit(train, seed)(test) for name, fit in DETECTORS.items()}
    detectors = []
    for name, values in scores.items():
        ranking = Ranking.of(values, is_anomaly, weight)
        figures = ranking.roc_auc(), ranking.average_precision(), *gain(values, scores[OWN], is_anomaly)
        detectors.append(Baseline(name, *figures, OPTIONS.get(name) if kind.selectable else None))
    return DetectorComparison(tuple(detectors), basis, len(normal), len(anomalous), anomaly_rate)


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


def _nearest(train: Matrix, seed: int) -> RowScore:  # noqa: ARG001
    model = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(train)
    return lambda x: np.asarray(model.kneighbors(x)[0][:, 0], np.float64)


def _principal_components(train: Matrix, seed: int) -> RowScore:  # noqa: ARG001
    centre = train.mean(axis=0)
    if not (train - centre).any():
        return lambda x: np.square(x - centre, dtype=np.float64).sum(axis=1)
    model = PCA(n_components=0.95, svd_solver="full").fit(train)
    return lambda x: np.square(x - model.inverse_transform(model.transform(x)), dtype=np.float64).sum(axis=1)


def _isolation_forest(train: Matrix, seed: int) -> RowScore:
    model = IsolationForest(random_state=seed % 2**32).fit(train)
    return lambda x: -np.asarray(model.score_samples(x), np.float64)


DETECTORS: dict[str, Callable[[Matrix, int], RowScore]] = {
    "nearest neighbour": _nearest,
    "PCA reconstruction": _principal_components,
    "isolation forest": _isolation_forest,
}
"""The simple detectors: each fits rows of numbers, (n, width), and returns a function that scores others."""

OPTIONS = {"nearest neighbour": "nearest", "PCA reconstruction": "pca", "isolation forest": "iforest"}
"""The option --detector by which a table's model is the same."""


def compared_rows(comparison: DetectorComparison) -> str:
    """The rows on which the detectors were tried, in words."""
    normal, anomalous = f"{comparison.normal:,} normal", f"{comparison.anomalous:,}"
    share = (
        ""
        if comparison.anomaly_rate is None
        else f", weighted so that {100 * comparison.anomaly_rate:.3g} % are anomalies"
    )
    return {
        "labels": f"{normal} rows and {anomalous} labelled anomalies{share}",
        "swapped fields": f"{normal} rows and {anomalous} made from them by swapping fields between rows",
        "pasted parts": f"{normal} pictures and {anomalous} with a part of another one pasted in",
    }[comparison.basis]


def baseline_warning(comparison: DetectorComparison | None) -> list[str]:
    """A sentence where a simple detector is better by more than noise, with the remedy."""
    others = comparison.detectors[1:] if comparison else ()
    better = [other for other in others if other.gain > max(LEAST_GAIN, NOISE * other.error)]
    if comparison is None or not better:
        return []
    best = max(better, key=lambda other: other.auroc)
    where = {
        "labels": "For anomalies like these",
        "swapped fields": "If anomalies that break the relation between fields matter to you,",
        "pasted parts": "If anomalies that are a wrong part of a picture matter to you,",
    }[comparison.basis]
    remedy = "prefer it" if best.option is None else f"train with --detector {best.option}"
    return [
        f"A simple detector does better: {best.name} has a ROC AUC of {best.auroc:.3f} on {compared_rows(comparison)}, "
        f"this model {comparison.detectors[0].auroc:.3f} (difference {best.gain:.3f}, standard error {best.error:.3f})."
        f" {where} {remedy}, or bring more normal rows and more fit.steps."
    ]


def swapped(features: tuple[Feature, ...], normal: Matrix, rng: np.random.Generator, share: float = SWAPPED) -> Matrix:
    """Each row with a random `share` of its columns, at least one, from another row; without those still the same.

    Every column keeps its distribution, and what binds columns together is broken.
    """
    if len(normal) < 2:
        return normal[:0]
    column = np.array([feature.column for feature in features])
    columns = int(column.max()) + 1
    count = max(1, round(share * columns))
    donor = (np.arange(len(normal)) + rng.integers(1, len(normal), len(normal))) % len(normal)
    order = np.argsort(rng.random((len(normal), columns)), axis=1)
    chosen = np.zeros((len(normal), columns), bool)
    np.put_along_axis(chosen, order[:, :count], True, axis=1)
    anomalies: Matrix = np.where(chosen[:, column], normal[donor], normal)
    changed: Mask = ((anomalies != normal) & ~(np.isnan(anomalies) & np.isnan(normal))).any(axis=1)
    return np.compress(changed, anomalies, axis=0)


def one_hot(features: tuple[Feature, ...], x: Matrix) -> Matrix:
    """Encoded rows, (n, features), as numbers alone: missing values as 0, levels one-hot and 0 where unseen."""
    parts = [
        x[:, i, None] == np.arange(feature.levels) if feature.kind == "level" else np.nan_to_num(x[:, i, None])
        for i, feature in enumerate(features)
    ]
    return np.concatenate(parts, axis=1).astype(np.float32)


def reduced(column: ImageColumn, x: Matrix) -> Matrix:
    """Encoded pictures, (n, height width channels), each averaged to at most `SIDE` x `SIDE`: (n, fewer)."""
    side = min(column.height, SIDE), min(column.width, SIDE)
    if side == (column.height, column.width):
        return x
    pictures = torch.from_numpy(x).reshape(-1, *column.shape).permute(0, 3, 1, 2)
    means: Matrix = torch.nn.functional.adaptive_avg_pool2d(pictures, side).flatten(1).numpy()
    return means


def pasted(column: ImageColumn, normal: Matrix, rng: np.random.Generator) -> Matrix:
    """Encoded pictures, (n, height width channels), each with a rectangle of another one, from another place of it.

    Those that look the same after it are left out.
    """
    if len(normal) < 2:
        return normal[:0]
    pictures = normal.reshape(-1, *column.shape)
    anomalies = pictures.copy()
    donors = (np.arange(len(normal)) + rng.integers(1, len(normal), len(normal))) % len(normal)
    for picture, donor in zip(anomalies, pictures[donors], strict=True):
        area = rng.uniform(*AREA) * column.height * column.width
        ratio = np.exp(rng.uniform(*np.log(RATIO)))
        height = int(np.clip(round(np.sqrt(area / ratio)), 1, column.height - 1))
        width = int(np.clip(round(np.sqrt(area * ratio)), 1, column.width - 1))
        top, here = rng.choice(column.height - height + 1, 2, replace=False)
        left, there = rng.choice(column.width - width + 1, 2, replace=False)
        picture[top : top + height, left : left + width] = donor[here : here + height, there : there + width]
    changed: Mask = (anomalies != pictures).any(axis=(1, 2, 3))
    return np.compress(changed, anomalies, axis=0).reshape(-1, normal.shape[1])
