"""NDJSON in a body: read once, and the same as a file where the first records show all columns and types."""

import json
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from kilter.service.detector import KilterError, Schema
from kilter.service.formats import format_named, json_stream
from kilter.service.formats.json_files import JsonReader
from kilter.service.formats.json_stream import JsonStreamReader, open_ndjson
from kilter.service.formats.lines import VerdictColumns
from kilter.service.formats.source import Hints, Source
from kilter.service.formats.writers import Output, write_ndjson, write_text

STATED = Hints(stated=format_named("ndjson"))
VALUES = st.none() | st.booleans() | st.integers(-(2**65), 2**65) | st.floats(-9, 9) | st.text(max_size=3)
RECORDS = st.lists(st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3) | st.just("x"), min_size=1, max_size=9)


def lines(records: list[Any]) -> bytes:
    return "".join(f"{json.dumps(record)}\n" for record in records).encode()


def no_verdicts(rows: int) -> VerdictColumns:
    nothing = [None] * rows
    return VerdictColumns(nothing, nothing, nothing, nothing, nothing)


def opened(content: bytes) -> JsonStreamReader:
    reader = open_ndjson(Source("-", BytesIO(content), "the body", STATED))
    assert isinstance(reader, JsonStreamReader)
    return reader


@given(RECORDS, st.booleans())
def test_records_that_come_at_once_are_read_as_a_file_is(records: list[Any], newline: bool) -> None:
    """With its columns, types and faults."""
    content = lines([{"a": 1}, *records]).removesuffix(b"" if newline else b"\n")
    body, file = opened(content), JsonReader(Source("-", BytesIO(content)))
    assert body.columns == file.columns
    for one, other in zip(body.batches(), file.batches(), strict=True):
        assert_frame_equal(one.frame, other.frame)
        assert one._replace(frame=None) == other._replace(frame=None)  # type: ignore[arg-type]


def test_what_comes_later_widens_the_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fraction makes fractions of a column from its block on, and a new field is one more column."""
    monkeypatch.setattr(json_stream, "ROWS", 2)
    content = lines([{"a": 1}, {"a": 2}, {"a": 2.5}, {"a": 3, "b": "x"}, {"a": 4}])
    reader = opened(content)
    batches = [*reader.batches()]
    assert [batch.first for batch in batches] == [0, 2, 4]
    assert [batch.frame["a"].to_list() for batch in batches] == [[1, 2], [2.5, 3.0], [4.0]]
    out = BytesIO()
    verdicts = [no_verdicts(batch.frame.height) for batch in batches]
    writer = write_ndjson(Output(out, Path()), reader, Schema((), 0), (), None)
    for batch, judged in zip(batches, verdicts, strict=True):
        writer.write(batch, judged)
    told = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [{name: one[name] for name in one if not name.startswith("kilter")} for one in told] == [
        {"a": 1},
        {"a": 2},
        {"a": 2.5, "b": None},
        {"a": 3, "b": "x"},
        {"a": 4, "b": None},
    ]
    writer = write_text(Output(out, Path()), reader, Schema((), 0), (), None)
    writer.write(batches[0], verdicts[0])
    with pytest.raises(KilterError, match="records from 2 on have a field 'b', which the header lacks"):
        writer.write(batches[1], verdicts[1])
    writer = write_text(Output(out, Path()), reader, Schema((), 0), (), ["a"])
    writer.write(batches[1], verdicts[1])


def test_no_more_is_read_than_the_next_block_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that an answer begins while most of a body is still to come."""
    monkeypatch.setattr(json_stream, "ROWS", 10)
    content = lines([{"a": number} for number in range(200_000)])
    stream = BytesIO(content)
    reader = open_ndjson(Source("-", stream, "the body", STATED))
    assert next(iter(reader.batches())).frame.height == 10
    assert stream.tell() < len(content) / 4


def test_a_body_without_a_field_is_refused() -> None:
    """As a file is."""
    with pytest.raises(KilterError, match="the body has no columns"):
        opened(b"{}\n{}\n")
