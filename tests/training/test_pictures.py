"""Tests of training on pictures from folder to artifact: determinism, resumption, evaluation, calibration, commands."""

import hashlib
import json
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from kilter.service.cli import GROUP, build, run_command_line
from kilter.service.detector import KilterError, load
from kilter.service.detector.findings import Epoch
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.pictures.pixels import DEEPEST
from kilter.training.commands.calibrate import calibrate
from kilter.training.commands.evaluate import evaluate
from kilter.training.config import FitConfig, TrainConfig
from kilter.training.data.source import TrainingSource
from kilter.training.pipeline import train_model
from tests.support.digits import digits, spoiled, write_pictures
from tests.support.pictures import encoded

KILTER_GROUP = build(list(entry_points(group=GROUP)))
BRIEF = TrainConfig(target_fpr=0.1, baselines=False, fit=FitConfig(steps=20))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good digits in `good`, and some with a blot in `bad`."""
    folder = tmp_path_factory.mktemp("digits")
    write_pictures(folder / "good", digits()[:90])
    write_pictures(folder / "bad", np.stack([spoiled(one) for one in digits()[500:520]]))
    return folder


@pytest.fixture(scope="module")
def models(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models with `digits`, trained on the good ones."""
    folder = tmp_path_factory.mktemp("models")
    train_model(
        TrainingSource((pictures,), normal="good"),
        "digits",
        folder,
        msgspec.structs.replace(BRIEF, seed=1, baselines=True),
    )
    return folder


def checksum(folder: Path) -> str:
    """Of the tensors, calibration scores included."""
    return hashlib.sha256((folder / "tensors.safetensors").read_bytes()).hexdigest()


@pytest.mark.e2e
def test_one_seed_gives_one_model_and_another_seed_another(pictures: Path, models: Path, tmp_path: Path) -> None:
    """To the last bit, whether its fit was interrupted or not."""
    source = TrainingSource((pictures,), normal="good")

    def interrupt(step: int, steps: int, epoch: Epoch | None) -> None:
        if step == 13:
            raise KeyboardInterrupt

    config = msgspec.structs.replace(BRIEF, seed=1)
    with pytest.raises(KeyboardInterrupt):
        train_model(source, "digits", tmp_path, config, progress=interrupt)
    assert [path.name for path in (tmp_path / "digits").iterdir()] == [".fit.safetensors"]
    steps: list[int] = []
    _, again, _ = train_model(source, "digits", tmp_path, config, progress=lambda step, *_: steps.append(step))
    assert steps[0] == 11
    assert checksum(again) == checksum(models / "digits" / "1")
    _, other, _ = train_model(source, "other", tmp_path, BRIEF)
    assert checksum(other) != checksum(again)


def test_the_manifest_says_what_was_read(pictures: Path, models: Path) -> None:
    """The folder by one checksum, the sizes of the parts, and what the pictures were brought to."""
    detector = load(models / "digits")
    training: Any = detector.manifest.training
    assert detector.schema.columns[0] == ImageColumn("image", 8, 8, 1, deep=DEEPEST)
    assert detector.reference.shares is not None
    assert detector.reference.shares[:, :-2] == pytest.approx(0.1, abs=0.02)
    (about,) = training.files
    assert (about.name, about.pictures) == (pictures.name, 110)
    assert sum(msgspec.structs.astuple(training.sizes)) == 90
    assert (training.label, training.normal) == (None, "good")
    assert training.evaluation.labelled.roc_auc.value > 0.9
    assert training.comparison.basis == "labels"
    assert "110 pictures, all 8 x 8 (height x width)." in training.notes


def test_the_report_shows_the_pictures(models: Path) -> None:
    """Normal ones, anomalies and suspects by their files, draws from the prior, and the latent map."""
    page = (models / "digits" / "1" / "report.html").read_text()
    for text in ("Labelled anomalies", "Samples from the prior", "The latent map", "good/00/000", "bad/0", "nats<br>"):
        assert text in page
    card = (models / "digits" / "1" / "MODEL_CARD.md").read_text()
    assert "Pictures in folders called `good` counted as normal" in card
    assert "training pictures, reduced, is part of the score" in card


@pytest.mark.e2e
def test_without_labels_it_is_compared_on_pasted_parts(pictures: Path, tmp_path: Path) -> None:
    """From an array, at a size that was asked for, in a time order that was asked for."""
    np.save(tmp_path / "digits.npy", digits()[:120])
    config = msgspec.structs.replace(BRIEF, baselines=True, split="time")
    source = TrainingSource((tmp_path / "digits.npy",), image_size=(9, 12))
    detector, _, evaluation = train_model(source, "digits", tmp_path, config)
    assert detector.schema.columns[0] == ImageColumn("image", 9, 12, 1, deep=DEEPEST)
    assert detector.manifest.calibration.split == "time"
    comparison = detector.manifest.training.comparison
    assert comparison is not None
    assert comparison.basis == "pasted parts"
    assert evaluation.labelled is None


