"""Tests of `kilter.train`, and of the names that `kilter` has."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

import kilter
from tests.support.data import records

ROOT = Path(__file__).parents[2]
BRIEF: dict[str, Any] = {"target_fpr": 0.1, "fit": {"steps": 20}, "baselines": False}


@pytest.fixture(scope="module")
def normal() -> pd.DataFrame:
    """Rows with columns of every kind."""
    return pd.DataFrame(records(np.random.default_rng(0), 120))


@pytest.fixture(scope="module")
def trained(normal: pd.DataFrame, tmp_path_factory: pytest.TempPathFactory) -> kilter.Detector:
    """A model of a pandas frame."""
    return kilter.train(normal, "plant", tmp_path_factory.mktemp("models"), **BRIEF)


def test_every_public_name_is_there() -> None:
    """And nothing else is to be had."""
    assert {*kilter.__all__, "__version__"} == set(dir(kilter))
    for name in kilter.__all__:
        assert getattr(kilter, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        kilter.nothing  # noqa: B018


def test_importing_kilter_imports_nothing_heavy() -> None:
    """What the names need is imported when they are used."""
    code = "import sys, kilter; print(*sorted({'numpy', 'torch', 'polars', 'pandas', 'sklearn'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == []


@pytest.mark.parametrize("package", ["service", "training"])
def test_a_package_is_not_imported_twice(package: str) -> None:
    """From the repository's root it could be, and every class would be there twice."""
    code = f"import {package}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 1
    assert f"this package is kilter.{package}" in done.stderr


@pytest.mark.e2e
def test_what_is_trained_is_what_is_loaded(trained: kilter.Detector, normal: pd.DataFrame, tmp_path: Path) -> None:
    """A frame of pandas, one of polars, a file and several give the same model, which judges records in every form."""
    first, second, whole = (tmp_path / f"{name}.csv" for name in ("first", "second", "whole"))
    for path, rows in ((first, normal[:60]), (second, normal[60:]), (whole, normal)):
        rows.to_csv(path, index=False)
    want = trained.score(normal).score
    for i, source in enumerate([pl.DataFrame(normal.to_dict("list")), whole, [first, str(second)]]):
        detector = kilter.train(source, f"model-{i}", tmp_path, **BRIEF)
        np.testing.assert_array_equal(detector.score(normal).score, want)
        np.testing.assert_array_equal(kilter.load(tmp_path / f"model-{i}").score(normal).score, want)


@pytest.mark.e2e
def test_columns_are_taken_for_what_is_said(normal: pd.DataFrame, tmp_path: Path) -> None:
    """As settings of the call, or of its configuration."""
    numbers = [str(name) for name, column in normal.items() if column.dtype.kind == "f"][:2]
    settings: dict[str, Any] = {"categorical": numbers[:1], "ignore": numbers[1:]}
    said: list[dict[str, Any]] = [settings, {"config": settings}]
    for i, arguments in enumerate(said):
        schema = kilter.train(normal, f"said-{i}", tmp_path, **BRIEF, **arguments).schema
        kinds = {column.name: column.kind for column in schema.columns}
        assert kinds[numbers[0]] == "categorical"
        assert numbers[1] not in kinds


def test_a_record_comes_in_every_form(trained: kilter.Detector, normal: pd.DataFrame) -> None:
    """A dict with NaN, a pandas row, a named tuple, a list of these."""
    row = normal.iloc[3].copy()
    row["temperature"] = float("nan")
    as_dict = row.to_dict()
    forms = [as_dict, row, {**as_dict, "temperature": None}, [as_dict], [row], row.to_frame().T]
    forms.append(next(row.to_frame().T.itertuples(index=False)))
    scores = [trained.score(form).score.tolist() for form in forms]
    assert scores == [scores[0]] * len(forms)
    assert len(scores[0]) == 1


@pytest.mark.e2e
def test_settings_go_before_a_configuration(normal: pd.DataFrame, tmp_path: Path) -> None:
    """Which is a mapping or a file."""
    (tmp_path / "settings.toml").write_text("target_fpr = 0.2\nbaselines = false\n[fit]\nsteps = 10\n")
    for config in (tmp_path / "settings.toml", {"target_fpr": 0.2, "baselines": False, "fit": {"steps": 10}}):
        detector = kilter.train(normal, "plant", tmp_path / "models", config=config, target_fpr=0.25)
        assert detector.calibration.target_fpr == 0.25
    assert detector.version == 2


