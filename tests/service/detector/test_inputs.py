"""Tests of `detector.inputs`: what callers hold becomes typed columns, and every problem is found."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.columns import BooleanColumn, CategoricalColumn, NumericColumn, TimestampColumn
from kilter.service.detector.errors import KilterError, RecordsError
from kilter.service.detector.inputs import from_frame, from_matrix, from_records
from kilter.service.detector.schema import LeftOut, Schema

SCHEMA = Schema(
    (
        NumericColumn("size", 0.0, 1.0, 0.0, 1.0),
        BooleanColumn("ok", ("true",), ("false",)),
        CategoricalColumn("kind", ("a", "b"), (2, 1)),
        TimestampColumn("at", "iso", ("hour", "weekday")),
    ),
    rows=3,
    left_out=(LeftOut("id", "an identifier"),),
)
GOOD = {"size": 1.5, "ok": True, "kind": "a", "at": "2024-05-31T08:15:00"}
NUMBERS = Schema((NumericColumn("u", 0, 1, 0, 1), BooleanColumn("v", ("1",), ("0",))), rows=3)


def messages(record: Any) -> list[str]:
    """The problems of one record, as text."""
    return [str(problem) for problem in from_records(SCHEMA, [record]).problems]


def test_a_good_record_becomes_typed_columns() -> None:
    """Each kind of column gets its own dtype."""
    table = from_records(SCHEMA, [GOOD, dict.fromkeys(GOOD)])
    assert not table.problems
    assert table.columns["size"].dtype == np.float64
    assert table.columns["kind"].tolist() == ["a", None]
    assert table.columns["at"][0] == np.datetime64("2024-05-31T08:15:00", "us")
    assert np.isnat(table.columns["at"][1])
    assert np.isnan(table.columns["size"][1])
    assert np.isnan(table.columns["ok"][1])


def test_a_field_that_training_left_out_may_be_sent() -> None:
    """A whole row of the training file can be posted as it stands."""
    assert messages({**GOOD, "id": "r-1"}) == []


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("size", "1.5", "a number is expected, not the text '1.5'"),
        ("size", True, "a number is expected, not the boolean true"),
        ("size", 1e39, "the number is 1e+39: only finite numbers up to 3.4e38"),
        ("size", 10**400, "the number is infinite"),
        ("size", float("inf"), "the number is infinite"),
        ("size", [1], "a number is expected, not a list"),
        ("ok", "soon", "one of 'true', 'false' is expected, not the text 'soon'"),
        ("ok", [True], "true or false is expected, not a list"),
        ("kind", {"a": 1}, "text is expected, not an object"),
        ("at", "31.5.2024", "a time like 2024-05-31T08:15:00 (ISO 8601) is expected, not the text '31.5.2024'"),
        ("at", 5, "a time is expected, not the number 5"),
    ],
)
def test_a_wrong_value_is_named_with_row_field_and_remedy(field: str, value: Any, expected: str) -> None:
    """The message says where, what was expected, and what came."""
    (message,) = messages({**GOOD, field: value})
    assert message.startswith(f"record 0, field {field!r}: {expected}")


def test_every_problem_of_every_record_is_found_at_once() -> None:
    """Missing, extra and wrong fields of several records come in one list, in the order of the records."""
    wrong = {"size": "x", "ok": True, "kind": "a", "more": 1}
    problems = from_records(SCHEMA, [GOOD, wrong, 7]).problems
    assert [(p.row, p.field) for p in problems] == [(1, "at"), (1, "more"), (1, "size"), (2, None)]


@given(st.lists(st.one_of(st.none(), st.floats(-1e38, 1e38), st.integers(-(10**30), 10**30)), min_size=1))
def test_numbers_are_read_as_python_reads_them(values: list[float | int | None]) -> None:
    """No value changes on its way in, whatever stands beside it."""
    table = from_records(Schema((NumericColumn("n", 0, 1, 0, 1),), rows=1), [{"n": value} for value in values])
    want = [np.nan if value is None else float(value) for value in values]
    assert not table.problems
    np.testing.assert_array_equal(table.columns["n"], want)


def test_frames_of_any_library_give_the_same_table() -> None:
    """pandas, polars and pyarrow frames, and records, are read alike."""
    records = [GOOD, {**GOOD, "size": None, "kind": None}, {**GOOD, "ok": False, "size": 3.0}]
    want = from_records(SCHEMA, records)
    times = [datetime.fromisoformat(str(record["at"])) for record in records]
    arrow = pa.table({name: [record[name] for record in records] for name in GOOD} | {"at": times})
    frames = [pd.DataFrame(records).assign(at=times), pl.DataFrame(records).with_columns(at=pl.Series(times)), arrow]
    for frame in frames:
        table = from_frame(SCHEMA, frame)
        assert not table.problems
        for name in want.columns:
            np.testing.assert_array_equal(table.columns[name], want.columns[name])


def test_a_frame_without_a_column_is_refused_and_the_column_named() -> None:
    """What the model needs must be there."""
    with pytest.raises(RecordsError, match="field 'at': the column is missing"):
        from_frame(SCHEMA, pd.DataFrame([GOOD]).drop(columns="at"))


def test_a_frame_with_a_column_twice_is_refused() -> None:
    """Which of two columns of a name is meant cannot be known."""
    frame = pd.DataFrame([GOOD])
    with pytest.raises(RecordsError, match="field 'size': the column stands in the table twice"):
        from_frame(SCHEMA, pd.concat([frame, frame[["size"]]], axis=1))


def test_a_matrix_is_read_column_by_column() -> None:
    """Numbers and flags come as a matrix; NaN is missing, and bad cells are named."""
    table = from_matrix(NUMBERS, np.array([[1.0, 0], [np.nan, 2], [np.inf, np.inf]]))
    assert [(p.row, p.field) for p in table.problems] == [(2, "u"), (2, "v")]
    assert table.columns["u"][0] == 1.0
    assert table.columns["v"][1] == 2.0


@pytest.mark.parametrize("matrix", [np.zeros(2), np.zeros((2, 3)), np.array([["a", "b"]])])
def test_a_matrix_of_another_shape_or_type_is_refused(matrix: np.ndarray[Any, Any]) -> None:
    """The message says which shape or type the model takes."""
    with pytest.raises(KilterError, match="the model takes a matrix"):
        from_matrix(NUMBERS, matrix)


def test_a_matrix_cannot_hold_text() -> None:
    """A schema with levels needs records or a frame."""
    with pytest.raises(KilterError, match="'kind' is not numeric"):
        from_matrix(SCHEMA, np.zeros((1, 4)))


def test_a_time_with_an_offset_is_converted_to_utc() -> None:
    """One moment is one value, however it is written."""
    moment = np.datetime64("2024-05-31T08:15:00", "us")
    there = datetime(2024, 5, 31, 10, 15, tzinfo=timezone(timedelta(hours=2)))
    for cell in ("2024-05-31T10:15:00+02:00", "2024-05-31T08:15:00Z", "2024-05-31T08:15:00", there):
        assert read_time(cell, "iso") == moment


def read_time(cell: Any, form: str) -> Any:
    """A cell of a column of that format."""
    return TimestampColumn("at", form, ("hour",)).read(cell)


@given(st.datetimes(datetime(1971, 1, 1), datetime(2200, 1, 1)))
def test_unix_times_and_iso_texts_agree(moment: datetime) -> None:
    """The same moment in each notation is the same value."""
    moment = moment.replace(microsecond=0)
    seconds = int(moment.replace(tzinfo=UTC).timestamp())
    iso = read_time(moment.isoformat(), "iso")
    assert iso == read_time(seconds, "unix_s") == read_time(seconds * 1000, "unix_ms")
    assert read_time(moment.strftime("%d.%m.%Y %H:%M:%S"), "%d.%m.%Y %H:%M:%S") == iso
