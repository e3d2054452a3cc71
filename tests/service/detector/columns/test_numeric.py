"""Tests of `columns.numeric`: numbers are standardised, and come back."""

from datetime import timedelta
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.columns import NumericColumn
from kilter.service.detector.columns.base import LIMIT, read_cells
from kilter.service.detector.columns.cells import TrainingCells
from kilter.service.detector.columns.notation import Notation
from kilter.service.detector.errors import Problem

finite = st.floats(-1e6, 1e6)


@given(finite, st.floats(1e-3, 1e6), st.sampled_from(["identity", "asinh"]), finite, st.floats(1e-3, 1e3))
def test_restore_undoes_encode(value: float, scale: float, transform: str, center: float, unit: float) -> None:
    """A reason can show what the network expected in the column's own unit."""
    numeric = NumericColumn("n", center, scale, 0, 1, transform, shift=1.0, unit=unit)  # type: ignore[arg-type]
    feature = float(numeric.encode(np.array([value]))[0, 0])
    if abs(feature) < LIMIT:
        assert np.isclose(numeric.restore(feature), value, rtol=1e-6, atol=1e-6 * max(1.0, abs(center), unit))


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_a_standardised_number_is_bounded(value: float) -> None:
    """No number, however large, makes a score infinite."""
    feature = NumericColumn("n", 0.0, 1e-30, 0, 1).encode(np.array([value]))
    assert np.abs(feature).max() <= LIMIT


def test_a_changed_constant_is_a_flag() -> None:
    """A column that never varied says only whether it did now."""
    changed = NumericColumn("n", 5.0, 1.0, 5.0, 5.0, constant=5.0)
    np.testing.assert_array_equal(changed.encode(np.array([5.0, 5.1, np.nan])), [[0], [1], [np.nan]])


def column(values: Any, **fields: Any) -> NumericColumn:
    """A column fitted to values."""
    return NumericColumn("n", 0.0, 1.0, 0.0, 0.0, **fields).fit(np.asarray(values, float))


@given(st.lists(st.one_of(finite, st.just(np.nan)), min_size=1))
def test_a_fitted_column_knows_the_range_and_the_missing_values(values: list[float]) -> None:
    """Of values that are all the same it is the constant."""
    fitted, present = column(values), [value for value in values if not np.isnan(value)]
    assert fitted.missing == len(values) - len(present)
    assert (fitted.minimum, fitted.maximum) == (min(present, default=0.0), max(present, default=0.0))
    assert fitted.scale > 0
    if len(set(present)) == 1:
        assert fitted.constant == present[0]


def test_a_heavy_tail_is_tamed() -> None:
    """Of counts as they are, of amounts from their median; numbers below 0 and light tails are left as they are."""
    bulk = np.random.default_rng(0).uniform(0, 9, 500)
    assert column(bulk).affine is not None
    counts, amounts = column([*bulk.round(), 1e4]), column([*bulk, 1e4])
    assert (counts.transform, counts.shift, counts.unit) == ("asinh", 0.0, 1.0)
    assert (amounts.transform, amounts.shift) == ("asinh", float(np.median([*bulk, 1e4])))
    assert counts.affine is None
    assert column([*bulk, 1e4, -1.0]).transform == "identity"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (True, "a number is expected, not the boolean true"),
        ("1", "a number is expected, not the text '1'"),
        (10**400, "the number is infinite: only finite numbers"),
        (-(10**400), "the number is infinite: only finite numbers"),
        (1e39, "the number is 1e[+]39: only finite numbers up to 3.4e38"),
    ],
)
def test_what_is_no_number_of_a_float32_is_refused(value: Any, message: str) -> None:
    """One by one; all at once such cells are left to that."""
    plain = NumericColumn("n", 0.0, 1.0, 0.0, 2.0)
    with pytest.raises(ValueError, match=message):
        plain.read(value)
    assert plain.read_all([1.0, value]) is None


