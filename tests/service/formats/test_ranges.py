"""Ranges of a file make it up: no record is in two, none is cut, and each is read as it is with the whole file."""

import csv
import io
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import polars as pl
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from kilter.service.detector import KilterError
from kilter.service.formats import json_files, ranges, text, typed
from kilter.service.formats.ranges import FileRange, RangePoint, even_size, ranges_between
from kilter.service.formats.reading import Batch, open_table
from kilter.service.formats.source import NO_HINTS

CELLS = st.text(st.sampled_from('ab1.é;,"\r\n '), max_size=8)


@pytest.fixture(autouse=True)
def steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks."""
    monkeypatch.setattr(text, "HEAD", 512)
    monkeypatch.setattr(text, "BYTES", 100)
    monkeypatch.setattr(typed, "ROWS", 10)
    monkeypatch.setattr(json_files, "ROWS", 10)


def cut(path: Path, size: int) -> list[FileRange]:
    with open_table(path) as table:
        return list(table.ranges(size))


def read(path: Path, part: FileRange | None = None) -> tuple[list[Batch], tuple[str, ...]]:
    with open_table(path, hints=NO_HINTS._replace(part=part)) as table:
        return list(table.batches()), table.notes


def assert_made_up(path: Path, size: int) -> list[FileRange]:
    """The ranges, which give what the whole file gives, batch by batch."""
    try:
        whole, notes = read(path)
    except KilterError:
        return []
    parts = cut(path, size)
    if not parts:
        return []
    read_by_parts = [read(path, part) for part in parts]
    batches = [batch for several, _ in read_by_parts for batch in several]
    assert [len(several) for several, _ in read_by_parts] == [part.blocks for part in parts]
    assert len(batches) == len(whole)
    for own, other in zip(batches, whole, strict=True):
        assert own.frame.equals(other.frame)
        assert own.frame.schema == other.frame.schema
        assert (own.first, own.faults, [*own.raw], own.dialect) == (
            other.first,
            other.faults,
            [*other.raw],
            other.dialect,
        )
    assert {note for _, several in read_by_parts for note in several} == {*notes}
    assert [part.number for part in parts] == [*range(len(parts))]
    assert [part.row for part in parts] == [sum(part.rows for part in parts[:i]) for i in range(len(parts))]
    ends = [part.start + part.bytes for part in parts]
    assert ends[:-1] == [part.start for part in parts[1:]]
    assert ends[-1] == path.stat().st_size
    return parts


@st.composite
def text_tables(draw: st.DrawFn) -> bytes:
    """CSV in many dialects, with lines in fields, lines that cannot be read, and what is no record."""
    width = draw(st.integers(1, 3))
    rows = draw(st.lists(st.lists(CELLS, min_size=width, max_size=width), min_size=20, max_size=120))
    delimiter, newline = draw(st.sampled_from(",;\t")), draw(st.sampled_from(["\n", "\r\n"]))
    file = io.StringIO()
    quoting: Literal[0, 1] = csv.QUOTE_ALL if draw(st.booleans()) else csv.QUOTE_MINIMAL
    writer = csv.writer(file, delimiter=delimiter, lineterminator=newline, quoting=quoting)
    writer.writerow([f"c{i}" for i in range(width)])
    for row in rows:
        if draw(st.integers(0, 30)) == 0:
            odd = ["", '"', 'a"b', "x,y,z,w", "# comment", "é", "total"]
            file.write(draw(st.sampled_from(odd)) + newline)
        writer.writerow(row)
    content = draw(st.sampled_from(["", "# made by hand" + newline, "sep=" + delimiter + newline])) + file.getvalue()
    encoding = draw(st.sampled_from(["utf-8", "utf-8-sig", "cp1252", "utf-16"]))
    data = content.encode(encoding)
    if encoding == "utf-8" and draw(st.booleans()):
        data += "1é".encode("cp1252") + newline.encode()
    return data if draw(st.booleans()) else data.rstrip(b"\r\n")


@settings(max_examples=150)
@given(text_tables(), st.integers(1, 900))
@example(b'a,b\n1,"x\ny"\n' * 200, 300)
@example(b"a,b\n" + b"1,2\n" * 300 + "é,1\n".encode("cp1252") * 30, 200)
def test_a_text_table_is_made_up_of_ranges(data: bytes, size: int) -> None:
    """In any dialect, with lines in fields and records that cannot be read; in UTF-16 it has none."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "table.csv"
        path.write_bytes(data)
        assert_made_up(path, size)


