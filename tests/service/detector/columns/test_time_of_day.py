"""Tests of `columns.time_of_day`: times of day are cyclic, and read from every spelling."""

from datetime import time
from itertools import pairwise
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.columns import ClockColumn
from kilter.service.detector.columns.cells import TrainingCells
from kilter.service.detector.columns.durations import DAY
from kilter.service.detector.errors import Problem
from kilter.service.detector.inputs import read_array

SECONDS = st.floats(0, DAY, exclude_max=True)


@given(SECONDS, SECONDS, st.lists(SECONDS, min_size=2))
def test_only_the_way_around_the_clock_counts(first: float, second: float, fitted: list[float]) -> None:
    """The distance of two times does not depend on where midnight is."""
    column = ClockColumn("at").fit(np.array(fitted))
    turned = (np.array([first, second]) + 7 * 3600) % DAY
    distances = [np.linalg.norm(np.diff(column.encode(pair), axis=0)) for pair in (np.array([first, second]), turned)]
    assert distances[0] == pytest.approx(distances[1], abs=1e-6 / column.scale)


@given(st.times(), st.lists(SECONDS, min_size=2))
def test_the_expected_time_is_the_one_encoded(at: time, fitted: list[float]) -> None:
    """To the minute."""
    column = ClockColumn("at").fit(np.array(fitted))
    whole = at.replace(second=0, microsecond=0)
    assert column.expected(column.encode(np.array([column.read(whole)]))[0]) == f"{whole:%H:%M}"


@given(st.times())
def test_every_door_reads_one_time_of_day(at: time) -> None:
    """A text, a time of Python, seconds, and typed columns of polars and NumPy."""
    column, seconds = ClockColumn("at"), ClockColumn("at").read(at)
    assert column.read(at.isoformat()) == pytest.approx(seconds)
    assert column.read(seconds) == column.read(np.float64(seconds)) == seconds
    typed = pl.Series("at", [at, None])
    assert column.holds(typed.dtype)
    np.testing.assert_allclose(column.from_series(typed), [seconds, np.nan])
    problems: list[Problem] = []
    np.testing.assert_allclose(read_array(column, typed.to_numpy(), problems), [seconds, np.nan])
    np.testing.assert_allclose(read_array(column, np.array([seconds, np.nan]), problems), [seconds, np.nan])
    assert not problems
    stored = column.to_series(np.array([seconds, np.nan]))
    assert (stored.dtype, stored.null_count()) == (pl.Time(), 1)
    np.testing.assert_allclose(column.from_series(stored), [seconds, np.nan], atol=1e-6)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("25:00", "a time of day like 14:05 is expected, not the text '25:00'; leave the cell empty if it is unknown"),
        ("", "a time of day like 14:05 is expected"),
        ("1" * 200_000, "a time of day like 14:05"),
        (True, "a time of day like 14:05 is expected, not the boolean true"),
        ([1], "a time of day like 14:05 is expected, not a list"),
        (-1, "a time of day is from 0 to below 86400 seconds from midnight, not -1"),
        (86_400, "not 86400; use null for an unknown one"),
    ],
)
def test_what_is_no_time_of_day_is_refused(value: Any, message: str) -> None:
    """With the remedy."""
    with pytest.raises(ValueError, match=message):
        ClockColumn("at").read(value)


def test_numbers_beyond_a_day_are_problems_of_their_rows() -> None:
    """In typed columns, too."""
    column = ClockColumn("at")
    assert [problem.row for problem in column.problems(np.array([0.0, -1.0, np.nan, DAY]))] == [1, 3]


def test_it_says_what_it_is() -> None:
    """In words for people, a schema for machines, and statistics of the fitting rows."""
    column = ClockColumn("at").fit(np.array([3600.0, 7200.0, np.nan, 7261.0]))
    assert column.missing == 1
    assert column.describe() == "times of day from 01:00 to 02:01:01"
    assert column.json_schema()["type"] == ["string", "number", "null"]
    assert (column.shown(3600.0), column.shown(np.nan)) == ("01:00", None)
    assert ClockColumn("at").fit(np.array([np.nan])).missing == 1
    rng = np.random.default_rng(0)
    usual = [column.read(column.usual(rng)) for _ in range(50)]
    assert all(0 <= at < DAY for at in usual)
    odd = {column.odd(rng) for _ in range(50)} - {None}
    assert [abs(column.read(at) - 5000) > 4 * 3600 for at in odd] == [True]


def test_times_of_day_are_decided_with_what_cannot_be_read() -> None:
    """By texts and by types; numbers and dates are none."""
    texts = [f"{at:02}:{at:02}" for at in range(24)] * 10
    decision = ClockColumn.infer(TrainingCells("at", pl.Series([*texts, "late"]), (), "."))
    assert decision is not None
    assert decision.column == ClockColumn("at")
    assert decision.why == (
        "240 of 241 values are times of day, 00:00 to 23:23; 1 row with anything else ('late') cannot be read; "
        "they may be durations, too: --numeric reads them so"
    )
    typed = ClockColumn.infer(TrainingCells("at", pl.Series([time(3), None, time(4)]), (), "."))
    assert typed is not None
    assert typed.why == "all 2 values are times of day, 03:00 to 04:00, 1 missing"
    for others in (["12.5", "3"], [1.5, 2.5], ["red", "blue"]):
        assert ClockColumn.infer(TrainingCells("at", pl.Series(others), (), ".")) is None


@given(SECONDS, SECONDS)
def test_the_way_from_one_time_to_another_is_the_shorter_one(first: float, last: float) -> None:
    """By whole minutes, each farther from the first, round midnight if need be."""
    way = ClockColumn("at").way(first, last)
    assert first not in way
    assert all(0 <= seconds < DAY and seconds % 60 == 0 for seconds in way)
    distances = [min((seconds - first) % DAY, (first - seconds) % DAY) for seconds in way]
    assert max(distances, default=0) <= min((last - first) % DAY, (first - last) % DAY) + 30
    assert all(later >= sooner - 60 for sooner, later in pairwise(distances))
    assert ClockColumn("at").way(np.nan, last) == []
