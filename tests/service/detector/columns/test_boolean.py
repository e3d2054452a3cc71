"""Tests of `columns.boolean`: flags, however files and callers spell them."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.columns import BooleanColumn
from kilter.service.detector.columns.boolean import UNSEEN
from kilter.service.detector.columns.cells import TextCells, TrainingCells
from kilter.service.detector.errors import Problem

COLUMN = BooleanColumn("ok", ("yes",), ("no",))


@pytest.mark.parametrize(("value", "flag"), [(True, 1.0), (False, 0.0), (1, 1.0), (0.0, 0.0), (np.True_, 1.0)])
def test_a_flag_is_true_or_false_or_1_or_0(value: Any, flag: float) -> None:
    """Of JSON or of Python."""
    assert COLUMN.read(value) == flag


@pytest.mark.parametrize(("value", "flag"), [("Yes", 1.0), (" no", 0.0), ("TRUE", 1.0), ("0.0", 0.0), ("off", 0.0)])
def test_a_word_means_the_same_in_json_as_in_a_file(value: str, flag: float) -> None:
    """The column's own, or one that is usual for a flag, or a number."""
    assert COLUMN.read(value) == COLUMN.read_text(value.strip(), ",") == flag


def test_numbers_mean_what_the_words_of_a_file_say() -> None:
    """Also one with a decimal comma, and where a file's 0 is its word for true."""
    assert COLUMN.read_text("1,0", ",") == 1.0
    odd = BooleanColumn("ok", ("0",), ("1",))
    assert [odd.read_text(text, ".") for text in ("0", "0.0", "1", "1.0", "2")] == [1.0, 1.0, 0.0, 0.0, 2.0]


@pytest.mark.parametrize("value", [2, 0.5, -1, "2", "-1.5", np.int8(3), 3e38])
def test_another_number_is_a_value_that_no_fitting_row_has(value: Any) -> None:
    """Which is no error."""
    assert COLUMN.read(value) == float(value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([True], "true or false is expected, not a list; use null"),
        ("maybe", "one of 'yes', 'no' is expected, not the text 'maybe'; leave the cell empty"),
        (10**400, "the number is infinite"),
        (np.inf, "use null for an unknown value"),
        ("1e39", "one of 'yes', 'no' is expected"),
    ],
)
def test_what_cannot_be_read_is_refused(value: Any, message: str) -> None:
    """With the remedy."""
    with pytest.raises(ValueError, match=message):
        COLUMN.read(value)


@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, 0.5, -1.0, 3e38, np.nan])), st.integers(0, 3))
def test_another_number_is_encoded_as_what_is_as_unlikely(values: list[float], missing: int) -> None:
    """As a missing one where none was missing, and as a code of its own where some were; 0 and 1 as they are."""
    column = BooleanColumn("ok", ("1",), ("0",), missing)
    other = UNSEEN if missing else np.nan
    wanted = [value if value in (0, 1) or np.isnan(value) else other for value in values]
    np.testing.assert_array_equal(column.encode(np.array(values, float)), np.array(wanted, float).reshape(-1, 1))


def test_a_file_spells_a_flag_in_its_own_words_and_in_the_usual_ones() -> None:
    """In capitals or not; anything else is a problem that lists the words of the file."""
    texts = pl.Series(["yes", "NO", "True", "0", "", "NA", "maybe", "1"])
    problems: list[Problem] = []
    read = TextCells(texts, texts, None, frozenset(["NA"]), ".")
    np.testing.assert_array_equal(COLUMN.from_texts(read, problems), [1.0, 0.0, 1.0, 0.0, np.nan, np.nan, np.nan, 1.0])
    assert [str(problem) for problem in problems] == [
        "record 6, field 'ok': one of 'yes', 'no' is expected, not the text 'maybe'; leave the cell empty if it is "
        "unknown"
    ]


def test_the_words_of_a_file_go_before_the_usual_ones() -> None:
    """A file in which 0 means true is read so."""
    texts = pl.Series(["0", "1"])
    read = TextCells(texts, texts, None, frozenset(), ".")
    assert BooleanColumn("ok", ("0",), ("1",)).from_texts(read, []).tolist() == [1.0, 0.0]


