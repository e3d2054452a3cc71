"""Tests of `evaluation.checkup`: what training finds out about its result stands in the artifact."""

from pathlib import Path

import numpy as np

from kilter.service.detector.artifact import read_artifact
from kilter.service.detector.detector import Detector
from kilter.training.evaluation.baselines import DETECTORS, baseline_warning


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
    warning = baseline_warning(comparison)
    first = [warning] if warning else []
    assert [*training.warnings] == [*first, *diagnosis.notes, *suspects.notes]


def test_the_report_shows_the_findings(model_folder: Path) -> None:
    """With the rows of the suspects, and every warning."""
    folder = model_folder / "1"
    page = (folder / "report.html").read_text("utf-8")
    suspects = read_artifact(folder).manifest.training.suspects
    assert suspects is not None
    assert "Against simple detectors" in page
    assert f'<td class="n">{suspects.rows[0].row:,}</td>' in page
    assert "What the latent space is used for" in page
