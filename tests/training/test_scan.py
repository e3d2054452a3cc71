"""Tests of `training.scan`: the strange rows of a table itself, and a model without them."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import KilterError, load
from kilter.training.config import FitConfig, TrainConfig
from kilter.training.data.source import TrainingSource
from kilter.training.data.tables import prepare
from kilter.training.fitting.crossfit import FEWEST_ROWS
from kilter.training.scan import STRANGEST, ScanResult, copies_of_any_kind, keep_model, scan_source
from tests.support.pictures import encoded, scene

BRIEF = TrainConfig(device="cpu", baselines=False, fit=FitConfig(steps=60, hidden=16))
ODD = [3, 77, 200]
ROWS = 240


def table(seed: int = 0) -> pl.DataFrame:
    """Normal rows with three that have a field far out: `a`, `b` and again `a`, and labels."""
    rng = np.random.default_rng(seed)
    a, c = rng.normal(size=(2, ROWS))
    b = 2 * a + 0.3 * rng.normal(size=ROWS)
    a[ODD[0]], b[ODD[1]], a[ODD[2]] = 400.0, -500.0, -300.0
    kind = np.array(["x", "y"])[(rng.random(ROWS) < 0.3).astype(int)]
    return pl.DataFrame({"a": a, "b": b, "c": c, "kind": kind, "fraud": np.isin(np.arange(ROWS), ODD).astype(int)})


def scanned(frame: pl.DataFrame, **options: Any) -> ScanResult:
    """A frame whose labels are known."""
    return scan_source(TrainingSource(frame=frame, label="fraud", normal="0"), BRIEF, **options)


@pytest.fixture(scope="module")
def result() -> ScanResult:
    """The scan of the table."""
    return scanned(table())


def test_the_strange_rows_come_first_are_flagged_and_explained(result: ScanResult) -> None:
    """No labels were needed: they agree afterwards."""
    verdicts = result.verdicts
    assert set(result.strangest[:3].tolist()) == set(ODD)
    assert np.flatnonzero(verdicts.anomaly).tolist() == ODD
    assert (verdicts.p_value[ODD] < 1e-3).all()
    assert verdicts.reasons is not None
    assert [verdicts.reasons[row][0].feature for row in ODD] == ["a", "b", "a"]  # type: ignore[union-attr]
    assert result.blamed == [("a", 2), ("b", 1)]
    assert result.agreement is not None
    assert result.agreement[:1] == (1.0,)
    assert result.agreement[2:] == (3, 3, 3)


def test_reasons_are_given_where_they_are_wanted(result: ScanResult) -> None:
    """By default to what is flagged and to the strangest; to all, or to none, on request."""
    assert result.verdicts.reasons is not None
    explained = [row for row, reasons in enumerate(result.verdicts.reasons) if reasons]
    assert sorted(explained) == sorted(result.strangest[:STRANGEST].tolist())
    nothing = scanned(table(), explained="none")
    assert nothing.verdicts.reasons is None
    assert nothing.blamed == []
    np.testing.assert_array_equal(nothing.verdicts.score, result.verdicts.score)


def test_labels_are_seen_by_no_model(result: ScanResult) -> None:
    """With others the verdicts are the same, and without them, where the column is left out."""
    frame = table()
    other = frame.with_columns(fraud=1 - pl.col("fraud"))
    without = scan_source(TrainingSource(frame=frame.drop("fraud")), BRIEF, explained="none")
    for found in (scanned(other, explained="none"), without):
        np.testing.assert_array_equal(found.verdicts.p_value, result.verdicts.p_value)
    assert without.agreement is None
    assert scanned(frame.with_columns(fraud=pl.lit(0)), explained="none").agreement is None


def test_copies_are_judged_by_a_model_that_saw_none_of_them() -> None:
    """A strange row that stands there five times is as strange as when it stood there once, and all are flagged."""
    frame = table()
    again = pl.concat([frame, frame[[ODD[0]] * 4]])  # rows as few as these may recur by nature
    found = scanned(again, explained="none")
    rows = [ODD[0], *range(ROWS, ROWS + 4)]
    assert found.copies == 4
    assert found.verdicts.anomaly[rows].all()
    assert len(set(found.verdicts.score[rows].tolist())) == 1


def test_rows_that_cannot_be_read_have_a_problem_and_no_verdict() -> None:
    """The others are judged; a row without a label is judged, too, and counts in no figure."""
    frame = table().with_columns(pl.col("a").cast(pl.String), pl.col("fraud").cast(pl.String))
    frame[5, "a"], frame[6, "fraud"] = "many", None
    found = scanned(frame, explained="none")
    assert [problem.row for problem in found.verdicts.problems] == [5]
    assert np.flatnonzero(np.isnan(found.verdicts.score)).tolist() == [5]
    assert found.discoveries.judged == ROWS - 1
    assert not np.isnan(found.verdicts.score[6])
    assert len(found.strangest) == ROWS - 1


def test_the_same_seed_gives_the_same_verdicts(result: ScanResult) -> None:
    """And another one other folds."""
    np.testing.assert_array_equal(scanned(table(), explained="none").verdicts.score, result.verdicts.score)
    source = TrainingSource(frame=table(), label="fraud", normal="0")
    other = scan_source(source, msgspec.structs.replace(BRIEF, seed=1), explained="none")
    assert (other.verdicts.score != result.verdicts.score).any()
    assert np.flatnonzero(other.verdicts.anomaly).tolist() == ODD


def test_what_cannot_be_scanned_is_refused(tmp_path: Path) -> None:
    """Each with what to do about it."""
    with pytest.raises(KilterError, match=f"30 rows to scan, and at least {FEWEST_ROWS} are needed"):
        scanned(table()[:30])
    with pytest.raises(KilterError, match=r"between 0 and 1, like 0\.1; not 1\.5"):
        scanned(table(), fdr=1.5)
    (tmp_path / "scene.png").write_bytes(encoded(scene()))
    with pytest.raises(KilterError, match="holds pictures, and a scan judges the rows of tables"):
        scan_source(TrainingSource((tmp_path,)), BRIEF)


@pytest.mark.e2e
def test_a_model_is_kept_without_the_flagged_rows(result: ScanResult, tmp_path: Path) -> None:
    """It serves; its card says how many rows were left out and why, and they took no part in the threshold."""
    said: list[str] = []
    detector = keep_model(result, "clean", tmp_path, BRIEF, say=said.append)
    assert load(tmp_path / "clean").version == 1
    assert detector.manifest.training.rows == ROWS - 3
    assert said[0].startswith("3 of 240 rows were left out of fitting and calibration")
    assert said[0] in (tmp_path / "clean" / "1" / "MODEL_CARD.md").read_text()
    assert detector.score(table()[ODD]).anomaly.all()
    assert "fraud" not in detector.schema.names


@pytest.mark.e2e
def test_a_model_is_kept_of_all_rows_where_none_is_flagged(tmp_path: Path) -> None:
    """And that is said."""
    said: list[str] = []
    plain = scanned(table().filter(pl.col("fraud") == 0), explained="none")
    assert not plain.verdicts.anomaly.any()
    detector = keep_model(plain, "whole", tmp_path, BRIEF, say=said.append)
    assert detector.manifest.training.rows == ROWS - 3
    assert said == ["A scan of the 237 rows flagged none, so that all were fitted or calibrated on."]


@given(st.integers(0, 2**32 - 1), st.lists(st.integers(0, 29), max_size=20))
@pytest.mark.e2e
def test_rows_that_are_the_same_are_one_group(seed: int, again: list[int]) -> None:
    """Wherever they stand and however often, and those that differ are not."""
    rng = np.random.default_rng(seed)
    order = rng.permutation([*range(30), *again])
    frame = pl.DataFrame({"a": rng.normal(size=30), "b": rng.normal(size=30), "kind": ["x", "y"] * 15})[order]
    data = prepare(frame, TrainingSource(frame=frame))
    groups = copies_of_any_kind(data, np.arange(len(order)))
    np.testing.assert_array_equal(groups[:, None] == groups, order[:, None] == order)
