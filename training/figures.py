"""The figures of a run that it has the data for, as the report shows them."""

import numpy as np
import numpy.typing as npt

from kilter.service.detector.inputs import take
from kilter.training import plots
from kilter.training.kl_bars import kl_bars
from kilter.training.run import Run, Scored

EXPLAINED_ROWS = 2_000
"""Most rows over which the columns that matter are averaged."""
FEWEST = 10
"""Held-out rows over which they are averaged at the least."""
COLUMNS_SHOWN = 15


def figures_of(run: Run) -> dict[str, str]:
    """The figures that this run has the data for, by name. They are SVG that is safe to stand in the page."""
    threshold = run.manifest.calibration.threshold
    digits = run.manifest.score.digits
    normal, anomalous = _finite(run.held_out, digits), _finite(run.anomalies, digits)
    others = {"held-out normal rows": normal, "anomalies": anomalous}
    unit = run.manifest.score.unit
    made = {"scores": plots.score_distribution(run.calibration_scores, threshold, unit, others)}
    if run.history:
        made["curves"] = plots.training_curves(run.history)
    if run.diagnosis:
        made["kl"] = kl_bars(run.diagnosis.kl, run.diagnosis.active_units)
    if len(normal):
        calibration = run.detector.calibration
        made["p_values"] = plots.p_value_histogram(calibration.p_values(normal), calibration)
    if len(anomalous):
        ordinary = normal if len(normal) else run.calibration_scores
        scores = np.concatenate([ordinary, anomalous])
        labels = np.arange(len(scores)) >= len(ordinary)
        made["roc"] = plots.roc_curve(scores, labels, threshold)
        made["precision_recall"] = plots.precision_recall_curve(scores, labels, threshold)
    shares = _column_shares(run)
    if shares:
        made["columns"] = plots.column_bars([name for name, _ in shares], [share for _, share in shares])
    if run.latent is not None and len(run.latent.means) > 1:
        made["latent"] = plots.latent_plane(run.latent, threshold)
    return made


def _finite(scored: Scored | None, digits: int) -> npt.NDArray[np.float64]:
    """The scores of rows without problems, rounded as they are before they meet the threshold."""
    return np.empty(0) if scored is None else np.round(scored.scores[~np.isnan(scored.scores)], digits)


def _column_shares(run: Run) -> list[tuple[str, float]]:
    """The columns that speak most against anomalies or else the strangest held-out rows, with their average share.

    Shares are taken record by record, as in reasons, so that a few extreme records do not decide.
    """
    if run.detector.modality.name == "image":
        return []
    source = run.anomalies if run.anomalies is not None and len(strangest(run.anomalies, 1)) else run.held_out
    if source is None:
        return []
    if source is run.anomalies:
        rows = np.random.default_rng(0).permutation(strangest(source, len(source.scores)))[:EXPLAINED_ROWS]
    else:
        rows = strangest(source, max(len(source.scores) // 100, FEWEST))
    if not len(rows):
        return []
    (terms,) = run.detector.scorer.outputs(take(source.table, rows), ("terms",))
    against = np.maximum(terms, 0.0)
    shares = (against / np.maximum(against.sum(axis=1, keepdims=True), 1e-300)).mean(axis=0)
    order = np.argsort(-shares, kind="stable")[:COLUMNS_SHOWN]
    names = run.manifest.schema.names
    return [(names[i], float(shares[i])) for i in order if shares[i] > 0]


def strangest(scored: Scored, count: int) -> npt.NDArray[np.int64]:
    """The positions of the highest scores, highest first."""
    usable = np.flatnonzero(~np.isnan(scored.scores))
    order: npt.NDArray[np.int64] = usable[np.argsort(-scored.scores[usable], kind="stable")][:count]
    return order
