"""Tests of `columns.base`: how cells are read, whatever the kind of column, and how they are named in messages."""

from typing import Any

import msgspec
import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.columns import (
    BooleanColumn,
    CategoricalColumn,
    ClockColumn,
    NumericColumn,
    TimestampColumn,
    kinds,
)
from kilter.service.detector.columns.base import (
    ABSENT,
    Column,
    describe_value,
    is_missing,
    list_names,
    missing_values,
    read_cells,
)
from kilter.service.detector.columns.categorical import OTHER
from kilter.service.detector.columns.cells import TextCells
from kilter.service.detector.columns.notation import Notation
from kilter.service.detector.errors import PictureError, Problem
from kilter.service.detector.pictures.column import ImageColumn

NUMBER, FLAG = NumericColumn("x", 0.0, 1.0, 0.0, 1.0), BooleanColumn("ok", ("yes",), ("no",))
KIND, PICTURE = CategoricalColumn("kind", ("a",), (1,)), ImageColumn("image", 8, 8, 1)


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("a", "the text 'a'"),
        ("x" * 38, f"the text '{'x' * 38}'"),
        ("x" * 39, f"the text '{'x' * 36}..."),
        (True, "the boolean true"),
        (3, "the number 3"),
        (1.5, "the number 1.5"),
        ({"a": 1}, "an object"),
        ([1], "a list"),
        (None, "null"),
        (np.float64(1), "float64"),
    ],
)
def test_a_value_is_named_by_its_type_and_itself(value: Any, words: str) -> None:
    """If that is short."""
    assert describe_value(value) == words


@pytest.mark.parametrize(
    ("names", "words"),
    [
        ([], ""),
        (["a", "b", "c", "d"], "a, b, c, d"),
        (["a", "b", "c", "d", "e"], "a, b, c, d and 1 more"),
        (["x" * 20, "y" * 21], f"{'x' * 20}, {'y' * 19}…"),
    ],
)
def test_the_first_of_many_names_are_listed(names: list[str], words: str) -> None:
    """And the others counted; long ones are cut."""
    assert list_names(names) == words


@pytest.mark.parametrize(
    "cell", [None, float("nan"), np.float64("nan"), np.float32("nan"), pd.NA, pd.NaT, np.datetime64("NaT")]
)
def test_missing_is_missing_in_every_library(cell: Any) -> None:
    """Whatever stands for it."""
    assert is_missing(cell) is True


@pytest.mark.parametrize("cell", [0, 0.0, "", "nan", False, np.datetime64("2024-01-01"), [], {}, ABSENT, float("inf")])
def test_anything_else_is_a_value(cell: Any) -> None:
    """Empty texts and zeros, too."""
    assert is_missing(cell) is False


@pytest.mark.parametrize("column", [NUMBER, FLAG, KIND, PICTURE])
def test_missing_values_have_the_dtype_of_the_column(column: Column) -> None:
    """And its shape, where a value is an array."""
    values = missing_values(column, 3)
    assert values.dtype == column.dtype
    assert values.shape == (3, *column.shape)


@given(st.lists(st.sampled_from([1.0, 2, None, float("nan"), "x", True, ABSENT, 10**400])))
def test_cells_are_read_one_by_one_or_all_at_once_with_the_same_result(cells: list[Any]) -> None:
    """A cell that is refused is a problem and missing; one that is not there is missing and no problem of its own."""
    problems: list[Problem] = []
    values = read_cells(NUMBER, cells, problems)
    assert len(values) == len(cells)
    bad = [row for row, cell in enumerate(cells) if cell in ("x", 10**400) or cell is True]
    assert [problem.row for problem in problems] == bad
    for row, (cell, value) in enumerate(zip(cells, values.tolist(), strict=True)):
        if row in bad or cell is ABSENT or is_missing(cell):
            assert np.isnan(value)
        else:
            assert value == cell


def test_a_picture_must_be_there() -> None:
    """Of other columns a missing cell is no problem."""
    problems: list[Problem] = []
    read_cells(PICTURE, [None], problems)
    assert next(str(problem) for problem in problems).startswith("record 0, field 'image': a picture is expected")
    read_cells(KIND, [None], problems)
    assert len(problems) == 1


