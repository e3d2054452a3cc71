"""Tests of `pipeline`: from files to a model on disk, whole or not at all."""

import csv
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from kilter.service.detector import KilterError, load
from kilter.service.detector.artifact import read_artifact
from kilter.service.detector.columns import BooleanColumn, CategoricalColumn, NumericColumn, TimestampColumn
from kilter.training.config import FitConfig, TrainConfig, read_config
from kilter.training.data.source import TrainingSource
from kilter.training.pipeline import train_model
from tests.support.data import records, write_csv

BRIEF = TrainConfig(target_fpr=0.1, split="random", baselines=False, fit=FitConfig(steps=20, hidden=16))


def digest(folder: Path, name: str) -> str:
    """The checksum of a file of an artifact."""
    lines = (folder / "SHA256SUMS").read_text().splitlines()
    return next(line.split()[0] for line in lines if line.endswith(name))


def labelled(path: Path, rows: int, odd: int) -> Path:
    """A CSV of normal rows, labelled 0, and of hot ones, labelled 1."""
    rng = np.random.default_rng(1)
    table = [{**record, "fault": 0} for record in records(rng, rows)]
    table += [{**record, "temperature": record["temperature"] + 60, "fault": 1} for record in records(rng, odd)]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)
    return path


@pytest.mark.e2e
def test_two_trainings_with_one_seed_give_the_same_weights(training_csv: Path, tmp_path: Path) -> None:
    """The tensors' checksum, calibration scores included, is the same; another seed's is not."""
    source = TrainingSource((training_csv,))
    first, again, other = (
        train_model(source, name, tmp_path, msgspec.structs.replace(BRIEF, seed=seed))[1]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    )
    assert digest(first, "tensors.safetensors") == digest(again, "tensors.safetensors")
    assert digest(first, "score.onnx") == digest(again, "score.onnx")
    assert digest(first, "tensors.safetensors") != digest(other, "tensors.safetensors")


@pytest.mark.e2e
def test_of_more_rows_than_are_wanted_a_sample_is_used(tmp_path: Path) -> None:
    """Of all tables of a folder together, with a note; and the records of a day are those of all rows."""
    (tmp_path / "more").mkdir()
    for part in range(3):
        rows = range(1000 * part, 1000 * part + 1000)
        times = pl.Series([datetime(2026, 1, 1) + timedelta(minutes=30 * i) for i in rows])
        frame = pl.DataFrame({"at": times, "x": np.sin(rows), "y": np.cos(rows)})
        frame.write_parquet(tmp_path / "more" / f"{part}.parquet")
    config = msgspec.structs.replace(BRIEF, max_rows=1_200, split="random")
    said: list[str] = []
    detector, _, _ = train_model(TrainingSource((tmp_path / "more",)), "plant", tmp_path, config, say=said.append)
    assert "1,200 of 3,000 rows are used, drawn at random: --max-rows takes another number." in said
    assert detector.manifest.training.rows == 1_200
    assert len(detector.manifest.training.files) == 3
    assert detector.manifest.training.records_per_day == pytest.approx(48, rel=0.05)


@pytest.mark.e2e
def test_each_training_writes_the_next_version_and_leaves_nothing_else(training_csv: Path, tmp_path: Path) -> None:
    """Versions count up, and no checkpoint or half-written version stays behind."""
    for version in (1, 2):
        detector, folder, _ = train_model(TrainingSource((training_csv,)), "plant", tmp_path, BRIEF)
        assert folder == tmp_path / "plant" / str(version)
        assert (detector.name, detector.version) == ("plant", version)
    assert sorted(path.name for path in (tmp_path / "plant").iterdir()) == ["1", "2"]
    assert load(tmp_path / "plant").version == 2


def test_the_schema_is_what_a_person_would_say(model_folder: Path) -> None:
    """Every kind of column is recognised, the identifier is left out and the constant is kept."""
    schema = load(model_folder).schema
    kinds = {column.name: type(column) for column in schema.columns}
    assert kinds == {
        "temperature": NumericColumn,
        "pressure": NumericColumn,
        "count": NumericColumn,
        "line": CategoricalColumn,
        "product": CategoricalColumn,
        "guard": BooleanColumn,
        "at": TimestampColumn,
    }
    assert [column.name for column in schema.left_out] == ["id"]


