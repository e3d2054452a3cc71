import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from kilter.service.commands.inspect import inspect
from kilter.service.detector import ArtifactError, Detector


def test_a_model_is_described_in_words(model_folder: Path, detector: Detector) -> None:
    """What it is, made from what, promises what, looks at what, and how large it is."""
    done = CliRunner().invoke(inspect, [str(model_folder)])
    assert done.exit_code == 0, done.output
    info = detector.manifest.calibration
    for text in (
        "plant version 1, made on",
        "of training.csv",
        f"Flags scores above {info.threshold:.6g}, for a target false-positive rate of 5 %",
        f"the {info.size:,} that it was calibrated on",
        "Evaluation, with 95 % intervals:",
        "temperature:",
        "1 level: A",
        "3 levels: bolt, nut, washer",
        "left out     id: ",
        "score.onnx",
        "SHA256SUMS",
        "torch",
    ):
        assert text in done.output


def test_the_manifest_comes_as_json(model_folder: Path) -> None:
    """As it stands in the artifact."""
    done = CliRunner().invoke(inspect, [str(model_folder / "1"), "--json"])
    assert json.loads(done.stdout) == json.loads((model_folder / "1" / "manifest.json").read_text())


def test_a_damaged_model_is_not_described(model_folder: Path, tmp_path: Path) -> None:
    """The error names the file."""
    copy = Path(shutil.copytree(model_folder / "1", tmp_path / "1"))
    (copy / "probes.json").write_bytes(b"{}")
    done = CliRunner().invoke(inspect, [str(copy)])
    assert isinstance(done.exception, ArtifactError)
    assert "probes.json is damaged" in str(done.exception)


def test_what_is_no_model_is_said_to_be_none(tmp_path: Path) -> None:
    """With what a model looks like."""
    done = CliRunner().invoke(inspect, [str(tmp_path)])
    assert isinstance(done.exception, ArtifactError)
    with pytest.raises(ArtifactError, match="a model's folder holds versions"):
        raise done.exception