def test_cells_may_be_read_in_another_way_than_the_columns_own() -> None:
    """By a function that a caller gives; what it refuses is a problem."""

    def read(_: Column, cell: Any) -> float:
        if cell == "far":
            raise PictureError("too far")
        return float(cell) + 1

    problems: list[Problem] = []
    assert read_cells(NUMBER, [1.0, "2", "far"], problems, read).tolist()[:2] == [2.0, 3.0]
    assert problems == [Problem(2, "x", "too far")]


class Plain(Column, msgspec.Struct, frozen=True, tag="plain", tag_field="kind"):
    """A column of floats that says no more than it must, and keeps the texts that it reads."""

    name: str
    calls: list[str]
    missing: int = 0

    dtype = np.dtype(np.float64)
    absent = np.nan
    is_number = True

    def read(self, value: Any) -> float:
        self.calls.append(value)
        return float(value)


TEXTS = st.lists(st.sampled_from(["1", "2", "bad", "worse", "", None, "n/a"]))


@given(TEXTS)
def test_each_distinct_text_is_read_once(texts: list[str | None]) -> None:
    """The rows of one that is refused each have a problem; empty and missing texts have none."""
    column, problems = Plain("x", []), list[Problem]()
    stripped = pl.Series(texts, dtype=pl.String)
    cells = TextCells(stripped, stripped, None, frozenset(["n/a"]), ".")
    values = column.from_texts(cells, problems)
    assert len(column.calls) == len(set(column.calls))
    assert set(column.calls) == set(texts) - {"", None, "n/a"}
    assert [problem.row for problem in problems] == [i for i, text in enumerate(texts) if text in ("bad", "worse")]
    np.testing.assert_array_equal(values, [float(text) if text in ("1", "2") else np.nan for text in texts])


def test_numbers_and_flags_of_a_typed_file_become_floats() -> None:
    """NaN where there is none, and null where it is written again."""
    column = Plain("x", [])
    np.testing.assert_array_equal(column.from_series(pl.Series([1, None, 3])), [1.0, np.nan, 3.0])
    np.testing.assert_array_equal(column.from_series(pl.Series([True, False, None])), [1.0, 0.0, np.nan])
    series = column.to_series(np.array([1.0, np.nan]))
    assert series is not None
    assert series.to_list() == [1.0, None]
    assert KIND.to_series(np.array(["a"], object)) is None


@pytest.mark.parametrize("values", [np.array([1.0, np.nan, np.nan]), np.array(["NaT", "2024-01-01", "NaT"], "M8[us]")])
def test_missing_values_of_the_fitting_rows_are_counted(values: Any) -> None:
    """Of numbers and of times alike."""
    assert Plain("x", []).fit(values) == Plain("x", [], missing=2)


def test_every_kind_of_column_has_a_tag_of_its_own() -> None:
    """By which it is known in a manifest."""
    tags = [kind.__struct_config__.tag for kind in kinds()]  # type: ignore[attr-defined]
    assert len(set(tags)) == len(tags) == 6
    assert [column.kind for column in (NUMBER, FLAG, KIND, PICTURE)] == ["numeric", "boolean", "categorical", "image"]


def test_what_a_kind_does_not_say_is_the_usual() -> None:
    """A column stands in tables, can group, need not be there, and is text to protocols."""
    plain = Column()
    assert (plain.modality, plain.can_group, plain.required, plain.is_time) == ("table", True, False, False)
    assert (plain.json_type, plain.datatype, plain.shape) == (str | None, "BYTES", ())
    nothing: list[Any] = [plain.affine, plain.counts, plain.differs(NUMBER), plain.central()]
    assert nothing == [None] * 4
    for call in (lambda: plain.read(1), lambda: plain.features(0), plain.describe, plain.json_schema):
        with pytest.raises(NotImplementedError):
            call()


