"""Tests of `detector.format_1`: models that Kilter 0.1 wrote can be used as those of this version.

That they give the verdicts that they gave is a test of `detector.artifact`.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner

from kilter.service.commands.inspect import inspect
from kilter.service.detector import ArtifactError, load
from kilter.service.detector.artifact import MANIFEST, read_artifact
from kilter.service.detector.format_1 import LOCAL_FEATURES, upgrade
from kilter.service.detector.scores import find_score_kind
from kilter.training.commands.calibrate import calibrate
from kilter.training.commands.evaluate import evaluate
from tests.support.artifacts import ARTIFACTS, rebuilt, rewritten, stored

NAMES = ("format-1", "format-1-grouped", "format-1-pictures")


@pytest.fixture(params=NAMES)
def model(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A folder of a model whose only version is of format 1."""
    manifest = read_artifact(ARTIFACTS / request.param).manifest
    folder = tmp_path / "models" / manifest.name
    shutil.copytree(ARTIFACTS / request.param, folder / str(manifest.version))
    return folder


def test_it_is_inspected_as_a_model_of_this_format(model: Path) -> None:
    """Everything that training said of itself is there."""
    done = CliRunner().invoke(inspect, [str(model), "--json"])
    assert done.exit_code == 0, done.output
    shown = json.loads(done.output)
    old = json.loads((model / "1" / MANIFEST).read_text())
    assert shown["name"] == old["name"]
    for part in ("files", "history", "notes", "settings", "evaluation", "warnings", "comparison"):
        said = old["training"][part]
        if part == "evaluation":
            said |= {"folds": None, "evidence": None}  # which older artifacts do not have
        assert shown["training"][part] == said


def rows_of(model: Path, tmp_path: Path) -> Path:
    """New normal records for a model, in a file or in a folder."""
    name = next(name for name in NAMES if read_artifact(ARTIFACTS / name).manifest.name == model.name)
    if name == "format-1-pictures":
        from tests.support.pictures import encoded

        rng = np.random.default_rng(5)
        folder = tmp_path / "new"
        folder.mkdir()
        for i in range(40):
            (folder / f"{i}.png").write_bytes(encoded(rng.integers(0, 256, (8, 8, 1)).astype(np.uint8)))
        return folder
    path = tmp_path / "new.csv"
    pl.DataFrame(stored(name)["records"]).write_csv(path)
    return path


def test_it_is_evaluated_and_calibrated_anew(model: Path, tmp_path: Path) -> None:
    """The version that calibration adds is of format 2, scores as the old one does, and loads."""
    rows = rows_of(model, tmp_path)
    done = CliRunner().invoke(evaluate, [str(model), str(rows), "--json"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["trained_on"] is False
    done = CliRunner().invoke(calibrate, [str(model), str(rows), "--target-fpr", "0.1"])
    assert done.exit_code == 0, done.output
    old, new = load(model / "1"), load(model / "2")
    assert json.loads((model / "2" / MANIFEST).read_text())["format"] == 2
    assert new.probes.scores == old.probes.scores
    assert new.calibration.target_fpr == 0.1
    if find_score_kind(new.manifest.score.kind).place is not None:
        again = rebuilt(model / "2").score(old.probes.records).score
        assert again == pytest.approx(old.probes.scores, rel=1e-4, abs=1e-4)


def manifest_of(name: str) -> dict[str, Any]:
    """The manifest of an artifact of format 1 as it stands in its file."""
    content: dict[str, Any] = json.loads((ARTIFACTS / name / MANIFEST).read_text())
    return content


def test_the_score_of_pictures_without_a_memory_has_no_shape() -> None:
    """The buffers of a memory's standard units, which such a score never used, are left out."""
    manifest = manifest_of("format-1-pictures")
    entry = manifest["network"]
    entry.update(score="elbo", memory=None)
    manifest["tensors"] = {
        "network.network.slow_log_sigma": [],
        "network.contrasts.usual": [12, 8, 8],
        "network.cell_center": [2, 1],
        "network.evidence.center": [15],
    }
    new, tensors = upgrade(manifest, {"network.evidence.center": 1, "network.cell_scale": 2})
    assert new["score"]["kind"] == "elbo"
    assert new["score"]["shape"] == {}
    assert new["score"]["grid"] == [8, 8]
    assert "memory" not in new["score"]
    assert list(new["tensors"]) == [
        "network.slow_log_sigma",
        "score.evidence.contrasts.usual",
        "score.evidence.cell_center",
    ]
    assert tensors == {"score.evidence.cell_scale": 2}


def test_a_model_with_a_backbone_keeps_its_file_and_its_places() -> None:
    """Its network is the one of all pictures, and what the backbone is used for is its score."""
    manifest = manifest_of("format-1-pictures")
    manifest["network"] |= {
        "kind": "image-vae-backbone",
        "backbone": {"file": "net.onnx", "sha256": "0" * 64, "channels": 3, "features": [8, 4, 4]},
        "axes": 5,
        "places": 64,
        "grid": [4, 4],
    }
    new, tensors = upgrade(manifest, {"network.network.decoder.0": 1, "network.memory": 2, "calibration.scores": 3})
    assert new["network"]["kind"] == "image-vae"
    score = new["score"]
    assert score["kind"] == "backbone-neighbours"
    assert score["shape"] == {"channels": 3, "features": [8, 4, 4], "axes": 5, "places": 64}
    assert score["memory"] == {"rows": 64, "of": LOCAL_FEATURES}
    assert score["backbone"] == {"file": "net.onnx", "sha256": "0" * 64}
    assert score["grid"] == [4, 4]
    assert tensors == {"network.decoder.0": 1, "score.memory": 2, "calibration.scores": 3}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m: m.pop("schema"), "missing required field `schema`"),
        (lambda m: m.pop("training"), "missing required field `training`"),
        (lambda m: m["network"].pop("network"), "missing required field `network`"),
        (lambda m: m["network"].update(neighbours=None), "is not what it must be in format 1"),
        (lambda m: m.update(network="tabular-vae"), "is not what it must be in format 1"),
        (lambda m: m["network"].update(kind="oracle"), "no network of kind 'oracle'"),
        (lambda m: m["network"].update(score="oracle"), "no score of kind 'oracle'"),
        (lambda m: m["network"]["network"].update(hidden="many"), "the network of the manifest"),
        (lambda m: m["training"].update(evaluation=3), r"Expected `object \| null`, got `int`"),
    ],
)
def test_a_manifest_that_no_version_wrote_is_refused(
    change: Callable[[dict[str, Any]], object], message: str, tmp_path: Path
) -> None:
    """It is untrusted input like any other."""

    def edit(content: bytes) -> bytes:
        manifest = json.loads(content)
        change(manifest)
        return json.dumps(manifest).encode()

    folder = rewritten(ARTIFACTS / "format-1", tmp_path / "1", {MANIFEST: edit})
    with pytest.raises(ArtifactError, match=message):
        rebuilt(folder)
