"""Tests of a model whose rows were copied, or set apart by a column: from every door, and through calibrating anew."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

import kilter
from kilter.service.detector import Detector, KilterError, load
from kilter.service.detector.artifact import read_artifact
from kilter.service.detector.thresholds import at_rate
from kilter.training.config import TrainConfig
from kilter.training.data.source import TrainingSource
from kilter.training.modality import modality_of_model
from kilter.training.pipeline import learn
from kilter.training.recalibrate import recalibrate
from tests.training.fitting.test_entities import customers

BRIEF = {"baselines": False, "fit": {"steps": 20, "hidden": 16}}


def as_csv(frame: pl.DataFrame, folder: Path) -> Path:
    frame.write_csv(folder / "rows.csv")
    return folder / "rows.csv"


def as_parquet(frame: pl.DataFrame, folder: Path) -> Path:
    frame.write_parquet(folder / "rows.parquet")
    return folder / "rows.parquet"


def as_pandas(frame: pl.DataFrame, folder: Path) -> Any:
    import pandas as pd

    return pd.DataFrame(frame.to_dict(as_series=False))


@pytest.mark.parametrize("door", [as_csv, pytest.param(as_parquet, marks=pytest.mark.e2e), as_pandas])
def test_every_door_splits_by_a_column(door: Callable[[pl.DataFrame, Path], Any], tmp_path: Path) -> None:
    """The column is no feature, and one row of each of its values calibrates; the report and the card say it."""
    frame = customers(150, 6, 0.3, 0, numbers=True)
    said: list[str] = []
    data = door(frame, tmp_path)
    detector = kilter.train(data, "shop", tmp_path / "models", split_by="customer", config=BRIEF, say=said.append)
    promise, sizes = detector.manifest.calibration, detector.manifest.training.sizes
    assert promise.split_by == "customer"
    assert (promise.size, promise.target_fpr) == (49, 0.02)
    assert sizes is not None
    assert (sizes.fit, sizes.calibration) == (101 * 6, 49)
    assert "customer" not in detector.schema.names
    assert any("customer: left out (rows are split by it" in line for line in said)
    assert not any("looks like an entity" in line for line in said)
    for name in ("report.html", "MODEL_CARD.md"):
        text = (tmp_path / "models" / "shop" / "1" / name).read_text()
        assert "of whose values each counts once" in text
    assert at_rate(promise, detector.thresholds, 0.1)[1].split_by == "customer"


@pytest.mark.e2e
def test_an_estimator_splits_by_a_column_too() -> None:
    """And a configuration file names it; without it a note names the option."""
    frame = customers(150, 20, 0.2, 0)
    settings = {**BRIEF, "split_by": "customer"}
    for options in ({"split_by": "customer", "config": BRIEF}, {"config": settings}):
        detector = kilter.AnomalyDetector(random_state=0, **options).fit(frame).detector_
        assert detector.manifest.calibration.split_by == "customer"
    notes = kilter.AnomalyDetector(random_state=0, config=BRIEF).fit(frame).detector_.manifest.training.notes
    assert "train with --split-by customer" in notes[-1]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (TrainingSource(split_by="shop"), "--split-by names 'shop', and there is no such column: x0, x1"),
        (TrainingSource(split_by="customer", label="customer", normal="c1"), "which is the label"),
        (TrainingSource(split_by="customer", group_by="customer"), "--split-by and --group-by both name 'customer'"),
    ],
)
def test_a_column_that_cannot_split_is_refused(source: TrainingSource, message: str) -> None:
    """With the reason, and what there is instead."""
    frame = customers(20, 3, 1.0, 0).with_columns(customer=pl.Series(["c1", "c2", "c3"] * 20))
    with pytest.raises(KilterError, match=message):
        learn(replace(source, frame=frame), TrainConfig())


def calibrated(model: Path, path: Path, split_by: str | None = None) -> tuple[Detector, int]:
    """A model that is calibrated anew on a file, and the rows that were left out."""
    manifest = read_artifact(model / "1").manifest
    rows = modality_of_model(manifest).read_labelled(TrainingSource((path,), split_by=split_by), manifest)
    done = recalibrate(model, rows, path, target_fpr=0.05, split_by=split_by)
    return load(done.folder), done.copies


@pytest.mark.e2e
def test_calibrating_anew_counts_each_value_and_each_row_once(tmp_path: Path) -> None:
    """One row of each customer; where rows are not split by a column, one of each that was copied."""
    kilter.train(customers(150, 4, 0.3, 0), "shop", tmp_path, split_by="customer", config=BRIEF)
    path = tmp_path / "new.csv"
    new = customers(60, 4, 0.3, 1)
    new.write_csv(path)
    detector, left_out = calibrated(tmp_path / "shop", path, "customer")
    assert (detector.manifest.calibration.size, left_out) == (59, 180)
    assert detector.manifest.calibration.split_by == "customer"
    path = tmp_path / "again.csv"
    pl.concat([new, new, new]).write_csv(path)
    detector, left_out = calibrated(tmp_path / "shop", path)
    assert (detector.manifest.calibration.size, left_out) == (239, 480)
    assert detector.manifest.calibration.split_by is None
    path = tmp_path / "few.csv"
    pl.concat([new[:12]] * 20).write_csv(path)
    with pytest.raises(KilterError, match=r"at least 19 distinct normal rows \(their copies do not count\)"):
        calibrated(tmp_path / "shop", path)


@pytest.mark.e2e
def test_copies_serve_no_two_purposes(tmp_path: Path) -> None:
    """A table that stands in itself five times is the same model as the table; it is said, and few rows are refused."""
    frame = customers(400, 1, 1.0, 0).drop("customer")
    notes, sizes = [], []
    for table in (frame, pl.concat([frame] * 5)):
        training = kilter.train(table, "shop", tmp_path, config=BRIEF).manifest.training
        notes.append(training.notes)
        sizes.append(training.sizes)
    assert sizes[0] == sizes[1]
    assert notes[0] == ()
    assert notes[1][0].startswith("1,600 of 2,000 normal records (80 %) are copies of another one.")
    assert "count 400" in (tmp_path / "shop" / "2" / "MODEL_CARD.md").read_text()
    with pytest.raises(KilterError, match="there are 20 distinct normal rows"):
        kilter.train(pl.concat([frame[:20]] * 50), "shop", tmp_path, config=BRIEF)
