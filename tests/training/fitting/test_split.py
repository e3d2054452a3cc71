"""Tests of `fitting.split`: every normal row serves one purpose, and no row two."""

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kilter.service.detector import Calibration, KilterError, Schema
from kilter.service.detector.arrays import Positions, Times
from kilter.service.detector.calibration import fewest
from kilter.service.detector.columns import CategoricalColumn, NumericColumn, TimestampColumn
from kilter.service.detector.inputs import Table
from kilter.training.fitting.split import (
    HOLD_OUT_FROM,
    HOLD_OUT_MOST,
    LARGEST,
    RATES,
    choose_size,
    fit_aside,
    fit_schema,
    largest_size,
    one_of_each,
    order_note,
    records_per_day,
    rows_needed,
    split_rows,
    supported_rate,
    time_of,
)

ROWS = st.integers(30, 200_000)


def is_whole(size: int, rate: float) -> bool:
    return abs(rate * (size + 1) - round(rate * (size + 1))) < 1e-9


@given(ROWS, st.sampled_from([*RATES, 0.2, 0.25, 0.5, 0.005, 0.04]))
def test_the_rate_comes_out_even(rows: int, rate: float) -> None:
    """For usual rates rate x (n + 1) is whole, n about a fifth of the rows; more than a third only if it has to be."""
    if rows < rows_needed(rate):
        return
    size = choose_size(rows, rate)
    step = round(1 / rate)
    assert is_whole(size, rate)
    assert fewest(rate) <= size <= max(min(rows // 3, LARGEST), fewest(rate))
    assert size <= rows // 2
    assert abs(size - min(rows / 5, LARGEST)) <= max(step, fewest(rate))


@given(ROWS, st.sampled_from([0.03, 0.007, 0.0123, 1 / 3, 0.0999]))
def test_an_odd_rate_comes_out_as_close_as_it_can(rows: int, rate: float) -> None:
    """The rate kept is never above the target, and above half of it."""
    if rows < rows_needed(rate):
        return
    size = choose_size(rows, rate)
    calibration = Calibration.of(np.arange(float(size)), rate, 6)
    assert rate / 2 < calibration.expected_fpr <= rate + 1e-9
    assert fewest(rate) <= size <= max(rows // 3, fewest(rate))
    assert size <= rows // 2


ODD_RATES = st.sampled_from(
    [Fraction(3, 100), Fraction(7, 1000), Fraction(1, 3), Fraction(999, 10_000), Fraction(2, 7)]
)


def shortfall(size: int, rate: Fraction) -> Fraction:
    """By how much k / (n + 1) falls short of a rate, for the largest k that does not exceed it."""
    return rate - Fraction(int(rate * (size + 1)), size + 1)


@given(st.integers(30, 3_000), ODD_RATES)
def test_no_other_size_comes_closer_to_the_rate(rows: int, rate: Fraction) -> None:
    """Of those from half of the goal, a fifth of the rows, up to a third; among equals it is nearest to the goal."""
    least = fewest(float(rate))
    if rows < rows_needed(float(rate)):
        return
    high = max(rows // 3, least)
    goal = min(max(round(rows / 5), least), high)
    sizes = range(max(least, goal // 2), high + 1)
    best = min(sizes, key=lambda size: (shortfall(size, rate), abs(size - goal), size))
    assert choose_size(rows, float(rate)) == best


@given(st.integers(1, 3_000), ODD_RATES)
def test_no_other_size_of_a_recalibration_comes_closer_to_the_rate(rows: int, rate: Fraction) -> None:
    """Of those from half of the rows up; among equals it is the largest."""
    least = fewest(float(rate))
    if rows < least:
        return
    sizes = range(max(least, rows // 2), rows + 1)
    assert largest_size(rows, float(rate)) == min(sizes, key=lambda size: (shortfall(size, rate), -size))


@pytest.mark.parametrize(
    ("rows", "rate"), [(30, 0.1), (56, 0.1), (57, 0.05), (146, 0.05), (147, 0.02), (296, 0.02), (297, 0.01)]
)
def test_the_default_rate_changes_at_three_times_the_fewest_rows_that_it_needs(rows: int, rate: float) -> None:
    """At 57, 147 and 297 rows."""
    assert supported_rate(rows) == rate


@pytest.mark.parametrize(
    ("rows", "rate", "size"),
    [
        (30, 0.1, 9),
        (38, 0.05, 19),
        (198, 0.01, 99),
        (57, 0.05, 19),
        (297, 0.01, 99),
        (1_000, 0.01, 199),
        (13_449, 0.01, 2_699),
        (10**6, 0.01, 9_999),
    ],
)
def test_sizes_of_some_tables(rows: int, rate: float, size: int) -> None:
    """The smallest table for each rate, usual ones, and the cap."""
    assert choose_size(rows, rate) == size


@given(ROWS)
def test_the_default_rate_is_the_smallest_that_the_rows_support(rows: int) -> None:
    """Any smaller one of the four would take more than a third of the rows."""
    rate = supported_rate(rows)
    assert fewest(rate) <= choose_size(rows, rate) <= rows // 3
    for smaller in RATES[: RATES.index(rate)]:
        assert fewest(smaller) > rows // 3


@given(st.floats(1e-4, 0.5))
def test_rows_needed_are_just_enough(rate: float) -> None:
    """With one row less the error names the number that is needed."""
    enough = rows_needed(rate)
    assert choose_size(enough, rate) >= fewest(rate)
    with pytest.raises(KilterError, match=f"at least {enough} normal rows in all"):
        choose_size(enough - 1, rate)


def test_too_few_rows_for_any_rate_are_refused() -> None:
    """The number needed is named."""
    with pytest.raises(KilterError, match="there are 29 normal rows to train on, and at least 30 are needed"):
        split_rows(np.arange(29), None, 0, None)
    assert len(split_rows(np.arange(30), None, 0, None).fit)


@pytest.mark.parametrize("rate", [0.0, -0.1, 0.51, 1.0, float("nan")])
def test_a_rate_that_makes_no_sense_is_refused(rate: float) -> None:
    """Above 0 and at most a half."""
    with pytest.raises(KilterError, match="above 0 and at most"):
        choose_size(1_000, rate)
    with pytest.raises(KilterError, match="above 0 and at most"):
        largest_size(1_000, rate)


@given(st.integers(0, 20_000), st.sampled_from(RATES))
def test_recalibration_uses_as_many_rows_as_come_out_even(rows: int, rate: float) -> None:
    """Fewer rows are left out than one step of n."""
    if rows < fewest(rate):
        with pytest.raises(KilterError, match=f"needs at least {fewest(rate)} calibration rows; there are {rows}"):
            largest_size(rows, rate)
        return
    size = largest_size(rows, rate)
    assert is_whole(size, rate)
    assert 0 <= rows - size < round(1 / rate)


def normal_rows(count: int, seed: int) -> Positions:
    """So many of the rows of a table that has half as many again, ascending."""
    return np.sort(np.random.default_rng(seed).permutation(count + count // 2)[:count])


def days(values: Any) -> Times:
    """Times by the day."""
    return np.asarray(values, np.int64).astype("datetime64[D]").astype("datetime64[us]")


COUNTS = st.one_of(st.integers(30, 500), st.integers(9_990, 10_010), st.integers(30, 120_000))


@given(COUNTS, st.integers(0, 99), st.sampled_from([None, 0.05, 0.1, 0.3]), st.booleans())
@example(count=HOLD_OUT_FROM - 1, seed=0, rate=None, by_time=False)
@example(count=HOLD_OUT_FROM, seed=0, rate=None, by_time=False)
@example(count=10 * HOLD_OUT_MOST + 10, seed=0, rate=0.1, by_time=True)
def test_every_normal_row_is_in_one_part_and_parts_have_their_sizes(
    count: int, seed: int, rate: float | None, by_time: bool
) -> None:
    """None is lost, none is in two, and no other row is in any; positions ascend in each."""
    if count < rows_needed(rate or RATES[-1]):
        return
    normal = normal_rows(count, seed)
    times = days(np.random.default_rng(seed).integers(0, 50, 2 * count)) if by_time else None
    parts = split_rows(normal, rate, seed, times)
    assert np.array_equal(np.sort(np.concatenate(parts[:3])), normal)
    assert all((np.diff(part) > 0).all() for part in parts[:3])
    assert parts.rate == (supported_rate(count) if rate is None else rate)
    assert len(parts.calibration) == choose_size(count, parts.rate)
    assert len(parts.held_out) == (min(count // 10, HOLD_OUT_MOST) if count >= HOLD_OUT_FROM else 0)
    assert len(parts.fit) == count - len(parts.calibration) - len(parts.held_out)
    assert parts.how == ("time" if by_time else "random")


@given(st.sampled_from([40, 300, 12_000]), st.integers(0, 2**32))
def test_a_random_split_is_that_of_its_seed_and_of_no_order(count: int, seed: int) -> None:
    """The same for the same seed, another for another; no part is a run of rows."""
    normal = normal_rows(count, 0)
    parts, again, other = (split_rows(normal, 0.1, number, None) for number in (seed, seed, seed + 1))
    for part, same in zip(parts[:3], again[:3], strict=True):
        assert np.array_equal(part, same)
    assert not np.array_equal(parts.calibration, other.calibration)
    for part in parts[:3]:
        if len(part):
            places = np.searchsorted(normal, part)
            assert places.min() < count / 2 < places.max()
            assert (np.diff(places) > 1).any()


def test_a_random_split_takes_each_row_as_often_as_any_other() -> None:
    """Over many seeds every row calibrates in its share of the splits: no place in the file is spared."""
    normal = np.arange(60)
    counts = np.zeros(60)
    for seed in range(2_000):
        counts[split_rows(normal, 0.1, seed, None).calibration] += 1
    share = len(split_rows(normal, 0.1, 0, None).calibration) / 60
    assert np.abs(counts / 2_000 - share).max() < 5 * np.sqrt(share * (1 - share) / 2_000)


@given(st.sampled_from([40, 300, 12_000]), st.integers(0, 99), st.integers(1, 400))
def test_a_split_by_time_fits_the_oldest_and_holds_out_the_newest(count: int, seed: int, distinct: int) -> None:
    """Whatever the order in the file; rows of one time stay in that order, and the seed has no part in it."""
    normal = normal_rows(count, seed)
    times = days(np.random.default_rng(seed).integers(0, distinct, 2 * count))
    parts = split_rows(normal, 0.1, seed, times)
    for older, newer in ((parts.fit, parts.calibration), (parts.calibration, parts.held_out)):
        if not len(newer):
            continue
        assert times[older].max() <= times[newer].min()
        edge = times[older].max()
        same_older, same_newer = older[times[older] == edge], newer[times[newer] == edge]
        assert not len(same_newer) or same_older.max() < same_newer.min()
    other = split_rows(normal, 0.1, seed + 1, times)
    assert all(np.array_equal(part, same) for part, same in zip(parts[:3], other[:3], strict=True))


def test_a_rate_that_the_rows_cannot_support_is_refused_with_the_number_needed() -> None:
    """Half of the rows would have to calibrate."""
    with pytest.raises(KilterError, match="at least 198 normal rows in all, 99 of them for calibration alone"):
        split_rows(np.arange(197), 0.01, 0, None)
    assert len(split_rows(np.arange(198), 0.01, 0, None).calibration) == 99


NUMBER = NumericColumn("x", 0.0, 1.0, 0.0, 0.0)
AT = TimestampColumn("at", "iso", ("hour",))


def table(**columns: Any) -> Table:
    """A table of columns of values."""
    return Table({name: np.asarray(values) for name, values in columns.items()}, len(next(iter(columns.values()))), [])


def test_rows_are_split_by_their_first_column_of_times() -> None:
    """Unless a random split is wanted; without such a column they are split at random, or by their order if asked."""
    timed = Schema((NUMBER, AT, TimestampColumn("later", "iso", ("hour",))), 0)
    times, untimed = days([3, 1, 2]), Schema((NUMBER,), 0)
    rows = table(x=[1.0, 2.0, 3.0], at=times, later=times[::-1])
    for wanted in ("auto", "time"):
        by = time_of(timed, rows, wanted)
        assert by is not None
        assert by.tolist() == times.tolist()
    assert time_of(timed, rows, "random") is None
    assert time_of(untimed, rows, "auto") is None
    assert time_of(untimed, rows, "random") is None
    order = time_of(untimed, rows, "time")
    assert order is not None
    assert order.argsort().tolist() == [0, 1, 2]


def test_rows_without_a_time_are_as_old_as_the_oldest() -> None:
    """So they are fitted: they may be of any age, and the newest rows must be new."""
    times = np.concatenate([days(np.arange(1, 36)), np.full(5, np.datetime64("NaT"))])
    by = time_of(Schema((AT,), 0), table(at=times), "auto")
    assert by is not None
    assert (by[-5:] == by[0]).all()
    assert by[:35].tolist() == times[:35].tolist()
    parts = split_rows(np.arange(40), 0.1, 0, by)
    assert set(range(35, 40)) <= set(parts.fit.tolist())
    assert set(parts.calibration.tolist()) == set(range(35 - len(parts.calibration), 35))


def test_the_order_that_a_split_by_time_goes_by_is_said() -> None:
    """That of the rows where no column holds times, and how many have none; nothing where it is plain."""
    times = days(range(40))
    timed, untimed = Schema((AT,), 0), Schema((NUMBER,), 0)
    rows = table(at=times, x=np.arange(40.0))
    assert order_note(timed, rows, "time") == order_note(timed, rows, "auto") == []
    assert order_note(untimed, rows, "auto") == order_note(untimed, rows, "random") == []
    (note,) = order_note(untimed, rows, "time")
    assert note.startswith("There is no column of times: --split time takes the rows for older and newer in the order")
    times[:2] = np.datetime64("NaT")
    assert order_note(timed, rows, "random") == []
    assert order_note(timed, rows, "auto") == ["Without a time in 'at', and so as old as the oldest: 2 rows."]


@given(st.floats(0.5, 2_000), st.integers(30, 500), st.floats(0.01, 1.0))
def test_records_per_day_are_those_of_the_bulk(rate: float, rows: int, share: float) -> None:
    """One row with a wrong date does not count; rows of less than a day tell nothing; a sample stands for all rows."""
    times = np.datetime64("2026-01-01", "us") + (np.arange(rows) * 86_400e6 / rate).astype("timedelta64[us]")
    times[0] = np.datetime64("1970-01-01")
    found = records_per_day(times, share)
    if found is None:
        assert rows < 1.2 * rate
    else:
        assert found == pytest.approx(rate / share, rel=0.01)


def test_a_table_of_no_rows_or_of_no_times_can_be_asked() -> None:
    """There is nothing to take the oldest of."""
    for times in (days([]), np.full(3, np.datetime64("NaT", "us"))):
        by = time_of(Schema((AT,), 0), table(at=times), "auto")
        assert by is not None
        assert len(by) == len(times)


def test_statistics_are_those_of_the_fitting_rows_alone() -> None:
    """A level that only other rows hold is unseen, and a number beyond their range is not in it."""
    draft = Schema((NUMBER, CategoricalColumn("site", (), ())), 9, aside=(CategoricalColumn("shift", (), ()),))
    rows = table(
        x=[1.0, 5.0, 100.0, 3.0, np.nan],
        site=np.array(["a", "b", "new", "a", None], object),
        shift=np.array(["day", "day", "night", None, "day"], object),
    )
    schema = fit_schema(draft, rows, np.array([0, 1, 3, 4]))
    number, site = schema.columns
    assert isinstance(number, NumericColumn)
    assert isinstance(site, CategoricalColumn)
    assert schema.rows == 4
    assert (number.minimum, number.maximum, number.missing) == (1.0, 5.0, 1)
    assert (site.levels, site.counts, site.missing) == (("a", "b"), (2, 1), 1)
    (shift,) = schema.aside
    assert isinstance(shift, CategoricalColumn)
    assert (shift.levels, shift.missing) == (("day",), 1)
    later = fit_aside(schema, rows, np.array([2]))
    assert later.columns == schema.columns
    assert later.aside[0].levels == ("night",)  # type: ignore[attr-defined]


ENTITIES = st.lists(st.integers(1, 30), min_size=40, max_size=120)


@given(ENTITIES, st.integers(0, 2**32), st.booleans())
def test_the_rows_of_an_entity_stand_on_one_side(sizes: list[int], seed: int, by_time: bool) -> None:
    """The fit has all of theirs, calibration one of each; as many entities are calibrated on as rows would be."""
    entities = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes)) - 1  # -1: no value
    times = np.arange(len(entities)).astype("datetime64[us]") if by_time else None
    normal = np.flatnonzero(np.arange(len(entities)) % 7 > 0)
    kinds = len(np.unique(entities[normal]))
    if kinds < 30:
        return
    split = split_rows(normal, None, seed, times, entities=entities)
    assert split.rate == supported_rate(kinds)
    assert len(split.calibration) == choose_size(kinds, split.rate)
    fitted, calibrated = set(entities[split.fit]), entities[split.calibration].tolist()
    assert len(set(calibrated)) == len(calibrated)
    assert not fitted & {*calibrated}
    assert len(fitted) + len(calibrated) == kinds
    assert split.fit.tolist() == normal[np.isin(entities[normal], [*fitted])].tolist()


def test_any_row_of_an_entity_may_stand_for_it() -> None:
    """Each as often as another, however many rows it has."""
    entities = np.repeat([0, 1], [2, 8])
    rng = np.random.default_rng(0)
    drawn = np.concatenate([one_of_each(np.arange(10), entities, rng) for _ in range(2_000)])
    counts = np.bincount(drawn, minlength=10)
    assert counts[:2] == pytest.approx(1_000, rel=0.1)
    assert counts[2:] == pytest.approx(250, rel=0.25)


def test_few_entities_give_no_promise() -> None:
    """However many rows they have; the message says what counts."""
    entities = np.repeat(np.arange(29), 1_000)
    with pytest.raises(KilterError, match="there are 29 values with normal rows in the column of --split-by"):
        split_rows(np.arange(29_000), None, 0, None, entities=entities)
    entities = np.repeat(np.arange(197), 10)
    with pytest.raises(KilterError, match="needs at least 198 values with normal rows in the column of --split-by"):
        split_rows(np.arange(1_970), 0.01, 0, None, entities=entities)


def test_copies_do_not_count() -> None:
    """And the message says so."""
    with pytest.raises(KilterError, match="there are 20 distinct normal rows"):
        split_rows(np.arange(20), None, 0, None, distinct=True)
