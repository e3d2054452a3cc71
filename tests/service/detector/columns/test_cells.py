"""Tests of `columns.cells`: what is a number among texts, one at a time or all together."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kilter.service.detector.columns.base import FLOAT32_MAX
from kilter.service.detector.columns.cells import Decimal, TrainingCells, as_text, parse_number, parse_series
from kilter.service.detector.errors import RecordsError

NUMBERS = st.text("0123456789.,+-eEinfa _x", max_size=8)


@given(st.lists(st.one_of(NUMBERS, st.floats().map(str), st.integers().map(str)), min_size=1), st.sampled_from(".,"))
@example(["1.5", "1,5", "1_000", "0x10", "1e5", ".5", "5.", "1.2.3", "nan", "inf", "-Infinity", "１"], ".")
def test_texts_are_numbers_together_where_each_is_one_alone(texts: list[str], decimal: Decimal) -> None:
    """The vectorised reading agrees with that of one text, infinities aside, which are refused as what they are."""
    together = parse_series(pl.Series(texts, dtype=pl.String), decimal).to_list()
    for text, number in zip(texts, together, strict=True):
        try:
            alone: float | None = parse_number(text, decimal)
        except ValueError:
            alone = None
        if number is not None:
            assert alone == number
        assert (alone is None or not np.isfinite(alone)) == (number is None)


@pytest.mark.parametrize(
    ("text", "decimal", "number"),
    [("1.5", ".", 1.5), ("1,5", ",", 1.5), ("-.5e3", ".", -500.0), ("+7", ",", 7.0), ("inf", ".", float("inf"))],
)
def test_a_number_is_read_with_the_files_decimal_mark(text: str, decimal: Decimal, number: float) -> None:
    """As Python reads it."""
    assert parse_number(text, decimal) == number


@pytest.mark.parametrize(("decimal", "example"), [(".", "1234.5"), (",", "1234,5")])
@pytest.mark.parametrize("text", ["", "x", "1.2.3", "1,2,3", "0x10", "1_000", "nan", "１"])
def test_what_is_no_number_is_refused_with_an_example(text: str, decimal: Decimal, example: str) -> None:
    """And with what to do about a value that is not known."""
    with pytest.raises(ValueError, match=rf"a number like {example} is expected, .*leave the cell empty"):
        parse_number(text, decimal)


@pytest.mark.parametrize(
    ("cells", "texts"),
    [
        (["a", None], ["a", None]),
        ([1, 2, None], ["1", "2", None]),
        ([1.0, 2.5, None, float("nan")], ["1", "2.5", None, None]),
        ([True, None], ["true", None]),
        (pl.Series(["a", "b"], dtype=pl.Categorical), ["a", "b"]),
    ],
)
def test_a_typed_column_reads_as_the_texts_that_a_csv_would_hold(cells: Any, texts: list[str | None]) -> None:
    """Whole numbers without a point, missing ones as nothing."""
    assert as_text(pl.Series("c", cells)).to_list() == texts


@pytest.mark.parametrize("cells", [[[1.0]], [{"a": 1}]])
def test_what_no_cell_can_hold_is_refused(cells: Any) -> None:
    """Lists and structures."""
    with pytest.raises(RecordsError, match=r"field 'c': the column holds .*, which is neither number, flag, text nor"):
        as_text(pl.Series("c", cells))


def cells(values: Any, decimal: Decimal = ".") -> TrainingCells:
    """The cells of a column whose texts `NA` are missing."""
    return TrainingCells("c", pl.Series("c", values), ("NA",), decimal)


def test_texts_are_stripped_and_those_that_are_missing_left_out() -> None:
    """What is left is counted, and each distinct text comes once, in its order."""
    column = cells([" b ", "a", "", "NA", None, "b", " NA"])
    assert column.texts is not None
    assert column.texts.to_list() == ["b", "a", "b"]
    assert column.distinct_texts.to_list() == ["b", "a"]
    assert (column.rows, column.count) == (7, 3)
    assert column.with_missing("two letters") == "two letters, 4 missing"
    assert cells(["a"]).with_missing("one") == "one"
    with pytest.raises(TypeError, match="the column has no texts"):
        _ = cells([1, 2]).distinct_texts


@pytest.mark.parametrize("odd", [0, 1, 2])
def test_a_column_is_one_of_numbers_if_99_in_100_are(odd: int) -> None:
    """One text more, and it is none."""
    column = cells([*["x"] * odd, *map(str, range(100 - odd))])
    assert column.are_numbers is (odd <= 1)
    assert len(column.values) == 100 - odd


def test_typed_numbers_are_numbers_and_times_are_none() -> None:
    """Too large a number is none that a float32 can hold."""
    typed = cells([1.0, float("nan"), None, 1e39])
    assert typed.texts is None
    assert typed.are_numbers
    assert (typed.count, typed.values.tolist()) == (2, [1.0])
    assert typed.not_numbers() == "infinite or too large"
    assert cells([FLOAT32_MAX]).values.tolist() == [FLOAT32_MAX]
    times = cells(pl.Series(["2024-01-01"]).str.to_date())
    assert not times.are_numbers
    assert (times.numbers, times.count) == (None, 1)


def test_values_that_are_no_numbers_are_shown() -> None:
    """Three of them, each once."""
    assert cells(["1", "a", "b", "a"]).not_numbers() == "'a', 'b'"
    assert cells(["1", "a", "b", "c", "d", "1e99"]).not_numbers() == "'a', 'b', 'c', ..."


@pytest.mark.parametrize(
    ("values", "whole"), [(["1", "2.0"], True), (["1", "2.5"], False), (["9007199254740993"], False), (["-3"], True)]
)
def test_whole_numbers_are_those_that_a_float_holds_exactly(values: list[str], whole: bool) -> None:
    """Up to 2^53."""
    assert cells(values).are_whole is whole


def test_the_ways_in_which_a_number_is_written_are_all_there() -> None:
    """And the plain one, which a request may have."""
    assert cells(["1.0", "01", "0", "1"]).spelled(1.0) == ("01", "1", "1.0")
    assert cells(["1.0", "0"]).spelled(0.0) == ("0",)
    assert cells([1, 0]).spelled(1.0) == ("1", "1.0")
    assert cells(["1,0", "0"], ",").spelled(1.0) == ("1", "1,0")
    assert cells(["3", "1", "3"]).distinct_numbers == 2
