"""Text tables are read block by block, in any dialect; records keep their own bytes, and the fast way is exact."""

import csv
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import KilterError
from kilter.service.formats.reading import Batch, open_table
from kilter.service.formats.text import (
    decode_lines,
    decode_text,
    plain_batch,
    quoted_batch,
    sniff,
    sniff_delimiter,
    split_records,
)

CELLS = st.text(st.sampled_from('ab1.é;,\t"\r\n '), max_size=6)
ROWS = st.integers(1, 4).flatmap(
    lambda n: st.lists(st.lists(CELLS, min_size=n, max_size=n).filter(any), min_size=1, max_size=20)
)
WORDS = st.text(st.sampled_from('abcé ,;|\t"\n'), max_size=6)
COLUMNS = ("a", "b", "c")
PLAIN = st.text(st.sampled_from("ab 1.5é\x85\u2028\x0b'#"), max_size=5)
QUOTED = st.text(st.sampled_from("a ,1é"), max_size=5).map('"{}"'.format)
LINES = st.lists(st.lists(PLAIN | QUOTED, min_size=3, max_size=3).map(",".join), max_size=8)
MESSY = st.text(st.sampled_from('ab,"\n\r '), max_size=60)


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


@given(
    st.sampled_from(",;\t|"),
    st.integers(2, 6).flatmap(lambda n: st.lists(st.lists(WORDS, min_size=n, max_size=n), min_size=5, max_size=30)),
)
def test_delimiter_of_quoted_text_is_found(delimiter: str, rows: list[list[str]]) -> None:
    """Whatever quoted cells hold, the delimiter that splits every record like the header is found."""
    file = io.StringIO()
    writer = csv.writer(file, delimiter=delimiter, lineterminator="\n", quoting=csv.QUOTE_ALL)
    writer.writerow(f"column {i}" for i in range(len(rows[0])))
    writer.writerows(rows)
    assert sniff_delimiter(file.getvalue()) == delimiter


@pytest.mark.parametrize(
    ("text", "delimiter"),
    [
        ("a;b\n1,5;2,5\n3,5;4\n", ";"),
        ("a\tb\n1,5\t2,5\n", "\t"),
        ("name,price;unit\n", ","),
        ("x\n1,5\n2,5\n", ";"),
        ("x\n1\n", ","),
        ("a,b\n1\n1,2\n3,4\n", ","),
    ],
)
def test_delimiter_of_awkward_tables(text: str, delimiter: str) -> None:
    """Decimal commas, a single column and a ragged row do not mislead."""
    assert sniff_delimiter(text) == delimiter


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_encoding_and_line_ending_are_found(encoding: str, newline: str) -> None:
    """A byte order mark decides, and the first line's ending holds."""
    text = newline.join(["größe;b", "1;2", ""])
    head = text.encode(encoding)
    if encoding == "utf-16-be":
        head = b"\xfe\xff" + head
    dialect = sniff(head, "table")
    assert (dialect.delimiter, dialect.newline) == (";", newline.encode())
    assert head.startswith(dialect.bom)
    assert dialect.encoding == {"utf-16": "utf-16-le", "utf-16-be": "utf-16-be"}.get(encoding, "utf-8")


@given(st.lists(st.text().filter(lambda text: "\n" not in text)))
def test_utf8_lines_are_read_as_such(lines: list[str]) -> None:
    """What is UTF-8 is read as UTF-8."""
    assert decode_lines("\n".join(lines).encode(errors="replace")) == "\n".join(lines).encode(errors="replace").decode()


@given(st.binary(max_size=20))
def test_any_bytes_have_a_text(data: bytes) -> None:
    """Bytes that are not UTF-8 are read as Windows-1252 or Latin-1, line by line, and never refused."""
    assert decode_lines(data).split("\n") == [decode_text(line) for line in data.split(b"\n")] or data.decode()
    assert decode_text(b"caf\xe9") == "café"
    assert decode_text(b"\x81") == "\x81"


def exact(data: bytes, first: int = 0) -> Batch:
    records, rest = split_records(data, ",", 1, final=True)
    assert rest == b""
    return quoted_batch(records, COLUMNS, first)


