"""A model that was really trained on pictures of digits: served, scored by the command, and said what it is."""

import csv
import json
import sys
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from subprocess import run
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from kilter.service.commands.inspect import inspect
from kilter.service.commands.score import score_command
from kilter.service.detector import ArtifactError, Detector, Region, load
from kilter.service.detector.artifact import MANIFEST
from kilter.service.detector.modalities.pictures import Box
from tests.support.artifacts import rewritten
from tests.support.digits import digits, shuffled, spoiled, write_pictures
from tests.support.pictures import encoded
from tests.support.serving import client

KILTER = Path(sys.executable).with_name("kilter")
SCORE = "/v1/models/digits/score"
NEW = shuffled()[400:500]
SPOILED = np.stack([spoiled(digit) for digit in NEW])


def overlap(box: Box, left: int, top: int, right: int, bottom: int) -> bool:
    """Whether a box and a rectangle have a pixel in common."""
    return box.left < right and box.top < bottom and box.left + box.width > left and box.top + box.height > top


def test_it_keeps_its_rate_and_finds_what_is_wrong(digits_detector: Detector) -> None:
    """New digits are seldom flagged, and spoiled ones nearly always, though it was trained for a second."""
    assert digits_detector.score(NEW).anomaly.mean() <= 0.15
    assert digits_detector.score(SPOILED).anomaly.mean() >= 0.9


def test_its_reasons_are_where_the_blot_is(digits_detector: Detector) -> None:
    """The strongest region of most spoiled digits has the blot in it, and covers less than the picture."""
    reasons = digits_detector.score(SPOILED, reasons=3).reasons or []
    hits = []
    for found in reasons:
        assert found
        first = found[0]
        assert isinstance(first, Region)
        hits.append(overlap(first.box, 0, 5, 2, 8))
    assert np.mean(hits) > 0.8


def test_it_is_served(digits_detector: Detector) -> None:
    """A spoiled digit is flagged, its regions are in its own pixels, and its heat map is as large as it is."""
    large = np.kron(SPOILED[0], np.ones((20, 25), np.uint8))
    with client(digits_detector) as http:
        about = http.get("/v1/models/digits").json()
        assert http.post(SCORE, json=about["example"]).status_code == 200
        assert http.get("/openapi.json").status_code == 200
        answer = http.post(f"{SCORE}?reasons=2", content=encoded(large), headers={"content-type": "image/png"})
        [result] = answer.json()["results"]
        assert result["anomaly"] is True
        assert len(result["reasons"]) >= 1
        assert max(reason["box"]["left"] + reason["box"]["width"] for reason in result["reasons"]) <= 200
        drawn = http.post(f"{SCORE}?heatmap=true", content=encoded(large), headers={"content-type": "image/png"})
        assert http.get("/metrics").text.count("kilter_feature_drift{") == 3
    assert drawn.headers["kilter-anomaly"] == "true"
    assert drawn.headers["kilter-score"] == str(result["score"])
    with Image.open(BytesIO(drawn.content)) as image:
        assert image.size == (200, 160)
        change = np.abs(np.asarray(image).astype(int) - large[:, :, None]).sum(axis=2)
    assert change[110:, :40].mean() > 2 * change[:60, 150:].mean()