def test_a_folder_is_evaluated_by_its_subfolders(models: Path, tmp_path: Path) -> None:
    """By the name of the normal one that the model was trained with; broken pictures are told by the exit status."""
    write_pictures(tmp_path / "good", digits()[600:640])
    write_pictures(tmp_path / "bad", np.stack([spoiled(one) for one in digits()[700:720]]))
    done = CliRunner().invoke(evaluate, [str(models / "digits"), str(tmp_path), "--json"])
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    counts = found["labelled"]["counts"]
    assert counts["tp"] + counts["fn"] == 20
    assert found["labelled"]["roc_auc"]["value"] > 0.9
    assert found["trained_on"] is False
    (tmp_path / "good" / "broken.png").write_bytes(b"")
    done = CliRunner().invoke(evaluate, [str(models / "digits"), str(tmp_path / "good")])
    assert done.exit_code == 1
    for said in ("1 of 41 pictures cannot be read and were left out: broken.png", "every picture counts as normal"):
        assert said in done.output


def test_the_folder_that_was_trained_on_is_known_again(pictures: Path, models: Path) -> None:
    """To be evaluated with a warning, and not to be calibrated on."""
    done = CliRunner().invoke(evaluate, [str(models / "digits"), str(pictures)])
    assert "The model was trained on this file or folder" in done.output
    done = CliRunner().invoke(calibrate, [str(models / "digits"), str(pictures)])
    assert isinstance(done.exception, KilterError)
    assert "is a folder that the model was trained on" in str(done.exception)


def test_a_model_is_calibrated_anew_on_new_pictures(models: Path, tmp_path: Path) -> None:
    """The next version has another threshold, the same network, and probes that replay."""
    write_pictures(tmp_path / "new", digits()[800:860])
    copied = tmp_path / "models"
    train_folder = models / "digits" / "1"
    (copied / "digits" / "1").mkdir(parents=True)
    for path in train_folder.iterdir():
        (copied / "digits" / "1" / path.name).write_bytes(path.read_bytes())
    done = CliRunner().invoke(calibrate, [str(copied / "digits"), str(tmp_path / "new")])
    assert done.exit_code == 0, done.output
    before, after = load(train_folder), load(copied / "digits")
    assert after.version == 2
    assert after.calibration.size == 59
    recalibration = after.manifest.training.recalibration
    assert recalibration is not None
    assert recalibration.file.pictures == 60
    new = digits()[900:930]
    np.testing.assert_array_equal(before.score(new).score, after.score(new).score)


@pytest.mark.parametrize(
    ("files", "arguments", "message"),
    [
        ({}, (), "there is no picture in"),
        ({"a.pdf": b"text"}, (), "PNG, JPEG, WebP, TIFF and BMP are read"),
        ({"a.png": b"text"}, (), "none of 1 pictures that were looked at can be read, first of all a.png"),
        ({"a.png": encoded(digits()[0])}, (), "all pictures that count as normal are the same"),
        (
            {"a.png": encoded(digits()[0]), "b.png": encoded(digits()[1])},
            (),
            "there are 2 normal pictures to train on, and at least 30 are needed",
        ),
        ({"a.png": encoded(digits()[0])}, ("--normal", "fine"), "no picture lies in a folder 'fine'"),
        ({"a.png": encoded(digits()[0])}, ("--label", "y"), "labels of pictures in folders are the names"),
        ({"a.png": encoded(digits()[0])}, ("--image-size", "7"), "images are from 8 to 256 pixels high and wide"),
        ({"a.png": encoded(digits()[0])}, ("--image-size", "big"), "height and width like 48x64, not 'big'"),
        ({"a.png": encoded(digits()[0])}, ("--group-by", "site"), "pictures have no columns"),
        ({"a.png": encoded(digits()[0])}, ("--exclude", "b"), "no pictures lie in such a folder"),
    ],
)
def test_wrong_input_gets_one_clear_message(
    files: dict[str, bytes],
    arguments: tuple[str, ...],
    message: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit status 2, the place and the remedy, and no model."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    models = tmp_path / "models"
    status = run_command_line(KILTER_GROUP, ["train", str(folder), "--name", "x", "--models", str(models), *arguments])
    assert status == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert not models.exists()


def test_a_size_is_asked_for_of_pictures_alone(
    training_csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A table has none."""
    status = run_command_line(
        KILTER_GROUP, ["train", str(training_csv), "--name", "x", "--models", str(tmp_path), "--image-size", "48x64"]
    )
    assert status == 2
    assert "--image-size is that of pictures" in capsys.readouterr().err