@pytest.mark.e2e
@pytest.mark.parametrize(("label", "other"), [(0, 1), (True, False)])
def test_the_label_of_normal_rows_is_any_value(label: Any, other: Any, normal: pd.DataFrame, tmp_path: Path) -> None:
    """As it stands in the frame."""
    rows = normal.assign(label=[other] * 10 + [label] * (len(normal) - 10))
    detector = kilter.train(rows, "plant", tmp_path, label="label", normal=label, **BRIEF)
    assert detector.manifest.training.evaluation is not None
    assert detector.manifest.training.evaluation.labelled is not None


def test_what_was_decided_is_said(normal: pd.DataFrame, tmp_path: Path) -> None:
    """To whom wants to hear it."""
    lines: list[str] = []
    kilter.train(normal, "plant", tmp_path, say=lines.append, exclude=["line"], **BRIEF)
    assert any("temperature: numeric" in line for line in lines)


@pytest.mark.parametrize(
    ("data", "settings", "error", "message"),
    [
        (3, {}, TypeError, "train on a path, a list of paths, or a frame, not on int"),
        ([], {}, TypeError, "not on list"),
        ("nowhere.csv", {}, kilter.KilterError, "nowhere.csv"),
        ("nowhere.csv", {"stepz": 3}, TypeError, "there is no setting 'stepz': there are target_fpr, "),
        ("nowhere.csv", {"target_fpr": 0.9}, kilter.KilterError, "target_fpr must be from 1e-05 to 0.5, not 0.9"),
        ("nowhere.csv", {"fit": {"step": 3}}, kilter.KilterError, r"no setting fit\.step; there are model, network, "),
        ("nowhere.csv", {"config": "nowhere.toml"}, kilter.KilterError, "there is no file nowhere.toml"),
    ],
)
def test_what_cannot_be_trained_is_refused(
    data: Any, settings: dict[str, Any], error: type[Exception], message: str, tmp_path: Path
) -> None:
    """With what would do instead."""
    with pytest.raises(error, match=message):
        kilter.train(data, "plant", tmp_path, **settings)
    assert not list(tmp_path.iterdir())


@pytest.mark.e2e
def test_a_file_is_read_as_it_is_stated_to_be(normal: pd.DataFrame, tmp_path: Path) -> None:
    """By its delimiter, its encoding and whether it has a header."""
    path = tmp_path / "rows.csv"
    normal.rename(columns={"line": "línea"}).to_csv(path, sep="=", index=False, header=True, encoding="cp1252")
    lines: list[str] = []
    stated: dict[str, Any] = {"delimiter": "=", "encoding": "windows-1252", "header": True}
    model = kilter.train(path, "stated", tmp_path, say=lines.append, **stated, **BRIEF)
    assert "línea" in model.schema.names
    assert not any("is read" in line for line in lines)
    with pytest.raises(kilter.KilterError, match="there is no encoding 'klingon'"):
        kilter.train(path, "stated", tmp_path, encoding="klingon", **BRIEF)


def test_a_table_is_scanned_for_its_own_strange_rows(normal: pd.DataFrame, tmp_path: Path) -> None:
    """From a frame of pandas, one of polars, and a file, with the same verdicts in the order of the rows."""
    frame = normal.drop(columns="line").assign(odd=[int(row in (7, 50)) for row in range(len(normal))])
    frame.loc[[7, 50], "temperature"] = 5000.0
    frame.to_csv(tmp_path / "rows.csv", index=False)
    said: list[str] = []
    options: dict[str, Any] = {**BRIEF, "label": "odd", "normal": 0, "say": said.append}
    verdicts = kilter.scan(frame, reasons=2, **options)
    assert set(np.argsort(verdicts.score)[-2:].tolist()) == {7, 50}
    assert verdicts.reasons is not None
    assert {verdicts.reasons[row][0].feature for row in (7, 50)} == {"temperature"}  # type: ignore[union-attr]
    assert "By 'odd', which no model saw: ROC AUC 1.0000" in said[-1]
    assert verdicts.to_polars().columns == ["score", "p_value", "anomaly", "reasons", "error"]
    for data in (pl.from_pandas(frame), tmp_path / "rows.csv"):
        np.testing.assert_allclose(kilter.scan(data, **options).p_value, verdicts.p_value)


@pytest.mark.e2e
def test_a_scan_keeps_a_model_on_request(normal: pd.DataFrame, tmp_path: Path) -> None:
    """And nothing without."""
    kilter.scan(normal, models=tmp_path, **BRIEF)
    assert list(tmp_path.iterdir()) == []
    kilter.scan(normal, keep="clean", models=tmp_path, **BRIEF)
    assert kilter.load(tmp_path / "clean").version == 1
    with pytest.raises(kilter.KilterError, match="a model's name is"):
        kilter.scan(normal, keep="No Name", **BRIEF)