FITTED = NumericColumn("n", 3.0, 2.0, -4.0, 9.0)
WRITTEN = [
    FITTED,
    msgspec.structs.replace(FITTED, integer=True),
    NumericColumn("n", 0.5, 1.5, 0.0, 4e6, "asinh", shift=2.0, unit=0.5),
    NumericColumn("n", 5.0, 1.0, 5.0, 5.0, constant=5.0),
    NumericColumn(
        "n", 3.0, 2.0, -4.0, 9.0, notation=Notation(decimal=",", grouping=".", after="kg", unit="kg", gap=" ")
    ),
    BooleanColumn("ok", ("yes",), ("no",)),
    CategoricalColumn("kind", ("a", "b c", "7"), (5, 4, 3)),
    ClockColumn("t", (0.1, 0.2), 0.8),
    *(
        TimestampColumn("at", form, ("hour", "weekday", "day", "month"), clock=clock)
        for form in ("iso", "rfc2822", "unix_s", "unix_ms", "excel", "%d.%m.%Y %H:%M:%S", "%Y-%m-%dT%H:%M:%S%z")
        for clock in ("UTC", "Europe/Berlin", "+02:00")
        if clock == "UTC" or not form.startswith(("unix", "excel"))
    ),
]


@pytest.mark.parametrize("column", WRITTEN, ids=lambda column: f"{column.kind}-{getattr(column, 'format', '')}")
@given(data=st.data())
def test_what_is_decoded_is_read_again_as_it_was_written(column: Column, data: st.DataObject) -> None:
    """From JSON and from a text, whatever the features; and what it encodes to decodes to itself."""
    number = st.floats(-30, 30, width=32) | st.just(float("nan"))
    codes = {"flag": st.sampled_from([0.0, 0.4, 1.0, np.nan]), "gaussian": number}
    row = [
        data.draw(codes[feature.kind] if feature.kind in codes else st.integers(0, feature.levels - 1).map(float))
        for feature in column.features(0)
    ]
    values = column.decode(np.array([row], np.float64))
    cell, text = column.cell(values[0]), column.text(values[0])
    if np.isnan(row).any():
        assert (cell, text) == (None, None)
        return
    assert text is not None
    read = np.array([column.read(cell), column.read_text(text, ".")], column.dtype)
    assert (read == values[0]).all()
    again = column.decode(column.encode(values).astype(np.float64))
    if column.kind == "numeric":
        np.testing.assert_allclose(again.astype(float), values.astype(float), rtol=1e-4, atol=1e-4)
    else:
        assert (again == values).all()


def test_numbers_are_decoded_within_the_range_of_the_fitting_rows() -> None:
    """Whole where those are whole, and with no more digits than the network can tell apart."""
    features = np.array([[-99.0], [0.123456789], [99.0], [np.nan]])
    np.testing.assert_array_equal(FITTED.decode(features), [-4.0, 3.24691, 9.0, np.nan])
    whole = msgspec.structs.replace(FITTED, integer=True)
    np.testing.assert_array_equal(whole.decode(features), [-4.0, 3.0, 9.0, np.nan])
    large = NumericColumn("n", 1e12, 1e-3, 0.0, 2e12)
    assert large.decode(np.array([[1.0]]))[0] == pytest.approx(1e12 + 1e-3)


def test_a_level_that_is_too_rare_to_be_one_is_any_other() -> None:
    """It is read as no level, as it was in training."""
    rest = CategoricalColumn("kind", ("a", "b"), (5, 4), rest=3)
    values = rest.decode(np.array([[0.0], [2.0], [np.nan]]))
    assert values.tolist() == ["a", OTHER, None]
    np.testing.assert_array_equal(rest.encode(values), [[0.0], [2.0], [np.nan]])


def test_a_day_that_a_month_lacks_is_its_last() -> None:
    """The network takes calendar fields for independent, once their code is given."""
    column = TimestampColumn("at", "iso", ("hour", "day", "month"))
    [moment] = column.decode(np.array([[13.0, 30.0, 1.0]]))
    assert str(moment.astype("datetime64[s]")) == "2024-02-29T13:00:00"
