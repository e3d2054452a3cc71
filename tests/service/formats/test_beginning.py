"""What the first bytes of a table tell, and what is said of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import KilterError
from kilter.service.formats.beginning import Preamble, encoding_remark, find_beginning, find_charset, find_preamble
from kilter.service.formats.records import Dialect
from kilter.service.formats.source import Hints


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "cp1252"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_encoding_and_line_ending_are_found(encoding: str, newline: str) -> None:
    """A byte order mark decides, or zero bytes, or letters; and the first line's ending holds."""
    text = newline.join(["größe;b", "1;2", ""])
    head = text.encode(encoding)
    dialect = find_charset(head)
    assert dialect.newline == newline.encode()
    assert head.startswith(dialect.bom)
    assert dialect.encoding == {"utf-16": "utf-16-le", "utf-8-sig": "utf-8"}.get(encoding, encoding)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), min_size=1, max_size=40), st.integers(0, 3))
def test_utf8_is_known_though_its_end_is_cut(text: str, cut: int) -> None:
    """In the middle of a letter."""
    data = ("a,é\n" * 3 + text).encode()
    assert find_charset(data[: len(data) - cut]).encoding == "utf-8"


@pytest.mark.parametrize(
    ("head", "stated", "encoding", "bom"),
    [
        ("цена".encode("cp1251"), "windows-1251", "cp1251", b""),
        ("a".encode("utf-16"), "utf-16", "utf-16-le", b"\xff\xfe"),
        ("a".encode("utf-16-be"), "utf-16-be", "utf-16-be", b""),
        ("ab".encode("utf-16-le"), "utf-16", "utf-16-le", b""),
        ("é".encode("utf-8-sig"), "utf8", "utf-8", b"\xef\xbb\xbf"),
        ("é".encode("utf-8-sig"), "latin1", "iso8859-1", b""),
    ],
)
def test_a_stated_encoding_is_taken(head: bytes, stated: str, encoding: str, bom: bytes) -> None:
    """With a mark where it has one."""
    dialect = find_charset(head, Hints(encoding=stated))
    assert (dialect.encoding, dialect.bom) == (encoding, bom)


@pytest.mark.parametrize(
    ("text", "preamble"),
    [
        ("a,b\n1,2\n", Preamble()),
        ("\n\na,b\n", Preamble(2)),
        ("sep=;\r\na;b\n", Preamble(1, ";")),
        ('"sep=\t"\na\tb\n', Preamble(1, "\t")),
        ("# x\n# y\na,b\n", Preamble(2, None, ("# x", "# y"), "#")),
        ("# x\n\na,b\n", Preamble(2, None, (), "#")),
        ("# all\n# of it\n", Preamble()),
        (" ,a\n", Preamble()),
    ],
)
def test_the_preamble(text: str, preamble: Preamble) -> None:
    """Blank lines, comments and the line that names the delimiter."""
    assert find_preamble(text) == preamble


@pytest.mark.parametrize(
    ("data", "columns", "remark"),
    [
        ("a,b\n1,2\n", "a b", None),
        ("a;b\n1;2\n", "a b", None),
        ("a^b\n1^2\n", "a b", "with the delimiter '^'"),
        ("'a','b'\n'1,5','2'\n", "a b", "with ' for quotes"),
        ("sep=;\na;b\n1;2\n", "a b", "from line 2 on, without what stands above it, first 'sep=;'"),
        ("#id,name\n1,x\n2,y\n", "#id name", None),
        ("#id,name\nbob,x\nann,y\n", "#id name", None),
        ("# id, name\na,b\nc,d\n", "a b", "from line 2 on, without what stands above it, first '# id, name'"),
        ("# id,name\n1,x\n2,y\n", "# id|name", None),
        ("# made, by hand\na,b\n1,2\n", "a b", "from line 2 on, without what stands above it, first '# made, by hand'"),
        ("1.5,x\n2.5,y\n", "column_1 column_2", "without a header, its columns being called column_1 to column_2"),
        ("a,b,\n1,2,\n", "a b", "without the empty fields at the end of its lines"),
        ("a,,\n1,2,3\n", "a column_2 column_3", "with names column_1, column_2, ... for columns whose names are empty"),
    ],
)
def test_what_is_not_plain_is_said(data: str, columns: str, remark: str | None) -> None:
    """In one part of a sentence; what is plain is not."""
    begun = find_beginning(data.encode(), Dialect(), "x.csv")
    assert "|".join(begun.columns) in (columns, columns.replace(" ", "|"))
    assert len(begun.remarks) == (remark is not None)
    assert all(part.startswith(remark or "") for part in begun.remarks)


@pytest.mark.parametrize("remark", [["as windows-1251, as its bytes suggest (--encoding states another)"]])
def test_an_encoding_is_said_unless_it_is_stated(remark: list[str]) -> None:
    """By a mark or by the user."""
    assert encoding_remark(Dialect(encoding="cp1251")) == remark
    assert encoding_remark(Dialect(encoding="utf-16-le", bom=b"\xff\xfe")) == []
    data = "цена,b\n1,2\n".encode("cp1251")
    dialect = Dialect(encoding="cp1251", mixed=False)
    assert find_beginning(data, dialect, "x", Hints(encoding="cp1251")).remarks == ()


def test_one_column_that_looks_like_several_is_noted() -> None:
    """As where a table of fixed width has empty fields."""
    data = b"id        name      city\n1                   rome\n2         bob\n"
    [note] = find_beginning(data, Dialect(), "x.csv").notes
    assert note.startswith("x.csv is read as one column")


@pytest.mark.parametrize(
    ("data", "header", "offset", "line"),
    [
        (b"a,b\n1,2\n", b"a,b\n", 4, 2),
        (b"\n\na,b\r\n1,2\r\n", b"a,b\r\n", 7, 4),
        (b"a,b\n1,2,\n3,4,\n", b"a,b,\n", 4, 2),
        (b"a,b,\n1,2\n3,4\n", b"a,b\n", 5, 2),
        (b'x,y\n"r",5,6\n"s",7,8\n', b"row_names,x,y\n", 4, 2),
        (b"1.5,x\n2.5,y\n", b"column_1,column_2\n", 0, 1),
        (b'"a\nb",c\n1,2\n', b'"a\nb",c\n', 8, 3),
    ],
)
def test_the_header_is_as_long_as_a_record(data: bytes, header: bytes, offset: int, line: int) -> None:
    """With its own bytes otherwise; the first record begins where it does."""
    begun = find_beginning(data, find_charset(data), "x.csv")
    assert (begun.header, begun.offset, begun.line) == (header, offset, line)


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"\n\n", "has no header"), (b'a,"b\n1,2\n', "cannot be read"), (b"a,a\n1,2\n", "two columns")],
)
def test_what_has_no_header_is_refused(data: bytes, message: str) -> None:
    """With the name of the file."""
    with pytest.raises(KilterError, match=rf"x\.csv.*{message}|{message}.*|.*x\.csv cannot"):
        find_beginning(data, Dialect(), "x.csv")
