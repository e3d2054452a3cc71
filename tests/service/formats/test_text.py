"""Text tables are read block by block, in any dialect."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import KilterError
from kilter.service.formats.reading import open_table
from kilter.service.formats.tables import Batch

CELLS = st.text(st.sampled_from('ab1.é;,\t"\r\n '), max_size=6)
ROWS = st.integers(1, 4).flatmap(
    lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n).filter(any), min_size=1, max_size=20)
)


def batches(data: bytes) -> list[Batch]:
    with open_table("-", io.BytesIO(data)) as table:
        return list(table.batches())


def written(rows: list[list[str]], delimiter: str = ",", newline: str = "\n") -> str:
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator=newline, quoting=csv.QUOTE_ALL)
    writer.writerows(rows)
    return file.getvalue()


@given(
    ROWS,
    st.sampled_from(",;\t|"),
    st.sampled_from(["\n", "\r\n"]),
    st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
)
def test_what_was_written_is_read(rows: list[list[str]], delimiter: str, newline: str, encoding: str) -> None:
    """The cells of a table come back from any dialect and encoding."""
    header = [f"c{i}" for i in range(len(rows[0]))]
    (batch,) = batches(written([header, *rows], delimiter, newline).encode(encoding))
    assert batch.frame.columns == header
    assert batch.frame.rows() == [tuple(row) for row in rows]
    assert not batch.faults


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
@pytest.mark.parametrize("quoted", [False, True])
def test_long_files_come_in_bounded_batches(encoding: str, quoted: bool) -> None:
    """A file longer than a block comes in several batches that hold every row once, with its own bytes."""
    rows = [[str(i), "é" * (i % 7), "x\ny" if quoted and i % 1000 == 0 else "z"] for i in range(60_000)]
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([["a", "b", "c"], *rows])
    found = batches(file.getvalue().encode(encoding))
    assert len(found) > 1
    assert [row for batch in found for row in batch.frame.rows()] == [tuple(row) for row in rows]
    assert [batch.first for batch in found] == [sum(b.frame.height for b in found[:i]) for i in range(len(found))]
    own = b"".join(raw for batch in found for raw in batch.raw)
    text = file.getvalue().partition("\n")[2]
    assert own == text.encode("utf-8" if encoding == "utf-16" else encoding)


def test_blank_lines_are_no_records() -> None:
    """Blank lines before the header, between records and at the end are passed over; line numbers count them."""
    (batch,) = batches(b"\n\na,b\n\n1,2\n\n3\n\n")
    assert batch.frame.rows() == [("1", "2"), ("", "")]
    assert batch.faults[0].message.startswith("line 7 has 1 field")


@pytest.mark.parametrize("data", [b"a\n1\n2\n", b"a\n1\n2", b"a\r\n1\r\n2\r\n"])
def test_one_column_is_a_table(data: bytes) -> None:
    """A table may have a single column, and its last line no ending."""
    (batch,) = batches(data)
    assert batch.frame.rows() == [("1",), ("2",)]


def test_a_header_alone_is_an_empty_table() -> None:
    """A header without rows is a table of no rows."""
    (batch,) = batches(b"a,b\n")
    assert (batch.frame.columns, batch.frame.height) == (["a", "b"], 0)


@pytest.mark.parametrize(("data", "notes"), [(b"1.5,2\n3,4\n", 1), (b"a,2\n3,4\n", 0)])
def test_a_header_of_numbers_is_noted(data: bytes, notes: int) -> None:
    """A first line of nothing but numbers is the header all the same, and a note asks whether it is one."""
    with open_table("-", io.BytesIO(data)) as table:
        assert len(table.notes) == notes


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a,b,a\n1,2,3\n", "two columns named 'a'.*add one"),
        (b"\n\n\n", "no header"),
        (b'a,"b\n1,2\n', "header of standard input cannot be read"),
        (b"a,b\r1,2\r", "carriage return alone"),
        (b"\xff\xfea\x00,\x00b\x00\n\x00\x00", "not valid UTF-16"),
        (b"x" * (1 << 19), "no header in its first lines"),
        (b"a,b\n" + b"x" * (1 << 25), "line 2 of standard input has over .* no table"),
    ],
)
def test_unreadable_headers_are_errors(data: bytes, message: str) -> None:
    """A header that is absent, broken or names a column twice is an error that says what to do."""
    with pytest.raises(KilterError, match=message):
        batches(data)


def test_a_file_is_closed_when_opening_fails(tmp_path: Path) -> None:
    """No file is left open behind an error; a warning of it would fail this test."""
    path = tmp_path / "twice.csv"
    path.write_bytes(b"a,a\n")
    with pytest.raises(KilterError, match="two columns"):
        open_table(path)
