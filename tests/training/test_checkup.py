"""Tests of `checkup`: what training finds out about its result stands in the artifact."""

from pathlib import Path

import msgspec
import numpy as np

from kilter.service.detector.artifact import read
from kilter.service.detector.detector import Detector
from kilter.training.baselines import DETECTORS, Comparison
from kilter.training.diagnostics import Diagnosis
from kilter.training.suspects import Suspects


def test_the_findings_stand_in_the_manifest(detector: Detector) -> None:
    """Diagnosis, comparison and suspects, as they are typed, and the warnings that follow from them."""
    training = detector.manifest.training
    diagnosis = msgspec.convert(training["diagnosis"], Diagnosis)
    comparison = msgspec.convert(training["comparison"], Comparison)
    suspects = msgspec.convert(training["suspects"], Suspects)
    assert len(diagnosis.kl) == diagnosis.latent
    assert diagnosis.last_step <= diagnosis.steps
    assert np.isfinite([diagnosis.elbo_fit, diagnosis.elbo_new, diagnosis.gap_error]).all()
    assert [one.name for one in comparison.detectors] == ["Kilter", *DETECTORS]
    assert suspects.judged == training["sizes"]["fit"]
    found = [comparison.warning] if comparison.warning else []
    assert training["warnings"] == [*found, *diagnosis.notes, *suspects.notes]


def test_the_report_shows_the_findings(model_folder: Path) -> None:
    """With the rows of the suspects, and every warning."""
    folder = model_folder / "1"
    page = (folder / "report.html").read_text("utf-8")
    training = read(folder).manifest.training
    assert "Against simple detectors" in page
    assert f'<td class="n">{training["suspects"]["rows"][0]["row"]:,}</td>' in page
    assert "What the latent space is used for" in page
