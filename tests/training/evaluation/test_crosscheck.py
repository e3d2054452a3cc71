import dataclasses
from collections.abc import Callable

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.service.detector.calibration import DIGITS, Calibration
from kilter.service.detector.columns import CategoricalColumn
from kilter.service.detector.inputs import Table, take
from kilter.service.detector.thresholds import Groups, Thresholds
from kilter.training.config import FitConfig, TrainConfig
from kilter.training.data.source import TrainingData, TrainingSource
from kilter.training.data.tables import prepare
from kilter.training.evaluation.crosscheck import (
    Stratum,
    cross_check,
    flags_to_expect,
    fold_flags,
    folds_of,
    scores_by_fold,
    strata_of,
)
from kilter.training.evaluation.thresholds import thresholds_of_fit
from kilter.training.fitting.model import fit_model

Floats = npt.NDArray[np.float64]
BRIEF = TrainConfig(target_fpr=0.05, baselines=False, fit=FitConfig(steps=20, hidden=16))


def same(scores: Floats) -> Callable[[int], Floats]:
    return lambda _: scores


def every(rows: int, rate: float) -> list[Stratum]:
    return [Stratum(np.arange(rows), np.arange(rows), rate)]


@settings(max_examples=50)
@given(st.lists(st.integers(0, 12), min_size=1, max_size=60), st.booleans(), st.integers(0, 5))
def test_what_belongs_together_is_in_one_fold(labels: list[int], by_time: bool, seed: int) -> None:
    """Copies or the records of a customer are never on both sides; every fold has rows."""
    units = np.array(labels)
    times = np.random.default_rng(seed).permutation(len(units)).astype("datetime64[us]") if by_time else None
    folds = folds_of(units, times, seed)
    distinct = len(np.unique(units))
    if distinct < 2:
        assert folds is None
        return
    assert folds is not None
    assert set(folds.tolist()) == set(range(min(5, distinct)))
    assert all(len(np.unique(folds[units == unit])) == 1 for unit in np.unique(units))


def test_folds_are_blocks_in_time() -> None:
    """Whatever order the rows stand in, the earliest fifth is one fold."""
    order = np.random.default_rng(0).permutation(50)
    folds = folds_of(np.arange(50), order.astype("datetime64[us]"), 0)
    assert folds is not None
    assert folds[np.argsort(order)].tolist() == np.repeat(np.arange(5), 10).tolist()


@settings(max_examples=30)
@given(st.lists(st.integers(0, 30), min_size=40, max_size=120), st.sampled_from([0.05, 0.1, 0.2]))
def test_a_fold_is_judged_as_a_calibration_on_the_others_judges(values: list[int], rate: float) -> None:
    """By the same flags, at the rate that so many rows can express that is closest."""
    scores = np.array(values, np.float64)
    folds = folds_of(np.arange(len(scores)), None, 0)
    assert folds is not None
    flags = fold_flags(same(scores), folds, every(len(scores), rate))
    for fold in range(5):
        others = scores[folds != fold]
        own = max(1, round(rate * (len(others) + 1))) / (len(others) + 1)
        wanted = Calibration.of(others, own, DIGITS).anomalies(scores[folds == fold])
        assert flags[folds == fold].tolist() == wanted.tolist()


def test_the_number_of_flags_to_expect_is_kept() -> None:
    """Over calibration sets of equal rows at least 95 % of the counts are inside, and their mean is the rate."""
    rng = np.random.default_rng(0)
    inside, share = 0, []
    for seed in range(100):
        scores, folds = rng.normal(size=99), folds_of(np.arange(99), None, seed)
        assert folds is not None
        low, high = flags_to_expect(scores, folds, np.arange(99), every(99, 0.05), seed)
        count = int(fold_flags(same(scores), folds, every(99, 0.05)).sum())
        inside += low <= count <= high
        share.append(count / 99)
    assert inside >= 95 - 3 * np.sqrt(100 * 0.95 * 0.05)
    assert np.mean(share) == pytest.approx(0.05, abs=0.006)


