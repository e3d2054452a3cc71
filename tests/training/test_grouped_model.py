"""Tests of a model with thresholds by group and by labels: through every route, and held against its manifest."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from kilter.service.detector import ArtifactError, Detector, RecordsError, load
from kilter.service.detector.artifact import MANIFEST
from kilter.service.formats.scoring import score_file
from kilter.training.config import FitConfig, Rule, TrainConfig
from kilter.training.data.source import TrainingSource
from kilter.training.modality import modality_of_model
from kilter.training.pipeline import train_model
from kilter.training.recalibrate import recalibrate
from tests.support.artifacts import rewritten
from tests.support.data import records
from tests.support.serving import client


def write(path: Path, normal: int, odd: int, seed: int) -> Path:
    """A CSV of normal rows, of which those of the site 2 scatter more, and of hot ones with the fault 1."""
    rng = np.random.default_rng(seed)
    table: list[dict[str, Any]] = []
    for i, record in enumerate(records(rng, normal + odd)):
        site = 9 if i < 2 else 1 + i % 2
        hot = float(rng.normal(0, 15)) * (site == 2) + float(rng.normal(35, 4)) * (i >= normal)
        table.append({**record, "temperature": record["temperature"] + hot, "site": site, "fault": int(i >= normal)})
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a model, grouped by a column that it does not see, with the threshold of the best F1."""
    place = tmp_path_factory.mktemp("grouped")
    config = TrainConfig(score="elbo", split="random", threshold=Rule(f_beta=2.0), fit=FitConfig(steps=60, hidden=32))
    source = TrainingSource((write(place / "train.csv", 900, 40, 0),), "fault", "0", ("site",), "site")
    train_model(source, "plant", place / "models", config)
    return place / "models" / "plant"


@pytest.fixture(scope="module")
def model(folder: Path) -> Detector:
    return load(folder / "1")


def test_the_manifest_says_how_the_threshold_came_about(model: Detector, folder: Path) -> None:
    """Way, figure and level with intervals, and the groups; the report and the card say it in words."""
    info = model.manifest.calibration
    assert info.chosen.by == "f-beta"
    assert info.chosen.evidence is not None
    assert info.chosen.evidence.anomalies == 40
    assert info.chosen.evidence.anomaly_rate == pytest.approx(40 / 940)
    assert info.target_fpr == info.chosen.evidence.level.value
    assert info.by_group is not None
    assert [group.value for group in info.by_group.groups] == ["1", "2"]
    assert model.groups is not None
    calm, scattered = (model.groups.calibrations[site].scores for site in ("1", "2"))
    assert np.median(calm) < np.median(scattered)
    assert info.by_group.groups[0].threshold != info.by_group.groups[1].threshold
    for name in ("report.html", "MODEL_CARD.md"):
        text = (folder / "1" / name).read_text()
        assert "was chosen for the best F-beta, beta 2" in text
        assert "for 2 groups: " in text


def test_every_record_has_the_threshold_of_its_group(model: Detector) -> None:
    """By records, by HTTP and in a file; a group that is too small or unknown, or none, has the common one."""
    sites = [1, 2, 9, 77, None]
    given = [{**record, "site": site} for record, site in zip(records(np.random.default_rng(3), 5), sites, strict=True)]
    found = model.score(given)
    assert model.groups is not None
    own = [model.groups.calibrations.get(str(site), model.calibration) for site in sites]
    assert found.threshold is not None
    assert found.threshold.tolist() == [calibration.threshold for calibration in own]
    assert found.p_value.tolist() == [
        calibration.p_values(found.score[i : i + 1])[0] for i, calibration in enumerate(own)
    ]
    with client(model) as http:
        answer = http.post("/v1/models/plant/score", json={"records": given}).json()
    assert [result["threshold"] for result in answer["results"]] == found.threshold.tolist()
    assert [result["p_value"] for result in answer["results"]] == found.p_value.tolist()
    assert {result["target_fpr"] for result in answer["results"]} == {answer["target_fpr"]}


def test_a_file_is_judged_by_groups(model: Detector, tmp_path: Path) -> None:
    """The column that groups is read like the others."""
    path = write(tmp_path / "new.csv", 100, 5, 4)
    score_file(model, path, tmp_path / "out.parquet")
    table = pl.read_parquet(tmp_path / "out.parquet")
    verdicts = model.score(table)
    assert table["kilter_p_value"].to_list() == verdicts.p_value.tolist()
    assert table["kilter_anomaly"].to_list() == verdicts.anomaly.tolist()


def test_the_field_that_groups_must_be_sent(model: Detector) -> None:
    """Like any other; of the wrong type it is refused."""
    record = records(np.random.default_rng(3), 1)[0]
    with pytest.raises(RecordsError, match="field 'site': the field is missing"):
        model.score([record])
    with pytest.raises(RecordsError, match="field 'site': a number is expected"):
        model.score([{**record, "site": "north"}])


def test_a_model_is_grouped_anew_without_a_fit(folder: Path, model: Detector, tmp_path: Path) -> None:
    """`recalibrate` by another column: the records have that field then, and the network stays."""
    path = write(tmp_path / "new.csv", 400, 10, 5)
    manifest = model.manifest
    rows = modality_of_model(manifest).read_labelled(TrainingSource((path,), group_by="product"), manifest)
    done = recalibrate(folder, rows, path, rule=Rule(alerts_per_day=50, records_per_day=1_000), group_by="product")
    info = done.detector.manifest.calibration
    assert (info.target_fpr, info.chosen.by) == (0.05, "alerts-per-day")
    assert info.by_group is not None
    assert [group.value for group in info.by_group.groups] == ["bolt", "nut", "washer"]
    assert all(group.size % 20 == 19 for group in info.by_group.groups)


def change(edit: Callable[[Any], None]) -> Callable[[bytes], bytes]:
    """A change to the calibration in a manifest."""

    def changed(content: bytes) -> bytes:
        manifest = json.loads(content)
        edit(manifest["calibration"])
        return json.dumps(manifest).encode()

    return changed


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c["by_group"]["groups"][0].update(threshold=1.0), "of the group '1': threshold is 1.0, its scores"),
        (lambda c: c["by_group"]["groups"][1].update(rank=7), "of the group '2': rank is 7, its scores give"),
        (lambda c: c["by_group"]["groups"][1].update(size=7), "'calibration.groups' are not the"),
        (lambda c: c["by_group"]["groups"][1].update(value="1"), "of the group '1' stands there twice"),
        (lambda c: c["by_group"]["groups"][1].update(value="x"), "of the group 'x': 'site' has no such value"),
        (lambda c: c["by_group"].update(column="cite"), "no column 'cite' that can group records"),
        (lambda c: c.update(by_group=None), "'calibration.groups' are not the 0 scores of 0 groups"),
        (
            lambda c: c.update(tail={"start": 0, "last": 1, "shape": 0, "scale": 1, "share": 0.1}),
            "start of the tail is 0.0, and must be one of the calibration scores",
        ),
    ],
)
def test_what_does_not_fit_the_scores_is_refused(
    edit: Callable[[Any], None], message: str, folder: Path, tmp_path: Path
) -> None:
    """At loading, with the group, the field and both values named."""
    copy = rewritten(folder / "1", tmp_path / "1", {MANIFEST: change(edit)})
    with pytest.raises(ArtifactError, match=message):
        load(copy)
