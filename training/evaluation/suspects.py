"""Rows that were taken for normal and may not be: what contaminates a fit, and what it does to the threshold."""

import numpy as np
from scipy import stats

from kilter.service.detector.arrays import Floats, Positions
from kilter.service.detector.beta import CONFIDENCE
from kilter.service.detector.calibration import Calibration
from kilter.service.detector.findings import Suspect, Suspects

LISTED = 10
FAR = 15.0
"""A score is far out when it lies this many times (upper quartile - median) above the median."""
FAR_SHARE = 0.5 * 2.0**-FAR
"""The share of scores that lie so far out where the upper half falls off exponentially, as surprises do."""
CERTAINTY = 1e-4
"""What has a smaller probability than this is not put down to chance."""


def find_suspects(scores: Floats, rows: Positions, calibration: Calibration) -> Suspects:
    """Look for anomalies among fitting rows by their scores, (n,), and their positions in the files, from 0.

    Scores are far out when the bulk of the calibration scores does not explain them: anomalies that hide among the
    calibration rows raise the threshold, so that few fitting rows need be above it.
    """
    usable = np.flatnonzero(~np.isnan(scores))
    order = usable[np.argsort(-scores[usable], kind="stable")]
    listed = tuple(Suspect(int(rows[i]) + 1, float(scores[i])) for i in order[:LISTED])
    flagged = int(calibration.anomalies(scores).sum())
    among_new = stats.betabinom(len(usable), calibration.rank, calibration.size + 1 - calibration.rank)
    low, high = among_new.interval(CONFIDENCE)
    limit = far_limit(calibration.scores)
    far, far_calibration = int((scores[usable] > limit).sum()), int((calibration.scores > limit).sum())
    judged = len(usable)
    notes = [
        *_fitting_notes(far, flagged, int(among_new.ppf(1 - CERTAINTY)), judged),
        *_calibration_notes(far_calibration, calibration),
    ]
    return Suspects(listed, judged, flagged, (int(low), int(high)), far, far_calibration, tuple(notes))


def far_limit(scores: Floats) -> float:
    """The score from which on one is far out of the bulk of these, (n,)."""
    middle, upper = np.quantile(scores, [0.5, 0.75])
    return float(middle + FAR * max(upper - middle, 1e-9 * max(1.0, abs(middle))))


def _unlikely(count: int, rows: int) -> bool:
    return bool(stats.binom.sf(count - 1, rows, FAR_SHARE) < CERTAINTY)


def _fitting_notes(far: int, flagged: int, most: int, judged: int) -> list[str]:
    advice = (
        'Look at the rows listed under "Suspects" in the report; if they are anomalies, take them out and train again.'
    )
    if _unlikely(far, judged):
        return [f"{far:,} of {judged:,} fitting rows score far out of the bulk and may be anomalies. {advice}"]
    if flagged > most:
        return [
            f"{flagged:,} of {judged:,} fitting rows are above the threshold, where hardly ever more than {most:,} "
            f"of as many new normal rows are: there may be anomalies among them. {advice}"
        ]
    return []


def _calibration_notes(far: int, calibration: Calibration) -> list[str]:
    """How conservative the threshold is if the calibration rows far out are anomalies, which nobody has taken out."""
    if not _unlikely(far, calibration.size):
        return []
    size, rank = calibration.size, calibration.rank
    start = (
        f"{far:,} of the {size:,} calibration rows score far out of the bulk. Calibration rows are never left out, so "
        "if these are anomalies, the threshold is higher than it need be"
    )
    if far >= rank:
        return [
            f"{start}: it lies among them, and next to no normal row is flagged, and no anomaly below it. Take "
            "anomalies out and train again, or calibrate on cleaner rows with kilter calibrate."
        ]
    left, meant = (rank - far) / (size - far + 1), calibration.expected_fpr
    return [f"{start}: of truly normal rows {100 * left:.2g} % would be flagged, not {100 * meant:.2g} %."]
