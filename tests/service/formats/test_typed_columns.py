"""Cells become the detector's typed columns, the same from text and from typed tables."""

import io
import math
import re
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import RecordsError, Schema
from kilter.service.detector.columns import BooleanColumn, CategoricalColumn, NumericColumn, TimestampColumn
from kilter.service.detector.columns.cells import parse_number, parse_series
from kilter.service.detector.inputs import Table, from_records
from kilter.service.detector.schema import LeftOut
from kilter.service.formats.reading import open_table, to_table

NUMERIC = NumericColumn("n", center=0.0, scale=1.0, minimum=0.0, maximum=0.0)
SCHEMA = Schema(
    (
        NUMERIC,
        BooleanColumn("b", true=("yes", "1"), false=("no", "0")),
        CategoricalColumn("c", levels=("x",), counts=(1,)),
        TimestampColumn("t", "iso", ("hour",)),
    ),
    rows=1,
    left_out=(LeftOut("id", "an identifier"),),
)
NUMBER_LIKE = st.one_of(
    st.floats().map(repr),
    st.integers().map(str),
    st.from_regex(r"[+-]?[0-9]{0,3}[.,]?[0-9]{0,3}([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    st.text(st.sampled_from("0123456789+-.,eE_ xinfa٣"), max_size=6),
)


def same(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    return first.keys() == second.keys() and all(
        np.array_equal(first[name], second[name], equal_nan=first[name].dtype != object) for name in first
    )


def one(column: Any, cells: list[Any]) -> Table:
    return to_table(Schema((column,), 1), pl.DataFrame({column.name: cells}))


@given(st.floats(allow_nan=False, allow_infinity=False).filter(lambda x: abs(x) < 3e38))
def test_numbers_are_read_to_the_last_bit(value: float) -> None:
    """The text of any number is read as the very number, as is the typed one."""
    assert one(NUMERIC, [repr(value)]).columns["n"].tobytes() == np.float64(value).tobytes()
    assert one(NUMERIC, [value]).columns["n"].tobytes() == np.float64(value).tobytes()


@given(NUMBER_LIKE, st.sampled_from(".,"))
def test_numbers_are_what_float_reads_in_plain_notation(text: str, decimal: Any) -> None:
    """Vectorised and single reading agree, and give what float() gives or refuse the text."""
    text = text.strip()
    (vector,) = parse_series(pl.Series([text]), decimal).to_list()
    try:
        single = parse_number(text, decimal)
    except ValueError:
        assert vector is None
        return
    assert single == float(text.replace(",", ".")) or math.isnan(single)
    assert vector == (single if math.isfinite(single) else None)
    assert "_" not in text
    assert text.isascii()


@pytest.mark.parametrize("text", ["1_000", "0x10", "1,5", "12 kg", "1.234,5", "--1", "٣", "true"])
def test_what_is_no_number_is_a_problem_with_a_remedy(text: str) -> None:
    """A text in a numeric column is a problem that names row, field, text and remedy, and the row is missing there."""
    table = one(NUMERIC, ["1", text, "2"])
    (problem,) = table.problems
    assert (problem.row, problem.field) == (1, "n")
    assert f"the text {text!r}" in problem.message
    assert "like 1234.5" in problem.message
    assert np.isnan(table.columns["n"][1])


@pytest.mark.parametrize("cell", ["1e39", "-1e400", "inf", "-Infinity", "1" * 60, 1e39, -math.inf])
def test_numbers_out_of_range_are_problems(cell: str | float) -> None:
    """Infinities and what no float32 holds are problems, in text and typed."""
    (problem,) = one(NUMERIC, [cell]).problems
    assert "only finite numbers up to 3.4e38" in problem.message


@given(st.sampled_from([*Schema((), 0).null_tokens]), st.sampled_from(["", " ", "\t "]))
def test_null_tokens_are_missing_in_every_column(token: str, blanks: str) -> None:
    """A null token, blanks around it or not, is a missing value and no problem."""
    frame = pl.DataFrame({name: [blanks + token + blanks] for name in SCHEMA.names})
    table = to_table(SCHEMA, frame)
    assert table.problems == []
    nothing = from_records(SCHEMA, [dict.fromkeys(SCHEMA.names)])
    assert same(table.columns, nothing.columns)


@given(
    st.lists(
        st.tuples(
            st.floats(-1e30, 1e30) | st.none(),
            st.booleans() | st.none(),
            st.text(st.sampled_from("abé ,\"'\n"), min_size=1, max_size=4).filter(str.strip) | st.none(),
            st.datetimes(datetime(1980, 1, 1), datetime(2090, 1, 1)) | st.none(),
        ),
        min_size=1,
        max_size=10,
    )
)
def test_text_typed_and_records_are_one(rows: list[tuple[Any, ...]]) -> None:
    """The same data give the same table from CSV, from Parquet and as records."""
    schema = Schema((*SCHEMA.columns[:1], BooleanColumn("b", ("true",), ("false",)), *SCHEMA.columns[2:]), rows=1)
    types: dict[str, Any] = {"n": pl.Float64, "b": pl.Boolean, "c": pl.String, "t": pl.Datetime("us")}
    frame = pl.DataFrame(rows, schema=types, orient="row")
    expected = from_records(schema, frame.with_columns(pl.col("t").dt.to_string("iso:strict")).to_dicts())
    text, parquet = io.BytesIO(), io.BytesIO()
    frame.write_csv(text)
    frame.write_parquet(parquet)
    for file in (text, parquet):
        with open_table("-", io.BytesIO(file.getvalue())) as table:
            (batch,) = table.batches()
        found = to_table(schema, batch.frame, faults=batch.faults)
        assert found.problems == expected.problems == []
        assert same(found.columns, expected.columns)


def test_how_many_columns_are_read_at_a_time_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Columns of a long table are read a few at a time; what is found is the same, in the same order."""
    frame = pl.DataFrame(
        {
            "t": ["2024-05-31T08:15:00", "", "soon"],
            "n": [" 1.5 ", "x", None],
            "c": ["x", " NA ", " y"],
            "b": ["yes", "perhaps", "0"],
        }
    )
    together = to_table(SCHEMA, frame)
    assert [problem.row for problem in together.problems] == [1, 1, 2]
    for cells in (1, 3, 6, 9):
        monkeypatch.setattr("kilter.service.formats.reading.CELLS", cells)
        found = to_table(SCHEMA, frame)
        assert found.problems == together.problems
        assert same(found.columns, together.columns)


def test_names_that_look_like_patterns_are_names() -> None:
    """Polars takes some names for patterns of names, and the columns of a user are called as they like."""
    names = ["^.*$", "*", "^n$", "n"]
    schema = Schema(tuple(NumericColumn(name, 0.0, 1.0, 0.0, 1.0) for name in names), 1)
    table = to_table(schema, pl.DataFrame({name: [f"{i}"] for i, name in enumerate(names)}))
    assert [table.columns[name].tolist() for name in names] == [[0.0], [1.0], [2.0], [3.0]]


def test_flags_are_read_by_the_words_of_the_schema() -> None:
    """Words count in any case; others are problems that list the right ones; typed flags are 0 and 1."""
    flag = SCHEMA.columns[1]
    table = one(flag, ["YES", " no ", "", "maybe"])
    assert np.array_equal(table.columns["b"], [1, 0, np.nan, np.nan], equal_nan=True)
    assert [problem.row for problem in table.problems] == [3]
    assert "one of 'yes', '1', 'no', '0' is expected, not the text 'maybe'" in table.problems[0].message
    plain = BooleanColumn("b", true=("t",), false=("f",))
    assert one(plain, ["1", "0", "True", "false"]).columns["b"].tolist() == [1, 0, 1, 0]
    for cells in ([True, False, None], [1, 0, None], [1.0, 0.0, math.nan]):
        assert np.array_equal(one(flag, cells).columns["b"], [1, 0, np.nan], equal_nan=True)
    for cell in (2, 2.0, "2", "2.0"):
        other = one(flag, [cell])
        assert (other.columns["b"].tolist(), other.problems) == ([2.0], [])


def test_times_are_read_by_the_format_of_the_schema() -> None:
    """Texts, Unix times and typed times with and without zone become UTC; anything else is a problem."""
    iso = one(SCHEMA.columns[3], ["2024-05-31T10:15:00+02:00", "2024-05-31 08:15", "31.5.2024"])
    assert iso.columns["t"][:2].tolist() == [datetime(2024, 5, 31, 8, 15)] * 2
    assert "ISO 8601" in iso.problems[0].message
    typed = pl.Series("t", [datetime(2024, 5, 31, 10, 15)]).dt.replace_time_zone("Europe/Berlin")
    assert to_table(Schema(SCHEMA.columns[3:], 1), typed.to_frame()).columns["t"][0] == iso.columns["t"][0]
    date = one(SCHEMA.columns[3], [datetime(2024, 5, 31).date(), None])
    assert date.columns["t"][0] == np.datetime64("2024-05-31T00:00")
    for cell in ("1717143300", 1717143300, 1717143300.0):
        assert one(TimestampColumn("t", "unix_s", ("hour",)), [cell]).columns["t"][0] == iso.columns["t"][0]
    german = one(TimestampColumn("t", "%d.%m.%Y %H:%M", ("hour",)), ["31.05.2024 08:15"])
    assert german.columns["t"][0] == iso.columns["t"][0]


def test_levels_are_texts_as_they_stand() -> None:
    """A level keeps its blanks; typed whole numbers and enumerations are read as the text they would be."""
    level = SCHEMA.columns[2]
    assert one(level, [" x", "1", "NA"]).columns["c"].tolist() == [" x", "1", None]
    assert one(level, [1, None]).columns["c"].tolist() == ["1", None]
    assert one(level, [1.0, math.nan, 1.5]).columns["c"].tolist() == ["1", None, "1.5"]
    enumeration = pl.Series("c", ["x", None], pl.Enum(["x"]))
    assert to_table(Schema((level,), 1), enumeration.to_frame()).columns["c"].tolist() == ["x", None]


def test_decimals_and_integers_are_exact() -> None:
    """Decimals are read as float() reads their text; whole numbers are rounded as Python rounds them."""
    decimals = pl.Series("n", ["0.1", "123456789012345678.123456789"]).cast(pl.Decimal(38, 9))
    found = to_table(Schema((NUMERIC,), 1), decimals.to_frame()).columns["n"]
    assert found.tolist() == [0.1, 123456789012345678.123456789]
    assert one(NUMERIC, [2**53 + 1]).columns["n"][0] == float(2**53 + 1)


def test_decimal_comma_is_the_schemas_alone() -> None:
    """With a decimal comma 1,5 is a number and 1.5 is none: nobody guesses which sign groups thousands."""
    schema = Schema((NUMERIC,), 1, decimal=",")
    table = to_table(schema, pl.DataFrame({"n": ["1,5", "1.5", "2"]}))
    assert np.array_equal(table.columns["n"], [1.5, np.nan, 2], equal_nan=True)
    assert re.search("number like 1234,5 is expected", table.problems[0].message)


def test_columns_that_are_not_needed_pass_and_needed_ones_must_be_there() -> None:
    """Other columns do not matter, whatever they hold; every absent one is named."""
    frame = pl.DataFrame({name: ["1"] for name in (*SCHEMA.names, "id", "other")}).with_columns(t=pl.lit(None))
    assert to_table(SCHEMA, frame).problems == []
    with pytest.raises(RecordsError, match=r"'n': the column is missing[\s\S]*'t'"):
        to_table(SCHEMA, frame.drop("n", "t"))
    with pytest.raises(RecordsError, match="holds List"):
        one(NUMERIC, [[1.0], [2.0]])


def test_a_faulty_row_has_its_fault_alone(tmp_path: Path) -> None:
    """A ragged row is told once, as such, and its cells are missing."""
    path = tmp_path / "ragged.csv"
    path.write_text("n,b,c,t\n1,yes,x,2024-01-01\nbad,bad\nbad,no,x,2024-01-01\n")
    with open_table(path) as table:
        (batch,) = table.batches()
    problems = to_table(SCHEMA, batch.frame, faults=batch.faults).problems
    assert [(problem.row, problem.field) for problem in problems] == [(1, None), (2, "n")]