@pytest.mark.parametrize(
    ("values", "truths"),
    [([0.0, 0.0, 1.0], True), ([1.0, 1.0], True), ([0.0, 0.0], True), ([0.0, 2.0], False), ([0.0, 0.5, 1.0], False)],
)
def test_true_and_false_are_numbers_where_the_fitting_rows_hold_0_and_1_alone(
    values: list[float], truths: bool
) -> None:
    """In JSON, in files and in frames; anywhere else they are no numbers, nor are they before the column is fitted."""
    whole = all(value == round(value) for value in values)
    unfitted = NumericColumn("n", 0.0, 1.0, 0.0, 0.0, integer=whole)
    fitted = unfitted.fit(np.array(values))
    for value, number in ((True, 1.0), (np.False_, 0.0), ("TRUE", 1.0), ("false", 0.0)):
        for column, known in ((fitted, truths), (unfitted, False)):
            if known:
                assert (column.read_text(value, ".") if isinstance(value, str) else column.read(value)) == number
            else:
                with pytest.raises(ValueError, match="is expected, not"):
                    _ = column.read_text(value, ".") if isinstance(value, str) else column.read(value)


def decided(values: Any, name: str = "n") -> tuple[bool, str]:
    """Whether cells are numbers that a model can use, and why or why not."""
    decision = NumericColumn.infer(TrainingCells(name, pl.Series(name, values), (), "."))
    assert decision is not None
    return decision.column is not None, decision.why


def test_numbers_that_identify_a_row_are_left_out() -> None:
    """Row numbers, ascending numbers, and many distinct ones under such a name; fewer than 20 may be anything."""
    shuffled = np.random.default_rng(0).permutation(50) * 3
    assert decided([*range(20)]) == (False, "it counts the rows; --numeric n takes it for numbers")
    assert decided([*range(19)])[0]
    assert decided([i * i for i in range(20)])[1].startswith("an identifier: 20 distinct whole numbers in order")
    assert decided(shuffled, "customerId")[1].startswith("an identifier by its name: 50 distinct")
    assert decided(shuffled, "amount")[0]


def test_the_reason_for_numbers_says_what_else_there_is() -> None:
    """Constants, rare ones, and rows that cannot be read."""
    assert decided(["7"] * 30)[1] == "all 30 values are numbers; always 7, so that a change is what counts"
    assert "1 in only 1 of them, 0 in all others" in decided(["0"] * 199 + ["1"])[1]
    assert "; 1 row with anything else ('x') cannot be read" in decided([*map(str, [0.5, 2.5] * 60), "x"])[1]


def test_made_up_numbers_are_usual_or_far_beyond() -> None:
    """Whole where the column's are."""
    fitted, rng = column([*range(100)], integer=True), np.random.default_rng(0)
    usual, odd = [fitted.usual(rng) for _ in range(50)], [fitted.odd(rng) for _ in range(50)]
    assert all(isinstance(value, int) and 0 <= value <= 99 for value in usual)
    assert fitted.central() == round(49.5)
    assert set(odd) == {None, 99 + 5 * 99}


def test_few_whole_numbers_with_gaps_may_be_names() -> None:
    """They stay numbers, and the option that makes categories of them is named; not so of a rating or a count."""
    assert "if they have no order, --categorical n takes it for categories" in decided([10, 20, 55] * 30)[1]
    for values in ([1, 2, 3, 4, 5], [0, 1, 2, 4], [10, 20], [*range(0, 110, 10)]):
        assert "--categorical" not in decided(values * 30)[1]


MONEY = Notation(decimal=",", grouping=".", currency="EUR", after="EUR", gap=" ", decimals=2)


def test_numbers_of_a_notation_are_read_and_shown_in_it() -> None:
    """From a text, a number, or a frame; what JSON may hold, and what is observed and expected, say how."""
    fitted = column([1234.5, 99.0, 10.25], notation=MONEY)
    values = [fitted.read("1.234,50 EUR"), fitted.read(1234.5), fitted.read_text("€1234,5", ".")]
    assert values == [1234.5] * 3
    assert fitted.shown(1234.5) == "1.234,50 EUR"
    assert fitted.expected(np.array([0.0])) == "447,90 EUR"
    assert fitted.describe() == "10,25 EUR to 1.234,50 EUR; numbers as 1.234,50 EUR"
    assert fitted.json_schema()["type"] == ["number", "string", "null"]
    assert column([5.0, 5.0], notation=MONEY).describe() == "always 5,00 EUR; numbers as 1.234,50 EUR"
    assert not fitted.written_as_number
    for wrong in (True, [1], timedelta(1)):
        with pytest.raises(ValueError, match="a number is expected, not"):
            fitted.read(wrong)


