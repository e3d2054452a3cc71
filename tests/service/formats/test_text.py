"""Text tables are read block by block, in any dialect; records keep their own bytes, and the fast way is exact."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from kilter.service.detector import KilterError
from kilter.service.formats.reading import Batch, open_table

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
    """The cells of a table come back from any dialect and encoding.

    But for a first line over numbers that looks like one of units, and a last one that looks like a note: these are
    said to be no records; and for runs of accents in an encoding that is guessed.
    """
    text = "\n".join(cell for row in rows for cell in row)
    assume(encoding != "cp1252" or "éé" not in text)
    header = [f"c{i}" for i in range(len(rows[0]))]
    (batch,) = batches(written([header, *rows], delimiter, newline).encode(encoding))
    assert batch.frame.columns == header
    assume(not any(what in fault.message for fault in batch.faults for what in ("a line of units", "as a note has")))
    assert batch.frame.rows() == [tuple(row) for row in rows]
    assert not batch.faults


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "cp1252"])
@pytest.mark.parametrize("quoted", [False, True])
def test_long_files_come_in_bounded_batches(encoding: str, quoted: bool) -> None:
    """A file longer than a block comes in several batches that hold every row once, with its own bytes."""
    rows = [[str(i), "né" * (i % 7), "x\ny" if quoted and i % 1000 == 0 else "z"] for i in range(60_000)]
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


@pytest.mark.parametrize(("data", "notes"), [(b"0,1\n3,4\n", 1), (b"a,2\n3,4\n", 0)])
def test_a_header_of_numbers_is_noted(data: bytes, notes: int) -> None:
    """A first line of 0, 1, 2, ... is the header all the same, and a note asks whether it is one."""
    with open_table("-", io.BytesIO(data)) as table:
        assert len(table.notes) == notes


def test_letters_that_come_late_decide_on_the_encoding() -> None:
    """A file that is ASCII at first is read in the encoding of the first letters that are not, and a note says so."""
    rows = ["1,x"] * 200_000 + ["2,норма", "3,авария", "4,остановка"]
    data = "\n".join(["a,b", *rows]).encode("cp1251")
    with open_table("-", io.BytesIO(data)) as table:
        frame = [batch.frame for batch in table.batches()][-1]
    assert frame["b"].to_list()[-3:] == ["норма", "авария", "остановка"]
    [note] = table.notes
    assert "from line 200002 on as windows-1251" in note


def test_single_lines_of_another_encoding_are_noted() -> None:
    """Where the others are UTF-8, each is read as Windows-1252 for itself."""
    data = "a,b\n1,é\n2,ü\n".encode() * 1 + "3,né\n".encode("cp1252") + "4,ß\n".encode()
    with open_table("-", io.BytesIO(data)) as table:
        [batch] = table.batches()
    assert batch.frame["b"].to_list() == ["é", "ü", "né", "ß"]
    assert "line 4 and perhaps others are not" in table.notes[0]


def test_the_end_of_a_table_is_looked_at_wherever_its_blocks_end() -> None:
    """A total below many records is a fault, and the records before it are none."""
    data = b"a,b,c\n" + b"x,1,2\n" * 100_000 + b"Total,100000,200000\n"
    found = batches(data)
    assert sum(batch.frame.height for batch in found) == 100_001
    [fault] = [fault for batch in found for fault in batch.faults]
    assert fault.message == "line 100002 is a total: it is no record, so take it out"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a,b,a\n1,2,3\n", "two columns named 'a'.*--no-header"),
        (b"\n\n\n", "no header"),
        (b'a,"b\n1,2\n', "header of standard input cannot be read"),
        (b"a,b\r1,2\r" * (1 << 17) + b"3,4\n", "carriage return alone at first, and later in a line feed"),
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
