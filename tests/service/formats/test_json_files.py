"""Files of JSON are tables: a record in each line, or a list of them, or what a body may be."""

import io
import json
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import KilterError
from kilter.service.formats.json_files import is_json, is_ndjson
from kilter.service.formats.reading import open_table, read_frame

VALUES: dict[str, st.SearchStrategy[Any]] = {
    "n": st.none() | st.integers(-(2**53), 2**53),
    "x": st.none() | st.integers(-9, 9) | st.floats(allow_nan=False, allow_infinity=False),
    "ok": st.none() | st.booleans(),
    "text": st.none() | st.text(max_size=5),
    "mixed": st.sampled_from([None, 1, "a", True, 1.5]),
    "gröss": st.sampled_from(["é", "e"]),
}
RECORDS = st.lists(st.fixed_dictionaries({}, optional=VALUES).filter(bool), min_size=1, max_size=8)


def read(data: bytes) -> tuple[pl.DataFrame, tuple[str, ...]]:
    frame, text, _, notes, *_ = read_frame(["-"], io.BytesIO(data))
    assert not text
    return frame, notes


@given(RECORDS, st.sampled_from(["lines", "list", "pretty", "records"]), st.booleans())
def test_what_was_written_is_read(records: list[dict[str, Any]], how: str, bom: bool) -> None:
    """Values keep their types where a column has one; a field that a record lacks is null."""
    texts = {
        "lines": "\n".join(json.dumps(record) for record in records) + "\n\n",
        "list": json.dumps(records),
        "pretty": json.dumps(records, indent=1, ensure_ascii=False),
        "records": json.dumps({"records": records}),
    }
    frame, notes = read((b"\xef\xbb\xbf" if bom else b"") + texts[how].encode())
    assert notes == ()
    assert {*frame.columns} == {name for record in records for name in record}
    for name in frame.columns:
        cells = [record.get(name) for record in records]
        types = {type(cell) for cell in cells} - {type(None)}
        if types in ({bool, str}, {str, float}, {int, bool}) or (len(types) > 1 and types != {int, float}):
            cells = [cell if cell is None or isinstance(cell, str) else json.dumps(cell) for cell in cells]
        assert frame[name].to_list() == cells


def test_columns_side_by_side() -> None:
    """As in a request's body."""
    frame, _ = read(b'{"columns": {"a": [1, 2], "b": ["x", null]}}')
    assert frame.rows() == [(1, "x"), (2, None)]
    with pytest.raises(KilterError, match="all of the same length"):
        read(b'{"columns": {"a": [1, 2], "b": []}}')


def test_one_object_is_one_record() -> None:
    """In one line or in several; its fields may be called as a body's are."""
    assert read(b'{"a": 1}')[0].rows() == [(1,)]
    assert read(b'{\n"a": 1\n}\n')[0].rows() == [(1,)]
    assert read(b'{"records": 1}')[0].rows() == [(1,)]


def test_lines_that_are_no_records_are_faults() -> None:
    """Each is named with its line, and costs no other; NaN is named."""
    lines = [b'{"a": 1}', b'{"a": }', b"[1]", b"", b'{"a": NaN}', b'{"a": 2}']
    with open_table("-", io.BytesIO(b"\n".join(lines))) as table:
        [batch] = table.batches()
    assert batch.frame["a"].to_list() == [1, None, None, None, 2]
    messages = [fault.message for fault in batch.faults]
    assert [fault.row for fault in batch.faults] == [1, 2, 3]
    assert messages[0].startswith("line 2 is not JSON")
    assert messages[1].startswith("line 3 is no object")
    assert messages[2].endswith("write null where a value is not known")


def test_nested_values_are_texts_and_noted() -> None:
    """Nothing is dropped in silence."""
    frame, [note] = read(b'{"a": 1, "tags": ["x"], "at": {"b": 2}}\n{"a": 2}\n')
    assert frame.rows() == [(1, '["x"]', '{"b":2}'), (2, None, None)]
    assert "has lists or objects in 'tags', 'at'" in note


def test_long_files_come_in_batches_of_one_type(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though the first lines know nothing of the types of the last."""
    monkeypatch.setattr("kilter.service.formats.json_files.ROWS", 2)
    data = b'{"a": 1}\n{"a": 2}\n{"a": 2.5, "b": 18446744073709551615}\n{"b": "x"}\n{}\n'
    with open_table("-", io.BytesIO(data)) as table:
        frames = [batch.frame for batch in table.batches()]
    assert [frame.height for frame in frames] == [2, 2, 1]
    assert pl.concat(frames)["a"].to_list() == [1.0, 2.0, 2.5, None, None]
    assert pl.concat(frames)["b"].to_list() == [None, None, "18446744073709551615", "x", None]


@pytest.mark.parametrize(
    ("head", "lines", "whole"),
    [
        (b'{"a": 1}\n{"a": 2}\n', True, False),
        (b'\n {"a": 1}', True, False),
        (b'{"records": [{"a": 1}]}', False, True),
        (b'{"records": 1}\n{"records": 2}', True, False),
        (b'[{"a": 1}]', False, True),
        (b'[\n  {"a"', False, True),
        (b'{"a": NaN}\n', True, False),
        (b"[a],[b]\n1,2\n", False, False),
        (b"{a},b\n", False, False),
        (b"a,b\n", False, False),
    ],
)
def test_json_is_known_by_how_it_begins(head: bytes, lines: bool, whole: bool) -> None:
    """And a text table is not taken for it."""
    assert (is_ndjson(head), is_json(head)) == (lines, whole)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b'[{"a": 1}', "is not JSON"),
        (b'{"records": [{}]}', "no columns"),
        (b'{"a": \xff}\n{"a": 1}\n{', "no columns|is not JSON"),
    ],
)
def test_what_is_no_table_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    """With the name of the file."""
    path = tmp_path / "x.json"
    path.write_bytes(data)
    with pytest.raises(KilterError, match=message) as caught:
        read_frame([path])
    assert str(path) in str(caught.value)
