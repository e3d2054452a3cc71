"""Delimiter, quotes and escapes are found in the first lines of a table."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import KilterError
from kilter.service.formats.dialects import DELIMITERS, OTHERS, delimiter_of, shown_delimiter, sniff

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
    assert sniff(file.getvalue()).delimiter == delimiter


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
    assert sniff(text).delimiter == delimiter


@given(
    st.sampled_from(OTHERS.replace(" ", "")),
    st.lists(st.tuples(st.integers(0, 99), st.floats(0, 9), st.sampled_from("xyz")), min_size=2, max_size=9),
)
def test_any_other_character_may_delimit(delimiter: str, rows: list[tuple[int, float, str]]) -> None:
    """Also where numbers have decimal commas."""
    lines = [delimiter.join((str(n), f"{x:.2f}".replace(".", ","), text)) for n, x, text in rows]
    assert sniff("\n".join([delimiter.join("abc"), *lines])).delimiter == delimiter


@pytest.mark.parametrize(
    "text", ["first name\nJohn Smith\nMary Jones", "t\n12:30\n12:40", "path\n/a/b\n/c/d", "a\n1~2\n3"]
)
def test_one_column_is_not_cut(text: str) -> None:
    """By blanks, colons or the like, which are no delimiters where the header lacks them, or nothing is a number."""
    assert sniff(text).delimiter in DELIMITERS
    assert len(next(sniff(text).rows(iter(text.split("\n"))))) == 1


def test_a_stated_delimiter_is_taken() -> None:
    """Whatever the lines look like."""
    assert sniff("a;b,c\n1;2,3", ",").delimiter == ","


def test_known_names_choose_the_delimiter() -> None:
    """The one that splits a line into all of them."""
    assert sniff("a;b,c,d\n1;2,3,4", names=("a", "b,c,d")).delimiter == ";"
    assert sniff("a;b,c,d\n1;2,3,4").delimiter == ","


@pytest.mark.parametrize(
    ("text", "quote", "escape", "rows"),
    [
        ("'a','b'\n'1,5','x'\n'2','y'", "'", "", [["a", "b"], ["1,5", "x"], ["2", "y"]]),
        ('a,b\n"say \\"hi\\", x",2', '"', "\\", [["a", "b"], ['say "hi", x', "2"]]),
        ('a,b\n"say ""hi"", x",2', '"', "", [["a", "b"], ['say "hi", x', "2"]]),
        ("a,b\n'tis,2\nrock 'n' roll,3", '"', "", [["a", "b"], ["'tis", "2"], ["rock 'n' roll", "3"]]),
        ('a,b\n"C:\\",2', '"', "", [["a", "b"], ["C:\\", "2"]]),
    ],
)
def test_quotes_and_escapes_are_found(text: str, quote: str, escape: str, rows: list[list[str]]) -> None:
    """An apostrophe is a quote where it stands around whole columns, a backslash an escape where nothing else fits."""
    dialect = sniff(text)
    assert (dialect.quote, dialect.escape) == (quote, escape)
    assert [*dialect.rows(iter(text.split("\n")))] == rows


@pytest.mark.parametrize(
    ("stated", "delimiter"),
    [
        (",", ","),
        ("tab", "\t"),
        ("\\t", "\t"),
        ("TAB", "\t"),
        ("space", " "),
        ("\\x1f", "\x1f"),
        ("§", "§"),
        ("^", "^"),
    ],
)
def test_a_delimiter_can_be_named(stated: str, delimiter: str) -> None:
    """By itself, a name or a code."""
    assert delimiter_of(stated) == delimiter
    assert delimiter_of(shown_delimiter(delimiter).strip("'")) == delimiter


@pytest.mark.parametrize("stated", ["", ",,", '"', "\n", "\\xzz", "comma,"])
def test_what_cannot_delimit_is_refused(stated: str) -> None:
    """With what can."""
    with pytest.raises(KilterError, match="a delimiter is one character, a name"):
        delimiter_of(stated)