def test_it_is_watched_by_what_its_pictures_look_like(digits_detector: Detector) -> None:
    """New digits are as bright as those of the fit, and darker ones have drifted."""
    shares = digits_detector.reference.shares
    assert shares is not None
    assert shares.shape == (3, 12)
    drift: dict[str, dict[str, float]] = {}
    for name, pictures in (("new", NEW), ("dark", NEW // 3)):
        with client(digits_detector) as http:
            content = BytesIO()
            np.save(content, pictures)
            http.post(SCORE, content=content.getvalue(), headers={"content-type": "application/x-npy"})
            lines = [
                line for line in http.get("/metrics").text.splitlines() if line.startswith("kilter_feature_drift{")
            ]
        drift[name] = {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in lines}
    assert max(drift["new"].values()) < 0.25
    assert drift["dark"]["image.brightness"] > 1
    assert drift["dark"]["image.sharpness"] < 0.25


@pytest.mark.parametrize("form", ["folder", "npy"])
def test_the_command_scores_pictures(form: str, digits_models: Path, digits_detector: Detector, tmp_path: Path) -> None:
    """A folder, with a broken picture in it, or a stack; with heat maps, and the detector's verdicts."""
    pictures = np.concatenate([NEW[:20], SPOILED[:5]])
    path = tmp_path / "new.npy"
    if form == "folder":
        path = write_pictures(tmp_path / "new", pictures)
        (path / "broken.png").write_bytes(encoded(NEW[0])[:40])
    else:
        np.save(path, pictures)
    out, maps = tmp_path / "out.csv", tmp_path / "maps"
    arguments = [digits_models / "digits", path, "-o", out, "--heatmaps", maps, "--reasons", "2"]
    done = CliRunner().invoke(score_command, [str(argument) for argument in arguments])
    assert done.exit_code == (1 if form == "folder" else 0), done.output
    with out.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if not row["kilter_error"]]
    judged = digits_detector.score(pictures)
    np.testing.assert_allclose([float(row["kilter_score"]) for row in rows], judged.score, rtol=1e-5, atol=1e-5)
    assert [row["kilter_anomaly"] == "true" for row in rows] == judged.anomaly.tolist()
    assert all(len(json.loads(row["kilter_reasons"])) <= 2 for row in rows)
    assert len(list(maps.rglob("*.png"))) == 25
    if form == "folder":
        assert rows[0]["picture"] == "00/0000.png"
        assert "first error: broken.png: the picture is cut short" in done.stderr


def test_the_command_says_what_a_model_takes(digits_models: Path, models_folder: Path, tmp_path: Path) -> None:
    """A table is none for a model of pictures, nor has a model of records heat maps."""
    table = tmp_path / "table.csv"
    table.write_text("a,b\n1,2\n")
    model = digits_models / "digits"
    for arguments, told in (
        ([model, table], "is no picture: PNG, JPEG, WebP, TIFF and BMP are, and stacks of them"),
        ([model, table, "--reasons", "some"], "anomalies, all, none, or a number"),
        ([models_folder / "plant", table, "--heatmaps", tmp_path / "maps"], "judges records of fields"),
        ([models_folder / "plant", tmp_path, "-o", tmp_path / "scored"], "whose tables are read"),
    ):
        done = run([KILTER, "score", *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert told in done.stderr
        assert done.stdout == ""


def test_inspect_says_what_it_sees(digits_models: Path) -> None:
    """Size, colours and range of its pictures."""
    done = CliRunner().invoke(inspect, [str(digits_models / "digits")])
    assert "image: 8 x 8 pixels (height x width), grey, from 0 to 255" in done.output


def test_its_probes_are_pictures(digits_detector: Detector) -> None:
    """In base64, and none of those that it was trained on."""
    seen = {picture.tobytes() for picture in digits()}
    for record in digits_detector.probes.records:
        picture: Any = digits_detector.table([record]).columns["image"][0]
        assert picture.tobytes() not in seen


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            lambda m: m["score"].update(grid=[2, 2]),
            r"the grid is \[2, 2\], and the program gives evidence of 64 places",
        ),
        (lambda m: m["score"].pop("grid"), "has a grid of"),
        (lambda m: m["schema"]["columns"][0].update(height=9), r"and gives|takes x"),
        (lambda m: m["schema"]["columns"][0].update(height=0), "has pixels"),
        (lambda m: m["schema"]["columns"][0].update(low=255.0), "black is below white"),
        (lambda m: m["schema"]["columns"].append(m["schema"]["columns"][0]), "a picture is the only field"),
        (lambda m: m["schema"]["columns"][0].update(channels=2), "channels"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(
    change: Callable[[dict[str, Any]], object], told: str, digits_models: Path, tmp_path: Path
) -> None:
    """When the model is loaded, and not with the first picture."""

    def changed(content: bytes) -> bytes:
        manifest = json.loads(content)
        change(manifest)
        return json.dumps(manifest).encode()

    folder = rewritten(digits_models / "digits" / "1", tmp_path / "1", {MANIFEST: changed})
    with pytest.raises(ArtifactError, match=told):
        load(folder)