def test_blocks_that_differ_break_the_promise() -> None:
    """A source that moves while it is calibrated shows up as more flags than would be expected."""
    rng = np.random.default_rng(1)
    scores = rng.normal(size=500) + np.repeat([0, 0, 0, 0, 2.0], 100)
    folds = np.repeat(np.arange(5), 100)
    low, high = flags_to_expect(scores, folds, np.arange(500), every(500, 0.05), 0)
    assert low <= 25 <= high
    assert int(fold_flags(same(scores), folds, every(500, 0.05)).sum()) > high


def test_groups_with_thresholds_of_their_own_are_judged_by_these() -> None:
    """Their rows by their own kind in the other folds; all others by all."""
    column = CategoricalColumn("site", (), ())
    sites = np.array(["a"] * 60 + ["b"] * 40, object)
    own = Calibration.of(np.arange(60.0), 0.05, DIGITS)
    thresholds = Thresholds(Calibration.of(np.arange(99.0), 0.05, DIGITS), Groups(column, {"a": own}))
    found = {len(judged): len(pool) for judged, pool, _ in strata_of(Table({"site": sites}, 100, []), thresholds)}
    assert found == {60: 60, 40: 100}


def data(rows: int, *, timed: bool = False) -> TrainingData:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 4))
    columns: dict[str, object] = {f"x{i}": x[:, i] + x[:, 0] for i in range(4)}
    columns["kind"] = rng.choice(["a", "b", "c"], rows)
    if timed:
        columns["at"] = np.datetime64("2026-01-01", "us") + np.arange(rows) * np.timedelta64(5 * 3_600_000_000, "us")
    return prepare(pl.DataFrame(columns), TrainingSource())


@pytest.mark.e2e
@pytest.mark.parametrize("timed", [False, True])
def test_a_fit_is_cross_checked(timed: bool) -> None:
    """Every calibration row gets a flag, about as many as the rate says."""
    given_rows = data(400, timed=timed)
    fitted = fit_model(given_rows, BRIEF)
    assert fitted.split.how == ("time" if timed else "random")
    found = cross_check(given_rows, fitted, thresholds_of_fit(given_rows, BRIEF, fitted).thresholds, BRIEF)
    assert found is not None
    assert found.folds == 5
    assert found.flags.shape == fitted.split.calibration.shape
    low, high = found.expected
    assert low <= 0.05 * len(found.flags) <= high


@pytest.mark.e2e
def test_rows_of_one_group_cannot_be_cross_checked() -> None:
    """There is nothing else to judge them by; two groups suffice."""
    given_rows = data(400)
    fitted = fit_model(given_rows, BRIEF)
    thresholds = thresholds_of_fit(given_rows, BRIEF, fitted).thresholds
    assert cross_check(given_rows, fitted, thresholds, BRIEF, np.zeros(400, np.int64)) is None
    found = cross_check(given_rows, fitted, thresholds, BRIEF, np.arange(400) % 2)
    assert found is not None
    assert found.folds == 2
    alone = cross_check(given_rows, fitted, thresholds, BRIEF, np.full(400, -1))
    assert alone is not None
    assert alone.folds == 5


def test_the_memory_holds_no_row_of_the_fold_that_it_judges() -> None:
    """A row with a twin in its own fold scores as if it had none; with one in another fold, lower."""
    given_rows = data(400)
    config = msgspec.structs.replace(BRIEF, split="random")
    fitted = fit_model(given_rows, config)
    assert fitted.holds_calibration
    first, second = fitted.split.calibration[:2]
    twin = np.arange(400)
    twin[second] = first
    given_rows = dataclasses.replace(given_rows, table=take(given_rows.table, twin))
    folds = np.arange(len(fitted.split.calibration)) % 5
    apart = scores_by_fold(given_rows, fitted, config, folds)(0)[0]
    folds[1] = 0
    together = scores_by_fold(given_rows, fitted, config, folds)(0)[0]
    assert apart < together
