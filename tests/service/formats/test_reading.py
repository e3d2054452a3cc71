"""Whole tables are read for training."""

from pathlib import Path

import polars as pl
import pytest

from kilter.service.detector import KilterError
from kilter.service.formats.reading import read_frame


def csv(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_files_of_the_same_columns_are_one_table(tmp_path: Path) -> None:
    """Several files follow each other, whatever the order of their columns and the dialect of each."""
    paths = [csv(tmp_path, "a.csv", "x,y\n1,2\n"), csv(tmp_path, "b.csv", "y;x\n4;3\n")]
    frame, text, decimal, notes, *_ = read_frame(paths)
    assert frame.rows() == [("1", "2"), ("3", "4")]
    assert (text, decimal, notes) == (True, ".", ())


def test_rows_that_cannot_be_read_are_left_out_and_noted(tmp_path: Path) -> None:
    """Ragged rows are counted, the first of them with file, line and remedy."""
    rows = ["1,2"] * 10 + ["1"] * 7
    frame, _, _, notes, *_ = read_frame([csv(tmp_path, "a.csv", "\n".join(["x,y", *rows]))])
    assert frame.height == 10
    assert notes[0].startswith(
        f"{tmp_path / 'a.csv'}: 7 rows are left out, as they cannot be read: line 12 has 1 field"
    )
    assert notes[0].endswith("and 2 more")


def test_an_ending_that_lies_is_noted(tmp_path: Path) -> None:
    """A Parquet file called .csv is read, and a note says so."""
    pl.DataFrame({"x": [1]}).write_parquet(tmp_path / "a.csv")
    frame, text, _, notes, *_ = read_frame([tmp_path / "a.csv"])
    assert (frame.rows(), text) == ([(1,)], False)
    assert "is a Parquet file, whatever its ending says" in notes[0]


@pytest.mark.parametrize(
    ("text", "decimal"),
    [
        ("a;b\n1,5;x\n2;y\n", ","),
        ("a;b\n1.5;x\n2;y\n", "."),
        ("a;b\n1;1.5\n1,5;2.5\n", "."),
        ("a;b\n1;x,5\nNA;2\n", "."),
        ('a,b\n"1,5",2\n', "."),
        ("a\tb\n1,5\t\nNA\tx\n3\tx\n", ","),
    ],
)
def test_a_decimal_comma_is_found_where_it_is_one(tmp_path: Path, text: str, decimal: str) -> None:
    """A comma is the decimal sign if a column's numbers have it, none have a point, and it is not the delimiter."""
    assert read_frame([csv(tmp_path, "a.csv", text)]).decimal == decimal


def test_what_cannot_be_read_together_is_refused(tmp_path: Path) -> None:
    """Other columns, other kinds of file and other types are errors that name the file and the difference."""
    first = csv(tmp_path, "a.csv", "x,y\n1,2\n")
    with pytest.raises(KilterError, match=r"b\.csv has not the columns of .*a\.csv: it lacks 'y' and has besides 'z'"):
        read_frame([first, csv(tmp_path, "b.csv", "x,z\n1,2\n")])
    pl.DataFrame({"x": [1], "y": [2]}).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({"x": ["1"], "y": [[2]]}).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(KilterError, match="text tables and typed ones"):
        read_frame([first, tmp_path / "a.parquet"])
    with pytest.raises(KilterError, match=r"b\.parquet have different types"):
        read_frame([tmp_path / "a.parquet", tmp_path / "b.parquet"])


def test_a_table_without_rows_cannot_be_learnt_from(tmp_path: Path) -> None:
    """A header alone, and rows that are all ragged, are errors."""
    with pytest.raises(KilterError, match=r"a\.csv has a header and no rows"):
        read_frame([csv(tmp_path, "a.csv", "x,y\n")])
    with pytest.raises(KilterError, match="has no row that can be read: line 2 has 1 field"):
        read_frame([csv(tmp_path, "b.csv", "x,y\n1\n")])


def test_a_sample_of_several_files_is_that_of_their_rows(tmp_path: Path) -> None:
    """Of more rows than are wanted as many are drawn, in their order; how many there were, and where each stood."""
    first = csv(tmp_path, "a.csv", "x,y\n" + "".join(f"{i},a\n" for i in range(300)))
    second = csv(tmp_path, "b.csv", "y,x\n" + "".join(f"b,{i}\n" for i in range(300, 1000)))
    frame, _, _, _, rows, places, files = read_frame([first, second], most=200, seed=1)
    assert (frame.height, rows) == (200, 1000)
    numbers = frame["x"].cast(pl.Int64)
    assert (places + 300 * files).tolist() == numbers.to_list()
    assert numbers.is_sorted()
    assert frame["y"].to_list() == ["a" if number < 300 else "b" for number in numbers]
    assert 30 <= (frame["y"] == "a").sum() <= 90


def test_rows_that_cannot_be_read_count_among_the_numbers(tmp_path: Path) -> None:
    """The number of a row is its place among all records of its file."""
    frame = read_frame([csv(tmp_path, "a.csv", "x,y\n1,a\n2,b,c\n3,c\n4,d\n5,e\n6,f\n")])
    assert frame.frame["x"].to_list() == ["1", "3", "4", "5", "6"]
    assert frame.numbers.tolist() == [0, 2, 3, 4, 5]
    assert set(frame.frame.columns) == {"x", "y"}
