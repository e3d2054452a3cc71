"""Where records begin is decided by what stands above what."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.formats.heading import (
    all_values,
    could_be_header,
    find_heading,
    has_names,
    is_value,
    lacks_header,
    stands_above,
    usual_width,
)

NUMBER = st.decimals(-999, 999, places=2).map(str)
NAMES = st.lists(st.text(st.sampled_from("abcdxyz"), min_size=1, max_size=5), min_size=2, max_size=5, unique=True)


def table(text: str) -> list[list[str]]:
    return [line.split(",") for line in text.split()]


@pytest.mark.parametrize(
    "text", ["1", "-1.5", "1,5", "1e-3", "2024-01-31", "12:30:05", "2024-01-31T12:00Z", "$5", "7%"]
)
def test_values(text: str) -> None:
    """Numbers, dates, times, money."""
    assert is_value(text)
    assert all_values(["", text])


@pytest.mark.parametrize("text", ["a", "x1", "", "kW", "-", "3rd place", "s-001"])
def test_names(text: str) -> None:
    """And whatever else is no value."""
    assert not is_value(text)
    assert not all_values([text])


@given(NAMES, st.data())
def test_a_header_above_numbers_is_one(names: list[str], data: st.DataObject) -> None:
    """With its names, and every record below it."""
    rows = data.draw(st.lists(st.lists(NUMBER, min_size=len(names), max_size=len(names)), min_size=1, max_size=6))
    heading = find_heading([names, *rows])
    assert (heading.columns, heading.header, heading.first, heading.surplus) == (tuple(names), 0, 1, 0)
    assert stands_above(names, rows)


@given(NAMES, st.lists(NUMBER, min_size=1, max_size=5), st.data())
def test_numbers_above_numbers_are_none(names: list[str], first: list[str], data: st.DataObject) -> None:
    """Without a header the columns are numbered, unless it is known that there is one."""
    width = len(first)
    rows = data.draw(st.lists(st.lists(NUMBER, min_size=width, max_size=width), min_size=2, max_size=6))
    heading = find_heading([first, *rows])
    if heading.header is None:
        assert heading.columns == tuple(f"column_{i + 1}" for i in range(width))
        assert heading.first == 0
    else:
        assert [first] * len(rows) == rows
    assert find_heading([first, *rows], header=True).header == 0
    assert find_heading([names, *[names] * 3], header=False).header is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5.1,3.5,setosa 4.9,3.0,setosa 6,3,virginica", True),
        ("yes,red no,blue yes,red no,red yes,blue", True),
        ("s-017,low s-058,high s-047,mid", True),
        ("country,2019,2020 FR,12.5,13.1 DE,1.5,2.2", False),
        ("0,1,2 1.5,2.5,3.5 2,3,4", False),
        ("city,name rome,bob oslo,ann", False),
        ("a,b a,b a,b", False),
        ("q1,q2 1,2 3,4", False),
        ("a,2020-01,2020-02 x,1,2 y,3,4", False),
        (",142.2,144.8 9.4,0,1 9.5,2,0", False),
        ("1,2", False),
    ],
)
def test_a_missing_header(text: str, expected: bool) -> None:
    """Years and positions are names; texts are records where they come again, codes where they look alike."""
    rows = table(text)
    assert lacks_header(rows, find_heading(rows, header=True)) is expected
    assert (find_heading(rows).header is None) is expected


@pytest.mark.parametrize(
    ("text", "columns", "header", "surplus", "missing"),
    [
        ("a,b, 1,2, 3,4,", ("a", "b"), 0, 1, 0),
        ("a,b 1,2, 3,4,", ("a", "b"), 0, 1, 1),
        ("a,b, 1,2 3,4", ("a", "b"), 0, 0, -1),
        ("a,b,, 1,2,, 3,4,,", ("a", "b"), 0, 2, 0),
        ("a,b 1,,2 3,,4", ("row_names", "a", "b"), 0, 0, 0),
        ("a,b,c 1,2, 3,4,", ("a", "b", "c"), 0, 0, 0),
        ("a,b,,c,d 1,2,3,4,5", ("a", "b", "", "c", "d"), 0, 0, 0),
        ("a,,b,,c 1,2,3,4,5", ("a", "column_2", "b", "column_4", "c"), 0, 0, 0),
        ("Report a,b 1,2 3,4", ("a", "b"), 1, 0, 0),
        ("a,b 1,2 3,4,5", ("a", "b"), 0, 0, 0),
        ("Report,,, by,me,, a,b,c,d 1,2,3,4 5,6,7,8", ("a", "b", "c", "d"), 2, 0, 0),
        (",a,b 0,1,2 1,3,4", ("", "a", "b"), 0, 0, 0),
        ("mpg,cyl mazda,21,6 datsun,22,4", ("row_names", "mpg", "cyl"), 0, 0, 0),
        ("x,y row_names,5,6 b,7,8", ("row_names", "x", "y"), 0, 0, 0),
        ("row_names,y 1,5,6 2,7,8", ("row_names_", "row_names", "y"), 0, 0, 0),
    ],
)
def test_what_the_header_lacks_or_has_too_many_of(
    text: str, columns: tuple[str, ...], header: int, surplus: int, missing: int
) -> None:
    """Delimiters at the end of lines, titles above, a first field without a name."""
    heading = find_heading(table(text))
    assert (heading.columns, heading.header, heading.surplus, heading.missing) == (columns, header, surplus, missing)
    assert heading.row_names is columns[0].startswith("row_names")
    assert heading.explained


def test_a_header_that_fits_nothing_is_not_explained() -> None:
    """It stays the header, and the records are ragged."""
    heading = find_heading(table("a,b,c 1,2 3,4"))
    assert (heading.columns, heading.explained) == (("a", "b", "c"), False)


def test_known_names_are_the_header() -> None:
    """Wherever they stand, in any form of Unicode; columns that were numbered in training have none."""
    rows = [["1", "2"], ["x", "e\u0301"], ["3", "4"]]
    assert find_heading(rows, ("\xe9",)).header == 1
    assert has_names(rows[1], ("\xe9", "x"))
    assert find_heading(table("a,b c,d"), ("column_1", "column_2")).header is None


def test_a_line_of_units_is_known_by_the_values_below() -> None:
    """And not where a mark of a missing value stands there."""
    assert find_heading(table("time,load s,kW 0,1 1,2 2,3")).units
    assert not find_heading(table("t,l x,NA y,1 z,2 w,3")).units


def test_most_records_decide_on_the_width() -> None:
    """Of two that are as frequent the higher one."""
    assert usual_width([["a"], ["a", "b"], ["c", "d"]]) == 2
    assert usual_width([["a"], ["a", "b"]]) == 2
    assert not could_be_header(["a", "a"])