@given(LINES, st.sampled_from(["\n", "\r\n"]), st.booleans(), st.sampled_from(["utf-8", "cp1252"]))
def test_fast_reading_equals_the_csv_module(lines: list[str], newline: str, ended: bool, encoding: str) -> None:
    """Plain lines, quoted or not, are read alike by polars and by the csv module: cells and own bytes."""
    data = (newline.join(lines) + (newline if ended and lines else "")).encode(encoding, "replace")
    fast = plain_batch(data, COLUMNS, ",", 7)
    slow = exact(data, 7)
    if fast is None:
        assert not lines or encoding == "cp1252"
        return
    assert fast.frame.equals(slow.frame)
    assert fast.raw == slow.raw
    assert (fast.first, fast.faults) == (slow.first, ())
    assert slow.faults == []


@given(MESSY)
def test_fast_reading_is_left_to_plain_batchs(text: str) -> None:
    """Where quotes, blank lines or ragged rows stand, either nothing is read fast or the same as by the csv module."""
    fast = plain_batch(text.encode(), COLUMNS, ",", 0)
    if fast is not None and fast.raw:
        slow = exact(text.encode())
        assert fast.frame.equals(slow.frame)
        assert fast.raw == slow.raw


@given(MESSY, st.integers(0, 60))
def test_where_a_batch_ends_changes_nothing(text: str, cut: int) -> None:
    """Records are the same when the bytes come in two pieces, cut anywhere."""
    data = text.encode()
    whole, _ = split_records(data, ",", 1, final=True)
    first, rest = split_records(data[:cut], ",", 1, final=False)
    read = len(data[:cut]) - len(rest)
    second, _ = split_records(data[read:], ",", 1 + data.count(b"\n", 0, read), final=True)
    assert first + second == whole


@given(MESSY)
def test_no_byte_of_a_record_is_lost(text: str) -> None:
    """The own bytes of all records together are the file, without its blank lines."""
    records, _ = split_records(text.encode(), ",", 1, final=True)
    kept = b"".join(record.raw for record in records)
    lines = [line for line in text.encode().split(b"\n") if line.strip(b"\r")]
    assert [line for line in kept.split(b"\n") if line.strip(b"\r")] == lines


def test_quotes_hold_delimiters_and_line_ends() -> None:
    """A quoted field may hold the delimiter, quotes and line ends; a quote inside an unquoted one is just that."""
    batch = exact(b'"x,1","say ""hi""","two\nlines"\r\n5" pipe,b,c\n')
    assert batch.frame.rows() == [("x,1", 'say "hi"', "two\nlines"), ('5" pipe', "b", "c")]
    assert batch.raw == [b'"x,1","say ""hi""","two\nlines"\r\n', b'5" pipe,b,c\n']


@pytest.mark.parametrize(
    ("record", "message"),
    [
        (b"1,2", "line 2 has 2 fields and the header 3: give every column a field"),
        (b"1", "line 2 has 1 field and the header 3"),
        (b"1,2,3,4", "line 2 has 4 fields and the header 3: put quotes around"),
        (b"1,2\r,3", "line 2 cannot be read"),
        (b'1,2,"open', "line 2 cannot be read: a quote"),
    ],
)
def test_a_record_with_a_fault_stops_no_other(record: bytes, message: str) -> None:
    """A ragged or unreadable record is told with its line, what was found and the remedy; the others are read."""
    batch = exact(b"1,2,3\n" + record + b"\n4,5,6\n")
    assert batch.frame.rows() == [("1", "2", "3"), ("", "", ""), ("4", "5", "6")]
    (fault,) = batch.faults
    assert (fault.row, fault.field) == (1, None)
    assert fault.message.startswith(message)


def test_an_open_quote_does_not_swallow_the_file() -> None:
    """A quote that nothing closes costs one record, however much follows."""
    data = b'1,"2,3\n' + b"4,5,6\n" * 60_000
    records, _ = split_records(data, ",", 1, final=False)
    assert records[0].fields is None
    assert len(records) == 60_001