@given(st.timedeltas(timedelta(-99), timedelta(99)))
def test_a_duration_is_the_same_in_every_type(duration: timedelta) -> None:
    """Of Python, pandas, NumPy and polars, as seconds and as a text; a missing one is none."""
    fitted, seconds = column([1.0, 5.0], notation=Notation("duration")), duration.total_seconds()
    cells = [duration, pd.Timedelta(duration), np.timedelta64(duration), seconds, str(pd.Timedelta(duration))]
    if "-" not in str(pd.Timedelta(duration)):
        assert [fitted.read(cell) for cell in cells] == pytest.approx([seconds] * 5, abs=1e-6)
    for unit in ("ms", "us", "ns"):
        typed = pl.Series([duration, None], dtype=pl.Duration(unit))
        assert fitted.holds(typed.dtype)
        np.testing.assert_allclose(fitted.from_series(typed), [seconds, np.nan], atol=1e-3, rtol=0)
        array = fitted.from_array(typed.to_numpy())
        assert array is not None
        np.testing.assert_allclose(array, [seconds, np.nan], atol=1e-3, rtol=0)
    problems: list[Problem] = []
    assert np.isnan(read_cells(fitted, [None, np.timedelta64("NaT"), pd.NaT], problems)).all()
    assert not problems
    assert column([1.0]).from_array(np.array([1], "m8[s]")) is None


def test_another_notation_is_a_difference() -> None:
    """A shadow that reads 1.234 otherwise is no fair comparison."""
    plain, money = column([1.5, 2.0]), column([1.5, 2.0], notation=MONEY)
    assert plain.differs(plain) is None
    assert plain.differs(money) == (
        "it reads the values of 'n' as plain numbers, the serving version as numbers as 1.234,50 EUR"
    )


def test_a_typed_duration_is_decided_by_its_type() -> None:
    """In seconds, with the missing ones counted."""
    why = decided([timedelta(seconds=i) for i in range(9)] + [None])[1]
    assert why == "all 9 values are durations like 03:04:46, in seconds, 1 missing"


def test_what_a_notation_does_not_read_is_named() -> None:
    """One row in a hundred may hold anything else."""
    texts = [f"{i}.5 EUR" for i in range(199)]
    assert (
        "199 of 200 values are numbers as 1234.5 EUR; 1 row with anything else ('n.a.') cannot be read"
        in decided([*texts, "n.a."])[1]
    )


@given(st.floats(-50, 150), st.floats(-0.5, 1.5), st.booleans())
def test_the_way_to_another_number_is_within_the_range(value: float, feature: float, whole: bool) -> None:
    """Nearer to the number the earlier it comes, in few digits, and whole where the fitting rows are."""
    numeric = NumericColumn("n", 50.0, 20.0, 40.0, 70.0, integer=whole)
    replacements = numeric.replacements(value, np.array([feature]))
    assert value not in replacements
    assert np.clip(value, 40, 70) in replacements or 40 <= value <= 70
    for target in replacements:
        way = numeric.way(value, target)
        distances = np.abs(np.array(way) - value)
        assert (np.diff(distances) > 0).all()
        assert all(40 <= number <= 70 and number != value for number in way)
        assert all(number == round(number, 0 if whole else 12) for number in way)
    assert numeric.way(np.nan, 50.0) == []
    assert numeric.replacements(np.nan, np.array([0.0])) == [50.0]


def test_a_constant_is_the_only_thing_to_stand_in_for_another_value() -> None:
    """There is no way to it."""
    numeric = NumericColumn("n", 5.0, 1.0, 5.0, 5.0, constant=5.0)
    assert numeric.replacements(7.0, np.array([0.3])) == [5.0]
    assert numeric.way(7.0, 5.0) == []