def test_a_cut_is_never_within_quotes(tmp_path: Path) -> None:
    """Where every line of the file but a few is in a field."""
    path = tmp_path / "table.csv"
    rows = [[str(i), "line\n,x,\n" * (i % 9)] for i in range(300)]
    with path.open("w", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([["a", "b"], *rows])
    parts = assert_made_up(path, 500)
    assert len(parts) > 10
    data = path.read_bytes()
    for part in parts[1:]:
        assert data[: part.start].count(b'"') % 2 == 0
        assert data[part.start :].split(b",")[0] == str(part.row).encode()


LINES = st.sampled_from(
    [
        '{"a": 1, "b": "x"}',
        '{"a": 2.5}',
        '{"c": [1, {"d": null}], "a": null}',
        "",
        "  ",
        "nonsense",
        '{"b": "é"}',
        "[1]",
    ]
)


@settings(max_examples=60)
@given(st.lists(LINES, min_size=1, max_size=150), st.integers(1, 500), st.booleans(), st.booleans())
def test_ndjson_is_made_up_of_ranges(lines: list[str], size: int, bom: bool, ended: bool) -> None:
    """With the columns and types of the whole file; blank lines are no records, and errors name lines of the file."""
    content = "\n".join(['{"a": 1, "e": true}', *lines]) + "\n" * ended
    with TemporaryDirectory() as folder:
        path = Path(folder) / "table.ndjson"
        path.write_text(content, encoding="utf-8-sig" if bom else "utf-8")
        parts = cut(path, size)
        assert parts
        if not lines[-1].strip():  # blank lines after the last record are in no range
            path.write_text(content.rstrip() + "\n", encoding="utf-8-sig" if bom else "utf-8")
        assert_made_up(path, size)


@settings(max_examples=20)
@given(st.integers(1, 200), st.integers(1, 60), st.integers(1, 3000), st.sampled_from(["parquet", "ipc"]))
def test_stored_tables_are_made_up_of_ranges(rows: int, group: int, size: int, form: str) -> None:
    """Whatever the groups in which their rows are stored."""
    frame = pl.DataFrame({"a": range(rows), "b": [f"{i}" * 20 for i in range(rows)]})
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"table.{form}"
        if form == "parquet":
            frame.write_parquet(path, row_group_size=group)
        else:
            frame.write_ipc(path, record_batch_size=group)
        assert assert_made_up(path, size)


def test_what_can_only_be_read_whole_has_no_ranges(tmp_path: Path) -> None:
    """Compressed files, UTF-16, lines that end in a carriage return alone, JSON that is no record a line, npz."""
    import gzip

    import numpy as np

    content = "a,b\n" + "1,2\n" * 1000
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(content.encode()))
    (tmp_path / "b.csv").write_bytes(content.encode("utf-16"))
    (tmp_path / "c.csv").write_bytes(content.replace("\n", "\r").encode())
    (tmp_path / "d.json").write_text("[" + ", ".join(['{"a": 1}'] * 1000) + "]")
    np.savez(tmp_path / "e.npz", X=np.zeros((1000, 2)))
    for path in tmp_path.iterdir():
        assert cut(path, 100) == [], path
    with open_table("-", io.BytesIO(content.encode())) as table:
        assert list(table.ranges(100)) == []
    (tmp_path / "f.csv").write_text(content)
    assert len(cut(tmp_path / "f.csv", 100)) > 10


def points() -> st.SearchStrategy[list[RangePoint]]:
    """Of blocks, some of which have no records."""
    blocks = st.lists(st.tuples(st.integers(1, 50), st.integers(0, 9)), min_size=1, max_size=30)

    def made(several: list[tuple[int, int]]) -> list[RangePoint]:
        at = RangePoint(7, 0, 0, {})
        several_points = [at]
        for size, rows in several:
            at = RangePoint(at.start + size, at.row + rows, at.block + (rows > 0), {})
            several_points.append(at)
        return several_points

    return blocks.map(made)


@given(points(), st.integers(1, 300))
def test_ranges_lie_between_points(several: list[RangePoint], size: int) -> None:
    """One after the other, each with a block at least, and, but for the last, with so many bytes."""
    parts = list(ranges_between(several, size))
    assert sum(part.blocks for part in parts) == several[-1].block
    assert all(part.blocks and part.rows for part in parts)
    assert all(part.bytes >= size for part in parts[:-1])
    assert all(a.start + a.bytes == b.start and a.row + a.rows == b.row for a, b in pairwise(parts))


def test_ranges_are_found_in_one_pass() -> None:
    """Each as soon as its end is known."""

    def endless() -> Iterator[RangePoint]:
        block = 0
        while True:
            yield RangePoint(10 * block, block, block, {})
            block += 1

    assert next(ranges_between(endless(), 35)) == FileRange(0, 0, 4, 4, 0, 40)
    assert not [*ranges_between([], 5)]


def test_ranges_have_as_many_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """None is much smaller than the others."""
    monkeypatch.setattr(ranges, "RANGE", 100)
    assert [even_size(whole) for whole in (0, 1, 100, 101, 200, 201)] == [0, 1, 100, 51, 100, 67]
