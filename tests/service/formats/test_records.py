"""Records keep their own bytes, in any dialect, and the fast way of reading them is exact."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.formats.reading import Batch
from kilter.service.formats.records import Dialect, count_quoted, lengthened, plain_batch, quoted_batch, split_records

COLUMNS = ("a", "b", "c")
PLAIN = st.text(st.sampled_from("ab 1.5é\x85\u2028\x0b'#"), max_size=5)
QUOTED = st.text(st.sampled_from("a ,1é"), max_size=5).map('"{}"'.format)
LINES = st.lists(st.lists(PLAIN | QUOTED, min_size=3, max_size=3).map(",".join), max_size=8)
MESSY = st.text(st.sampled_from('ab,"\n\r '), max_size=60)
COMMA = Dialect()


def exact(data: bytes, first: int = 0, dialect: Dialect = COMMA) -> Batch:
    records, rest = split_records(data, dialect, 1, final=True)
    assert rest == b""
    return quoted_batch(records, COLUMNS, dialect, first)


@given(LINES, st.sampled_from(["\n", "\r\n"]), st.booleans(), st.sampled_from(["utf-8", "cp1252"]))
def test_fast_reading_equals_the_csv_module(lines: list[str], newline: str, ended: bool, encoding: str) -> None:
    """Plain lines, quoted or not, are read alike by polars and by the csv module: cells and own bytes."""
    data = (newline.join(lines) + (newline if ended and lines else "")).encode(encoding, "replace")
    fast = plain_batch(data, COLUMNS, COMMA, 7)
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
    fast = plain_batch(text.encode(), COLUMNS, COMMA, 0)
    if fast is not None and fast.raw:
        slow = exact(text.encode())
        assert fast.frame.equals(slow.frame)
        assert fast.raw == slow.raw


@given(
    st.lists(st.lists(st.sampled_from(["", "1", "ab"]), min_size=1, max_size=4), min_size=1, max_size=6), st.booleans()
)
def test_a_line_that_is_too_short_is_not_made_up_for(rows: list[list[str]], ended: bool) -> None:
    """By one that is too long, even if both together have as many delimiters as they should."""
    lines = [",".join(row) for row in rows if any(row)] or ["1"]
    data = ("\n".join(lines) + "\n" * ended).encode()
    for width in (1, 2, 3):
        batch = plain_batch(data, [f"c{i}" for i in range(width)], Dialect(), 0)
        assert (batch is not None) == all(line.count(",") == width - 1 for line in lines)
        if batch is not None:
            assert batch.frame.rows() == [tuple(line.split(",")) for line in lines]


@given(MESSY, st.integers(0, 60))
def test_where_a_batch_ends_changes_nothing(text: str, cut: int) -> None:
    """Records are the same when the bytes come in two pieces, cut anywhere."""
    data = text.encode()
    whole, _ = split_records(data, COMMA, 1, final=True)
    first, rest = split_records(data[:cut], COMMA, 1, final=False)
    read = len(data[:cut]) - len(rest)
    second, _ = split_records(data[read:], COMMA, 1 + data.count(b"\n", 0, read), final=True)
    assert first + second == whole


@given(
    st.lists(st.sampled_from(["a", ",", '"', "\n", "\r", "\r\n", '"a"', '"\n"', ',"x\ny"', '""', "é"]), max_size=14),
    st.booleans(),
    st.sampled_from([Dialect(), Dialect(delimiter=";"), Dialect(quote="'"), Dialect(escape="\\")]),
)
def test_records_with_lines_in_fields_are_counted_fast(pieces: list[str], final: bool, dialect: Dialect) -> None:
    """As the csv module splits them; where that is not plain to see they are not."""
    data = "".join(pieces).encode()
    counts = count_quoted(data, dialect, final=final)
    if counts is not None:
        records, rest = split_records(data, dialect, 1, final=final)
        assert counts == (len(records), len(data) - len(rest))
        assert all(record.fields is not None for record in records)


def test_a_count_gives_up_where_the_csv_module_would() -> None:
    """Of a field that is too long, a quote that is never closed, and an escape."""
    assert count_quoted(b'1,"a\nb"\n2,x\n3,"y', Dialect(), final=False) == (2, 12)
    assert count_quoted(b'1,"a\nb"\n\r\n\n2,x', Dialect(), final=True) == (2, 14)
    assert count_quoted(b'1,"a\nb"\n3,"y', Dialect(), final=True) is None
    assert count_quoted(b'1,"' + b"a" * 200_000 + b'\n"\n', Dialect(), final=True) is None
    assert count_quoted(b'1,"a\\"\n"\n', Dialect(escape="\\"), final=True) is None


@given(MESSY)
def test_no_byte_of_a_record_is_lost(text: str) -> None:
    """The own bytes of all records together are the file, without its blank lines."""
    records, _ = split_records(text.encode(), COMMA, 1, final=True)
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
    records, _ = split_records(data, COMMA, 1, final=False)
    assert records[0].fields is None
    assert len(records) == 60_001


@given(
    st.lists(
        st.lists(st.text(st.sampled_from("ab1é漢|'"), max_size=4), min_size=3, max_size=3), min_size=1, max_size=6
    ),
    st.sampled_from(
        [
            Dialect(";"),
            Dialect("|", encoding="cp932", mixed=False),
            Dialect("^", encoding="gb18030", mixed=False),
            Dialect(quote="'"),
            Dialect("\x1f", encoding="cp1252"),
            Dialect("§"),
            Dialect(surplus=1),
        ]
    ),
)
def test_dialects_are_read_alike_fast_and_exactly(rows: list[list[str]], dialect: Dialect) -> None:
    """In encodings in which half a letter may look like a delimiter, too."""
    special = {dialect.delimiter, dialect.quote}
    kept = [[cell if not special & {*cell} else "x" for cell in row] for row in rows]
    kept = [[cell.encode(dialect.encoding, "ignore").decode(dialect.encoding) for cell in row] for row in kept]
    text = "".join(dialect.delimiter.join(row) + dialect.delimiter * dialect.surplus + "\n" for row in kept)
    data = text.encode(dialect.encoding)
    fast, slow = plain_batch(data, COLUMNS, dialect, 0), exact(data, dialect=dialect)
    assert slow.frame.rows() == [tuple(row) for row in kept]
    if fast is not None:
        assert fast.frame.equals(slow.frame)
        assert fast.raw == slow.raw


def test_delimiters_at_the_end_of_lines_may_be_missing_but_not_be_followed() -> None:
    """A line without them gets them; one with text behind them is a fault, which advises no quotes."""
    batch = exact(b"1,2,3,\n4,5,6\n7,8,9,x\n", dialect=Dialect(surplus=1))
    assert batch.frame.rows() == [("1", "2", "3"), ("4", "5", "6"), ("", "", "")]
    assert batch.raw[1] == b"4,5,6,\n"
    assert [fault.row for fault in batch.faults] == [2]
    assert plain_batch(b"7,8,9,x\n", COLUMNS, Dialect(surplus=1), 0) is None


def test_a_trailing_delimiter_is_no_matter_of_quotes() -> None:
    """The remedy is to take it out."""
    [fault] = exact(b"1,2,3,,\n").faults
    assert "take the delimiters at its end out" in fault.message
    assert "quote" not in fault.message


def test_blanks_that_delimit_may_be_many() -> None:
    """Those around a line do not count, and a quoted field keeps its own."""
    batch = exact(b"  1   2  3\n4 'x' \"y  z\"  \n", dialect=Dialect(" ", padded=True))
    assert batch.frame.rows() == [("1", "2", "3"), ("4", "'x'", "y  z")]


@pytest.mark.parametrize("ending", [b"", b"\n", b"\r\n"])
def test_a_record_is_completed_before_its_line_ending(ending: bytes) -> None:
    """With so many empty fields."""
    assert lengthened(b"1;2" + ending, 2, Dialect(";")) == b"1;2;;" + ending
