"""Records keep their own bytes, and the fast way of reading them is the exact one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.formats.text import Block, plain_block, quoted_block, split_records

COLUMNS = ("a", "b", "c")
CELLS = st.text(st.sampled_from("ab 1.5é\x85\u2028\x0b'#"), max_size=5)
QUOTED = st.text(st.sampled_from("a ,1é"), max_size=5).map('"{}"'.format)
LINES = st.lists(st.lists(CELLS | QUOTED, min_size=3, max_size=3).map(",".join), max_size=8)
MESSY = st.text(st.sampled_from('ab,"\n\r '), max_size=60)


def exact(data: bytes, line: int = 1) -> Block:
    records, rest = split_records(data, ",", line, final=True)
    assert rest == b""
    return quoted_block(records, COLUMNS)


@given(LINES, st.sampled_from(["\n", "\r\n"]), st.booleans(), st.sampled_from(["utf-8", "cp1252"]))
def test_fast_reading_equals_the_csv_module(lines: list[str], newline: str, ended: bool, encoding: str) -> None:
    """Plain lines, quoted or not, are read alike by polars and by the csv module: cells, own bytes, line numbers."""
    data = (newline.join(lines) + (newline if ended and lines else "")).encode(encoding, "replace")
    fast = plain_block(data, COLUMNS, ",", 7)
    slow = exact(data, 7)
    if fast is None:
        assert not lines or encoding == "cp1252"
        return
    assert fast.frame.equals(slow.frame)
    assert fast.raw == slow.raw
    assert list(fast.lines) == list(slow.lines)
    assert slow.faults == []


@given(MESSY)
def test_fast_reading_is_left_to_plain_blocks(text: str) -> None:
    """Where quotes, blank lines or ragged rows stand, either nothing is read fast or the same as by the csv module."""
    fast = plain_block(text.encode(), COLUMNS, ",", 1)
    if fast is not None and fast.raw:
        slow = exact(text.encode())
        assert fast.frame.equals(slow.frame)
        assert fast.raw == slow.raw


@given(MESSY, st.integers(0, 60))
def test_where_a_block_ends_changes_nothing(text: str, cut: int) -> None:
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
    block = exact(b'"x,1","say ""hi""","two\nlines"\r\n5" pipe,b,c\n')
    assert block.frame.rows() == [("x,1", 'say "hi"', "two\nlines"), ('5" pipe', "b", "c")]
    assert block.raw == [b'"x,1","say ""hi""","two\nlines"\r\n', b'5" pipe,b,c\n']
    assert block.lines == [1, 3]


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
    block = exact(b"1,2,3\n" + record + b"\n4,5,6\n")
    assert block.frame.rows() == [("1", "2", "3"), ("", "", ""), ("4", "5", "6")]
    ((row, told),) = block.faults
    assert row == 1
    assert told.startswith(message)


def test_an_open_quote_does_not_swallow_the_file() -> None:
    """A quote that nothing closes costs one record, however much follows."""
    data = b'1,"2,3\n' + b"4,5,6\n" * 60_000
    records, _ = split_records(data, ",", 1, final=False)
    assert records[0].fields is None
    assert len(records) == 60_001