def test_the_parts_of_the_rows_do_not_overlap_and_calibration_is_exact(model_folder: Path) -> None:
    """The rate times n + 1 is whole, and no row is used twice."""
    manifest = read_artifact(model_folder / "1").manifest
    sizes = manifest.training.sizes
    assert sizes is not None
    assert sum(msgspec.structs.astuple(sizes)) == 600
    assert manifest.calibration.rank / (manifest.calibration.size + 1) == pytest.approx(0.05)
    assert sizes.calibration == manifest.calibration.size
    assert manifest.schema.rows == sizes.fit


@pytest.mark.e2e
def test_labels_only_evaluate(tmp_path: Path) -> None:
    """Anomalous rows take no part in fitting or calibration, and the evaluation finds them."""
    path = labelled(tmp_path / "labelled.csv", 300, 20)
    config = msgspec.structs.replace(BRIEF, fit=FitConfig(steps=150))
    detector, folder, evaluation = train_model(TrainingSource((path,), "fault", "0"), "plant", tmp_path, config)
    sizes = detector.manifest.training.sizes
    assert sizes is not None
    assert sum(msgspec.structs.astuple(sizes)) == 300
    assert evaluation.labelled is not None
    assert evaluation.labelled.roc_auc.value is not None
    assert evaluation.labelled.roc_auc.value > 0.95
    assert evaluation.labelled.anomaly_rate == pytest.approx(20 / 320)
    assert (evaluation.normal, evaluation.folds) == (sizes.calibration, 5)
    assert evaluation.within_promise is not None
    assert detector.manifest.training.records_per_day == pytest.approx(320 / 21, rel=0.1)
    assert "fault" not in detector.schema.names
    assert (folder / "report.html").stat().st_size > 10_000


def test_data_in_time_order_is_split_by_time(training_csv: Path, tmp_path: Path) -> None:
    """With a timestamp column the calibration rows are the latest ones."""
    config = msgspec.structs.replace(BRIEF, split="auto")
    detector, _, _ = train_model(TrainingSource((training_csv,)), "plant", tmp_path, config)
    assert detector.manifest.calibration.split == "time"


@pytest.mark.e2e
def test_a_split_by_time_without_times_says_what_it_goes_by(training_csv: Path, tmp_path: Path) -> None:
    """The order of the rows, at once and in the manifest; the rate is cross-checked there too."""
    said: list[str] = []
    config = msgspec.structs.replace(BRIEF, split="time")
    source = TrainingSource((training_csv,), exclude=("at",))
    detector, _, evaluation = train_model(source, "plant", tmp_path, config, say=said.append)
    (note,) = [line for line in said if line.startswith("There is no column of times: --split time takes the rows")]
    training = detector.manifest.training
    assert note in training.notes
    assert training.records_per_day is None
    assert evaluation.folds == 5


@pytest.mark.parametrize(
    ("source", "config", "message"),
    [
        ({"label": "falt"}, {}, "--label names 'falt', and there is no such column.*did you mean 'fault'"),
        ({"label": "fault"}, {}, r"say which value of 'fault' is normal, with --normal; it has '0' \(100\), '1' \(5\)"),
        ({"label": "fault", "normal": "ok"}, {}, "no row has 'ok' in 'fault'"),
        ({"exclude": ("tempo",)}, {}, "--exclude names 'tempo', and there is no such column"),
        ({}, {"target_fpr": 0.001}, "needs at least 1998 normal rows in all"),
    ],
)
def test_what_cannot_be_trained_is_refused_before_anything_is_written(
    source: dict[str, str], config: dict[str, float], message: str, tmp_path: Path
) -> None:
    """The message names the value and the remedy, and the folder of models stays as it was."""
    path = labelled(tmp_path / "labelled.csv", 100, 5)
    changed = msgspec.structs.replace(BRIEF, **config)
    with pytest.raises(KilterError, match=message):
        train_model(TrainingSource((path,), **source), "plant", tmp_path / "models", changed)  # type: ignore[arg-type]
    assert not (tmp_path / "models").exists()


