"""Tests of `evaluation.checkup`: its findings stand in the artifact, and suspects are listed and noted when due."""

from pathlib import Path

import numpy as np
import pytest

from kilter.service.detector.artifact import read_artifact
from kilter.service.detector.calibration import Calibration
from kilter.service.detector.detector import Detector
from kilter.training.evaluation.baselines import DETECTORS, baseline_warning
from kilter.training.evaluation.checkup import far_limit, find_suspects, some


def test_the_findings_stand_in_the_manifest(detector: Detector) -> None:
    """Diagnosis, comparison and suspects, as they are typed, and the warnings that follow from them."""
    training = detector.manifest.training
    diagnosis, comparison, suspects = training.diagnosis, training.comparison, training.suspects
    assert diagnosis is not None
    assert comparison is not None
    assert suspects is not None
    assert training.sizes is not None
    assert len(diagnosis.kl) == diagnosis.latent
    assert diagnosis.last_step <= diagnosis.steps
    assert np.isfinite([diagnosis.elbo_fit, diagnosis.elbo_new, diagnosis.gap_error]).all()
    assert [one.name for one in comparison.detectors] == ["Kilter", *DETECTORS]
    assert suspects.judged == training.sizes.fit
    assert [*training.warnings] == [*baseline_warning(comparison), *diagnosis.notes, *suspects.notes]


def test_the_report_shows_the_findings(model_folder: Path) -> None:
    """With the rows of the suspects, and every warning."""
    folder = model_folder / "1"
    page = (folder / "report.html").read_text("utf-8")
    suspects = read_artifact(folder).manifest.training.suspects
    assert suspects is not None
    assert "Against simple detectors" in page
    assert f'<td class="n">{suspects.rows[0].row:,}</td>' in page
    assert "What the latent space is used for" in page
    diagnosis = read_artifact(folder).manifest.training.diagnosis
    assert diagnosis is not None
    assert len(diagnosis.symptoms) == 9
    for symptom in diagnosis.symptoms:
        assert symptom.name in page.partition('id="health"')[2]


def calibration(*odd: float, size: int = 199, rate: float = 0.05) -> Calibration:
    """A calibration on exponential scores, the last of them replaced by odd ones."""
    scores = np.random.default_rng(1).exponential(size=size)
    scores[: len(odd)] = odd
    return Calibration.of(scores, rate, 6)


def test_the_highest_scores_are_listed_with_their_rows_from_0() -> None:
    """Highest first; a row that could not be scored is not among them."""
    scores = np.array([1.0, 9.0, np.nan, 5.0])
    found = find_suspects(scores, np.array([10, 20, 30, 40]), calibration())
    assert [(one.row, one.score) for one in found.rows] == [(20, 9.0), (40, 5.0), (10, 1.0)]
    assert found.judged == 3


@pytest.mark.parametrize("seed", range(10))
def test_clean_rows_give_no_note(seed: int) -> None:
    """With exponential scores and with lighter tails."""
    rng = np.random.default_rng(seed)
    for scores in (rng.exponential(size=5000), rng.normal(size=5000)):
        found = find_suspects(scores[200:], np.arange(4800), Calibration.of(scores[:200], 0.05, 6))
        assert found.notes == ()


def test_rows_far_out_of_the_bulk_are_suspects() -> None:
    """Even if as many are above the threshold as may be."""
    scores = np.random.default_rng(0).exponential(size=1000)
    scores[:8] = 100.0
    found = find_suspects(scores, np.arange(1000), calibration())
    assert found.far == 8
    assert "8 of 1,000 fitting rows score far out" in found.notes[0]


def test_more_rows_above_the_threshold_than_expected_are_suspects() -> None:
    """Where calibration rows are cleaner than fitting rows."""
    scores = np.random.default_rng(0).exponential(size=1000)
    scores[:150] = 5.0
    found = find_suspects(scores, np.arange(1000), calibration())
    assert found.flagged > found.expected[1]
    assert f"{found.flagged} of 1,000 fitting rows are above the threshold" in found.notes[0]


def test_anomalies_among_calibration_rows_make_the_threshold_conservative_by_so_much() -> None:
    """Of 199 rows at a rate of 5 % the threshold is the tenth from the top: six anomalies leave four."""
    found = find_suspects(np.ones(50), np.arange(50), calibration(*[100.0] * 6))
    assert found.far_calibration == 6
    assert found.notes[-1].endswith("of truly normal rows 2.1 % would be flagged, not 5 %.")


def test_as_many_anomalies_as_the_rank_hide_all_normal_rows() -> None:
    """The threshold itself is then one of them."""
    found = find_suspects(np.ones(50), np.arange(50), calibration(*[100.0] * 10))
    assert "it lies among them" in found.notes[-1]


def test_scores_that_are_all_alike_have_no_far_end() -> None:
    """Constant scores are no reason to suspect anything."""
    found = find_suspects(np.full(50, 3.0), np.arange(50), Calibration.of(np.full(99, 3.0), 0.05, 6))
    assert far_limit(np.full(99, 3.0)) > 3.0
    assert found.notes == ()


def test_a_sample_of_rows_is_some_of_them_in_their_order() -> None:
    """All of them where there are no more than are wanted."""
    rows = np.arange(100, 200)
    assert some(rows, 100, 0) is rows
    few = some(rows, 10, 0)
    assert len(few) == len(set(few.tolist())) == 10
    assert (np.diff(few) > 0).all()
    assert np.isin(few, rows).all()
    assert few.tolist() == some(rows, 10, 0).tolist()
