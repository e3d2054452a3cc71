"""Tests of `training.fitting.crossfit`: folds, and models that saw nothing of the rows that they judge."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import KilterError
from kilter.service.detector.runtime import OUTPUTS
from kilter.training.config import FitConfig, TrainConfig
from kilter.training.data.source import TrainingData, TrainingSource
from kilter.training.data.tables import prepare
from kilter.training.fitting.crossfit import FEWEST_ROWS, PARTS, OutOfFit, cross_fit, divide_rows, steady_schema
from kilter.training.fitting.split import SMALLEST_TABLE, fit_schema

BRIEF = TrainConfig(score="core", device="cpu", fit=FitConfig(steps=20, hidden=8, members=1))


def table(rows: int = 60, seed: int = 0) -> pl.DataFrame:
    """Rows of two numbers and a level."""
    rng = np.random.default_rng(seed)
    a = rng.normal(size=rows)
    kind = np.array(["x", "y", "z"])[rng.integers(3, size=rows)]
    return pl.DataFrame({"a": a, "b": 2 * a + rng.normal(size=rows), "kind": kind})


def fitted(frame: pl.DataFrame, data: TrainingData | None = None) -> OutOfFit:
    """The models of a frame's folds, the same ones for as many rows."""
    data = data or prepare(frame, TrainingSource(frame=frame))
    rows = np.arange(frame.height)
    return cross_fit(data.table, data.draft, divide_rows(rows, rows, 0), BRIEF, lambda *_: lambda *_: None)


@given(st.lists(st.integers(0, 60), min_size=FEWEST_ROWS, max_size=200), st.integers(0, 9))
def test_every_row_is_in_one_fold_with_its_copies(groups: list[int], seed: int) -> None:
    """And all folds have about as many groups; too few of these are refused."""
    codes = np.array(groups)
    rows = 3 * np.arange(len(codes))
    distinct = len(set(groups))
    if distinct < FEWEST_ROWS:
        with pytest.raises(KilterError, match=f"{distinct} distinct rows among .* at least {FEWEST_ROWS} are needed"):
            divide_rows(rows, codes, seed)
        return
    folds = divide_rows(rows, codes, seed)
    assert sorted(np.concatenate(folds).tolist()) == rows.tolist()
    parts = [set(codes[fold // 3].tolist()) for fold in folds]
    assert sum(map(len, parts)) == distinct
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_as_few_rows_as_a_model_can_be_fitted_to() -> None:
    """Of so few rows, all parts but the largest are still enough for a model, and of one fewer they are not."""
    for rows, enough in ((FEWEST_ROWS, True), (FEWEST_ROWS - 1, False)):
        assert (rows * (PARTS - 1) / PARTS >= SMALLEST_TABLE) is enough
    with pytest.raises(KilterError, match=f"there are 37 rows to scan, and at least {FEWEST_ROWS} are needed"):
        divide_rows(np.arange(37), np.arange(37), 0)


def test_a_row_changes_nothing_in_the_model_that_judges_it() -> None:
    """Whatever a row holds, the scores of all other rows of its fold are the same to the last digit."""
    frame = table()
    rows = np.arange(60)
    first = divide_rows(rows, rows, 0)[0]
    odd = frame.with_columns(a=pl.when(pl.int_range(60) == first[0]).then(1e6).otherwise(pl.col("a")))
    before = prepare(frame, TrainingSource(frame=frame))
    after = prepare(odd, TrainingSource(frame=odd))
    usual, changed = fitted(frame, before).scores, fitted(odd, after).scores
    np.testing.assert_array_equal(usual[first[1:]], changed[first[1:]])
    assert changed[first[0]] > usual[first[0]]
    assert not np.isnan(usual).any()


def test_models_explain_what_they_judge() -> None:
    """A program that was not exported has every output of one that was."""
    frame = table()
    data = prepare(frame, TrainingSource(frame=frame))
    for rows, scorer in fitted(frame, data).models:
        outputs = scorer.outputs(frame[rows], OUTPUTS)
        assert [len(values) for values in outputs] == [len(rows)] * len(OUTPUTS)
        reasons = scorer.score(frame[rows], reasons=2).reasons
        assert reasons is not None
        assert all(len(those) <= 2 for those in reasons)


def test_progress_follows_every_fold() -> None:
    """By its number and the number of all."""
    frame = table()
    data = prepare(frame, TrainingSource(frame=frame))
    rows = np.arange(60)
    started: list[tuple[int, int]] = []
    cross_fit(
        data.table,
        data.draft,
        divide_rows(rows, rows, 0),
        BRIEF,
        lambda *fold: started.append(fold) or (lambda *_: None),  # type: ignore[func-returns-value]
    )
    assert started == [(i, PARTS) for i in range(1, PARTS + 1)]


def test_gross_errors_do_not_hide_each_other() -> None:
    """Of some in the same column the standard deviation knows nothing: it is that of the other rows, about 1."""
    frame = table(300).with_columns(a=pl.when(pl.int_range(300) % 40 == 0).then(1e3).otherwise(pl.col("a")))
    data = prepare(frame, TrainingSource(frame=frame))
    rows = np.arange(300)
    plain, steady = fit_schema(data.draft, data.table, rows), steady_schema(data.draft, data.table, rows, 0)
    scales = [column.affine[1] for schema in (plain, steady) for column in schema.columns[:1] if column.affine]
    assert scales[0] > 100
    assert scales[1] == pytest.approx(1, abs=0.4)
    assert steady.columns[2] == plain.columns[2]


def test_a_column_that_hardly_varies_but_for_a_few_rows_stays_as_it_is() -> None:
    """In units of the others those few would be beyond all bounds."""
    rng = np.random.default_rng(0)
    frame = table(300).with_columns(a=pl.Series(np.where(np.arange(300) % 40 == 0, rng.normal(size=300), 0.0)))
    data = prepare(frame, TrainingSource(frame=frame))
    rows = np.arange(300)
    assert (
        steady_schema(data.draft, data.table, rows, 0).columns[0] == fit_schema(data.draft, data.table, rows).columns[0]
    )