def test_arrays_and_typed_files_hold_flags_as_numbers() -> None:
    """Numbers that are not finite are problems; missing ones are not."""
    values = COLUMN.from_array(np.array([0, 1, 2, np.inf]))
    assert values is not None
    assert [problem.row for problem in COLUMN.problems(values)] == [3]
    assert not [*COLUMN.problems(np.array([0.0, np.nan, 1.0]))]
    assert COLUMN.from_array(np.array(["yes"])) is None
    assert [COLUMN.holds(dtype) for dtype in (pl.Boolean(), pl.Int8(), pl.Float64(), pl.String())] == [True] * 3 + [
        False
    ]
    series = COLUMN.to_series(np.array([1.0, np.nan, 0.0]))
    assert series is not None
    assert series.cast(COLUMN.narrow).to_list() == [True, None, False]
    np.testing.assert_array_equal(COLUMN.from_series(series), [1.0, np.nan, 0.0])


def test_a_flag_is_shown_as_one() -> None:
    """What was observed, and what is likelier than not."""
    assert [COLUMN.shown(value) for value in (1.0, 0.0, np.nan, 2.0)] == [True, False, None, 2.0]
    assert [COLUMN.expected(np.array([p])) for p in (0.49, 0.5, 0.9)] == [False, True, True]
    assert COLUMN.encode(np.array([1.0, np.nan])).shape == (2, 1)
    assert COLUMN.describe() == "yes or no"


@pytest.mark.parametrize("name", ["true", "false", "2"])
def test_a_group_is_called_by_its_flag(name: str) -> None:
    """And the name gives the flag back; a missing one is in no group."""
    assert COLUMN.group_name(COLUMN.group_value(name)) == name
    assert COLUMN.group_name(np.nan) is None


@pytest.mark.parametrize(
    ("cells", "true", "false"),
    [
        (["Yes", "no"] * 5, ("yes",), ("no",)),
        (["T", "F"] * 5, ("t",), ("f",)),
        (["on"] * 5 + ["off"], ("on",), ("off",)),
        (["true"] * 5, ("true",), ("false",)),
        (["1", "0"] * 20, ("1",), ("0",)),
        (["1.0", "0"] * 20, ("1", "1.0"), ("0",)),
        ([1, 0] * 20, ("1", "1.0"), ("0", "0.0")),
        ([True, False, None], ("true",), ("false",)),
    ],
)
def test_a_column_of_two_words_that_oppose_each_other_is_one_of_flags(
    cells: list[Any], true: tuple[str, ...], false: tuple[str, ...]
) -> None:
    """Or of 0 and 1, or typed so."""
    decision = BooleanColumn.infer(TrainingCells("ok", pl.Series("ok", cells), (), "."))
    assert decision is not None
    assert decision.column == BooleanColumn("ok", true, false)


@pytest.mark.parametrize(
    "cells",
    [
        ["yes", "off"] * 5,
        ["y"] * 5,
        ["on"] * 5,
        ["yes", "no", "maybe"] * 5,
        ["0"] * 20,
        ["1"] * 20,
        ["0", "1", "2"] * 9,
        [*["0"] * 1_000, *["1"] * 9],
        ["0", "1", "x"],
        pl.Series(["2024-01-01"]).str.to_date(),
    ],
)
def test_other_columns_are_left_to_other_kinds(cells: Any) -> None:
    """A single letter, one word of a pair, numbers, and a 0 with few ones, which may be a count."""
    assert BooleanColumn.infer(TrainingCells("ok", pl.Series("ok", cells), (), ".")) is None


@pytest.mark.parametrize(("zeros", "ones", "flag"), [(991, 9, False), (990, 10, True), (198, 2, True), (199, 1, False)])
def test_few_ones_may_be_a_count_that_has_not_yet_shown_a_2(zeros: int, ones: int, flag: bool) -> None:
    """Fewer than ten, and fewer than one in a hundred."""
    cells = TrainingCells("ok", pl.Series("ok", ["0"] * zeros + ["1"] * ones), (), ".")
    assert (BooleanColumn.infer(cells) is not None) is flag


def test_what_is_missing_is_counted() -> None:
    """Among the fitting rows."""
    assert COLUMN.fit(np.array([1.0, np.nan, np.nan])).missing == 2
    assert {COLUMN.usual(np.random.default_rng(i)) for i in range(9)} == {True, False}


def test_what_stands_in_for_a_flag_is_the_other_one() -> None:
    """And either one for what is none."""
    expected = np.array([0.9])
    replaced = [COLUMN.replacements(value, expected) for value in (0.0, 1.0, 2.0, np.nan)]
    assert replaced == [[1.0], [0.0], [0.0, 1.0], [0.0, 1.0]]