def test_fewer_rows_than_can_be_split_are_refused(tmp_path: Path) -> None:
    """Thirty rows are the least, and the message says so."""
    path = write_csv(tmp_path / "few.csv", np.random.default_rng(0), 29)
    with pytest.raises(KilterError, match=r"29 normal rows.*at least 30 are needed"):
        train_model(TrainingSource((path,)), "plant", tmp_path, BRIEF)


@pytest.mark.e2e
def test_thirty_rows_are_enough(tmp_path: Path) -> None:
    """The smallest table trains, at a rate that it can support."""
    path = write_csv(tmp_path / "few.csv", np.random.default_rng(0), 30)
    detector, _, _ = train_model(
        TrainingSource((path,)), "plant", tmp_path, msgspec.structs.replace(BRIEF, target_fpr=None)
    )
    assert detector.calibration.expected_fpr == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("seed = 'one'", r"Expected `int`, got `str` - at `\$.seed`"),
        ("sead = 1", "there is no setting sead; there are target_fpr, "),
        ("[fit]\nsteps = 0", "fit.steps must be from 1"),
        ("target_fpr = 2.0", "target_fpr must be from"),
        ("max_rows = 10", "max_rows must be from 1000"),
        ("[fit]\nmodel = 'cvae'", "the model cvae needs a column .*: name it by --condition-on"),
        ("[fit]\nmodel = 'ae'\ncondition_on = 'line'", "--condition-on is for the model cvae, not for ae"),
        ("= what", "not a TOML file"),
    ],
)
def test_a_wrong_setting_is_named_with_its_file(text: str, message: str, tmp_path: Path) -> None:
    """A configuration file is input like any other."""
    path = tmp_path / "settings.toml"
    path.write_text(text)
    with pytest.raises(KilterError, match=message):
        read_config(path)


def test_options_go_before_the_configuration_file(tmp_path: Path) -> None:
    """What is said on the command line wins; what is not said there comes from the file."""
    path = tmp_path / "settings.toml"
    path.write_text("seed = 5\ntarget_fpr = 0.02\n[fit]\nsteps = 7\n")
    config = read_config(path, seed=6, target_fpr=None)
    assert (config.seed, config.target_fpr, config.fit.steps) == (6, 0.02, 7)


def test_a_file_that_is_given_twice_is_refused(training_csv: Path, tmp_path: Path) -> None:
    """Under another name too, before anything is read or written."""
    copy = tmp_path / "copy.csv"
    copy.write_bytes(training_csv.read_bytes())
    with pytest.raises(KilterError, match="has the same content as"):
        train_model(TrainingSource((training_csv, copy)), "plant", tmp_path, BRIEF)
    assert not (tmp_path / "plant").exists()


def test_the_example_is_a_record_whose_fields_go_together(tmp_path: Path) -> None:
    """Drawn column by column hardly any would be; it is as normal as most."""
    rng = np.random.default_rng(0)
    heavy = rng.random(300) < 0.5
    weight = np.where(heavy, 9_000, 1_400) + rng.normal(0, 100, 300)
    columns = {
        "kind": np.where(heavy, "truck", "car"),
        "fuel": np.where(heavy, "diesel", "petrol"),
        "weight": weight,
        "wheels": np.where(heavy, 10, 4),
        "power": weight / 20 + rng.normal(0, 5, 300),
    }
    config = TrainConfig(baselines=False, target_fpr=0.1)
    detector, _, _ = train_model(TrainingSource(frame=pl.DataFrame(columns)), "cars", tmp_path, config)
    record = detector.probes.records[0]
    assert (record["kind"], record["fuel"]) in (("truck", "diesel"), ("car", "petrol"))
    assert (record["weight"] > 5_000) == (record["kind"] == "truck")
    assert detector.score(record).p_value[0] > 0.2
