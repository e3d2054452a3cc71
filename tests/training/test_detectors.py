"""Every detector of the user's choice from end to end: trained, written, loaded, scored with, explained and served."""

from importlib.metadata import entry_points
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import kilter
from kilter.service.cli import GROUP, build, run_command_line
from kilter.service.commands.inspect import describe_artifact
from kilter.service.detector import KilterError, Reason, load
from kilter.service.detector.calibration import Calibration
from kilter.service.detector.scores import SCORES, VAE, detector_names, detector_of
from kilter.service.models.registry import Registry
from kilter.service.monitoring.metrics import Metrics
from kilter.service.settings import Settings
from kilter.service.web.app import create_app
from kilter.training.config import FitConfig, TrainConfig
from kilter.training.data.source import TrainingSource
from kilter.training.fitting.model import score_rows
from kilter.training.modality import modality_of_model
from kilter.training.pipeline import train_model
from kilter.training.recalibrate import recalibrate
from kilter.training.scan import scan_source
from tests.support.data import records, write_csv
from tests.support.serving import Client
from tests.support.shallow import SIMPLE, numbers_only, program_of

BRIEF = FitConfig(steps=60)
KILTER_GROUP = build(list(entry_points(group=GROUP)))


@pytest.fixture(scope="module")
def models(training_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of each detector, and one for which the detector was chosen."""
    folder = tmp_path_factory.mktemp("detectors")
    for detector in (*detector_names(), "auto"):
        config = TrainConfig(target_fpr=0.05, split="random", detector=detector, fit=BRIEF)
        train_model(TrainingSource((training_csv,)), detector, folder, config)
    return folder


@pytest.mark.e2e
@pytest.mark.parametrize("name", [*detector_names(), "auto"])
def test_a_detector_from_end_to_end(name: str, models: Path) -> None:
    """New normal records pass, odd ones are flagged with the field that is off and what it should be; the service says
    the same; report and card name the detector."""
    model = load(models / name)
    choice = model.manifest.training.choice
    chosen = name if choice is None else choice.chosen
    assert detector_of(model.manifest.score.kind) == chosen
    assert (model.manifest.network.kind == "linear-vae") == (chosen != VAE)
    assert model.manifest.training.settings["detector"] == name

    usual = records(np.random.default_rng(5), 200)
    verdicts = model.score(usual)
    assert verdicts.anomaly.mean() < 0.15
    alone = np.array([model.score(record).score[0] for record in usual[:20]])
    assert alone == pytest.approx(verdicts.score[:20], abs=1e-5)
    odd = [usual[0] | {"temperature": 140.0}, usual[1] | {"product": "gear"}, usual[2] | {"count": None}]
    judged = model.score(odd, reasons=1)
    assert judged.anomaly[0]
    assert (judged.p_value < 0.35).all()
    assert judged.reasons is not None
    first = judged.reasons[0][0]
    assert isinstance(first, Reason)
    assert first.feature in ("temperature", "pressure")
    assert isinstance(first.expected, float)

    folder = models / name / "1"
    text, card = (folder / "report.html").read_text(), (folder / "MODEL_CARD.md").read_text()
    assert f"<td>{chosen}</td>" in text
    assert (SCORES[model.manifest.score.kind].measure or "a variational autoencoder") in card
    assert any(f"Detector: {chosen}." in line for line in describe_artifact(model.manifest, {}))


@pytest.mark.e2e
@pytest.mark.parametrize("name", SIMPLE)
def test_it_is_served(name: str, models: Path) -> None:
    """Over HTTP with reasons: the verdicts that the detector gives."""
    model, metrics = load(models / name), Metrics()
    usual = records(np.random.default_rng(5), 3)
    with Client(create_app(Settings(), Registry(metrics, [model]), metrics)) as http:
        answer = http.post(f"/v1/models/{name}/score?reasons=2", json={"records": usual})
    assert answer.status_code == 200, answer.text
    results = answer.json()["results"]
    assert [one["score"] for one in results] == pytest.approx(model.score(usual).score.tolist(), abs=1e-4)
    assert all(len(one["reasons"]) <= 2 for one in results)


@pytest.mark.e2e
def test_a_threshold_is_set_anew(models: Path, tmp_path: Path) -> None:
    """On new rows, as for any model."""
    new = write_csv(tmp_path / "new.csv", np.random.default_rng(7), 150)
    manifest = load(models / "nearest").manifest
    rows = modality_of_model(manifest).read_labelled(TrainingSource((new,)), manifest)
    changed = recalibrate(models / "nearest", rows, new)
    assert changed.detector.version == 2
    assert changed.detector.calibration.size > 100


@pytest.mark.e2e
def test_the_evidence_of_a_choice_is_kept_and_shown(models: Path) -> None:
    """In the manifest, the report and the card: a row for each detector, and the reason."""
    choice = load(models / "auto").manifest.training.choice
    assert choice is not None
    assert [trial.detector for trial in choice.trials] == [*detector_names()]
    text, card = ((models / "auto" / "1" / name).read_text() for name in ("report.html", "MODEL_CARD.md"))
    for trial in choice.trials:
        assert trial.both is not None
        shown = f"{trial.both.mean:.3f} ± {trial.both.error:.3f}"
        assert f'<td class="n">{shown}</td>' in text
        assert f"| {shown} |" in card
    assert choice.reason in text
    assert choice.reason in card
    assert load(models / "nearest").manifest.training.choice is None


@pytest.mark.e2e
@pytest.mark.parametrize("detector", SIMPLE)
def test_the_rate_is_kept_over_many_calibrations(detector: str) -> None:
    """60 tables of 60 fitting and 39 calibration rows: of new rows a tenth is flagged on average, for `nearest` too,
    whose memory holds the calibration rows."""
    rates = []
    for seed in range(60):
        rng = np.random.default_rng(seed)
        rows = rng.standard_t(5, size=(499, 4)) @ np.array([[1, 0.5, 0, 0], [0, 1, 0, 0], [0, 0.3, 1, 0], [0, 0, 0, 1]])
        x, calibration, new = np.split(rows.astype(np.float32), [60, 99])
        program, own = program_of(detector, x, numbers_only(4, 60), calibration)
        calibrated = Calibration.of(score_rows(program, calibration, own), 0.1, 4)
        rates.append(calibrated.anomalies(score_rows(program, new)).mean())
    error = np.std(rates, ddof=1) / np.sqrt(len(rates))
    assert np.mean(rates) == pytest.approx(0.1, abs=3 * error)
    assert error < 0.01


@pytest.mark.e2e
def test_the_python_api_takes_a_detector(training_csv: Path, tmp_path: Path) -> None:
    """As a setting of `train`, in a configuration, and as a parameter of the estimator."""
    frame = pl.read_csv(training_csv)
    trained = kilter.train(frame, "mix", tmp_path, detector="gmm", split="random")
    assert trained.manifest.score.kind == "gmm"
    for estimator in (
        kilter.AnomalyDetector(detector="pca", split="random"),
        kilter.AnomalyDetector(config={"detector": "pca", "split": "random"}),
    ):
        fitted = estimator.fit(frame.drop("at"))
        assert fitted.detector_.manifest.score.kind == "pca"
        assert (fitted.predict(frame.drop("at")) == -1).mean() < 0.1


def test_what_does_not_apply_is_refused(training_csv: Path, tmp_path: Path) -> None:
    """A score or a network beside a detector that has its own, a detector that is not there, one for a scan or for
    pictures: each with what to do."""
    frame = pl.read_csv(training_csv)
    for settings, message in (
        ({"detector": "nearest", "score": "elbo"}, "score is a setting of the detector vae, and nearest has its own"),
        ({"detector": "gmm", "fit": {"network": "tabular-vae"}}, "fit.network is a setting of the detector vae"),
        ({"detector": "gmm", "model": "ae"}, "fit.model is a setting of the detector vae"),
        (
            {"model": "gan"},
            "there is no model 'gan': there are vae, beta-vae, binary-vae, cvae, vq-vae, vae-gan, ae, dae",
        ),
        ({"model": "cvae"}, "name it by --condition-on"),
        ({"model": "ae", "condition_on": "shift"}, "--condition-on is for the model cvae, not for ae"),
        ({"model": "ae", "fit": {"network": "tabular-vae"}}, "fit.network and the model 'ae' are two"),
        ({"beta": -1.0}, "fit.beta must be from 0 to 1000, not -1"),
        ({"detector": "knn"}, "there is no detector 'knn': there are vae, nearest, pca, iforest, gmm and auto"),
        ({"score": "nearest"}, "there is no score 'nearest'"),
    ):
        with pytest.raises(KilterError, match=message):
            kilter.train(frame, "none", tmp_path, **settings)
    with pytest.raises(KilterError, match="a scan judges the rows by the score core of the detector vae"):
        scan_source(TrainingSource(frame=frame), TrainConfig(detector="nearest"))
    pictures = tmp_path / "pictures.npz"
    np.savez(pictures, X=np.zeros((40, 8, 8), np.uint8))
    for detector in ("nearest", "auto"):
        with pytest.raises(KilterError, match=f"--detector {detector} is for tables, and .* holds pictures"):
            kilter.train(pictures, "none", tmp_path, detector=detector)
    assert not (tmp_path / "none").exists()


@pytest.mark.e2e
def test_the_command_takes_a_detector(training_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And says how it was chosen, if that is left to it."""
    settings = tmp_path / "brief.toml"
    settings.write_text("[fit]\nsteps = 20\nmembers = 1\n")
    options = ["--detector", "auto", "--split", "random", "--config", str(settings), "--models", str(tmp_path)]
    assert run_command_line(KILTER_GROUP, ["train", str(training_csv), "--name", "chosen", *options]) == 0
    said = capsys.readouterr().out
    choice = load(tmp_path / "chosen").manifest.training.choice
    assert choice is not None
    assert f"The detector is {choice.chosen}: {choice.reason}" in said
    for trial in choice.trials:
        assert trial.swapped is not None
        assert f"  {trial.detector:<10}{trial.swapped.mean:>8.3f} ± {trial.swapped.error:.3f}" in said
