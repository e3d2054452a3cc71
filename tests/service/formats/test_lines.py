"""A record's own bytes and its verdict are one line, made alike one by one and all at once."""

import math
import struct
from typing import Any

import polars as pl
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kilter.service.detector import Problem
from kilter.service.formats.lines import COLUMNS, FILE, ROW, TAIL, RecordLines, VerdictColumns, number_texts
from kilter.service.formats.reading import Batch, PlainLines
from kilter.service.formats.records import Dialect

FLOATS = st.floats() | st.integers(0, 2**64 - 1).map(lambda bits: struct.unpack("<d", bits.to_bytes(8, "little"))[0])
NUMBERS = st.none() | FLOATS
TEXTS = st.none() | st.text(st.sampled_from("ab é;,|\t\"'\n\\"), max_size=6)


@given(st.lists(NUMBERS, max_size=20))
@example([0.0, -0.0, 1e-4, math.nextafter(1e-4, 0), 1e15, math.nextafter(1e15, 0), math.inf, math.nan, 5e-324])
def test_numbers_are_written_as_python_writes_them(numbers: list[float | None]) -> None:
    """Every float64 by its shortest digits, in the same notation."""
    texts = number_texts(pl.Series(numbers, dtype=pl.Float64)).to_list()
    assert texts == [None if number is None else repr(number) for number in numbers]


@given(
    st.lists(st.tuples(st.text(st.sampled_from("a1é'\x01"), max_size=3), NUMBERS, TEXTS), min_size=1, max_size=8),
    st.sampled_from([Dialect(), Dialect(";"), Dialect("\t", quote="'", escape="\\"), Dialect("|", newline=b"\r\n")]),
    st.sampled_from(["utf-8", "cp1252", "utf-16-le"]),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.sampled_from(".,"),
)
def test_many_lines_are_written_like_one(
    rows: list[tuple[str, float | None, str | None]],
    dialect: Dialect,
    encoding: str,
    newline: str,
    ended: bool,
    decimal: str,
) -> None:
    """Whatever the dialect, the encoding, the line endings and what is appended."""
    dialect = dialect._replace(encoding=encoding)
    own = [f"{text}{dialect.delimiter}x" for text, _, _ in rows]
    data = (newline.join(own) + newline * ended).encode("utf-8" if dialect.recoded else encoding)
    numbers, texts = [number for _, number, _ in rows], [text for _, _, text in rows]
    flags = [None if number is None else number > 0 for number in numbers]
    further: dict[str, list[Any]] = {TAIL: numbers, FILE: texts, ROW: [*range(len(rows))]}
    verdicts = VerdictColumns(numbers, numbers, flags, texts, texts, further)
    batch = Batch(pl.DataFrame(), 0, raw=PlainLines(data, len(rows)), dialect=dialect)
    lines = RecordLines(dialect, 2, decimal, [*further])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kilter.service.formats.lines.FEW", 0)
        together = lines.render(batch, verdicts)
    assert together == lines.render(batch._replace(raw=batch.raw[:]), verdicts)


def test_plain_lines_are_written_together() -> None:
    """Those in error among them; not where one has a fault of its own, whose quotes and fields must be looked at."""
    data, rows = b"1,2\n" * 500, 500
    verdicts = VerdictColumns([0.5] * rows, [1.0] * rows, [False] * rows, [None] * rows, ['a "word"'] * rows)
    raw = PlainLines(data, rows)
    lines = RecordLines(Dialect(), 2, ".")
    assert lines.render(Batch(pl.DataFrame(), 0, raw=raw), verdicts) == b'1,2,0.5,1.0,false,,"a ""word"""\n' * rows
    assert "lines" not in vars(raw)
    lines.render(Batch(pl.DataFrame(), 0, [Problem(0, None, "")], raw), verdicts)
    assert "lines" in vars(raw)


def test_the_frame_of_verdicts_has_their_types() -> None:
    """Also where there is nothing."""
    frame = VerdictColumns([], [], [], [], [], {TAIL: []}).frame()
    assert frame.schema == {**COLUMNS, TAIL: pl.Float64()}
