"""Delimiters are found and bytes become text."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.formats.dialect import decode, decode_lines, sniff, sniff_delimiter

WORDS = st.text(st.sampled_from('abcé ,;|\t"\n'), max_size=6)


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
    assert decode_lines(data).split("\n") == [decode(line) for line in data.split(b"\n")] or data.decode()
    assert decode(b"caf\xe9") == "café"
    assert decode(b"\x81") == "\x81"
