"""An output file appears whole or not at all, and holds every record once, in order, with its own bytes."""

import csv
import io
import os
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import KilterError, Schema
from kilter.service.detector.columns import CategoricalColumn
from kilter.service.formats import format_named
from kilter.service.formats.lines import COLUMNS, TAIL, VerdictColumns
from kilter.service.formats.reading import Batch, Reader, open_table
from kilter.service.formats.source import Source
from kilter.service.formats.writers import (
    PACKINGS,
    Output,
    OutputPart,
    check_output,
    output_format,
    packed,
    with_verdicts,
    write_text,
    writing,
)
from tests.support.disk import disk_of


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    """While it is written nothing stands at its place, and afterwards nothing else is left."""
    out = tmp_path / "out.csv"
    with writing(out) as place:
        place.file.write(b"verdicts")
        (place.parts / "part").write_bytes(b"part")
        assert not out.exists()
    assert out.read_bytes() == b"verdicts"
    assert list(tmp_path.iterdir()) == [out]


def write_half(out: Path, error: type[BaseException]) -> None:
    with writing(out) as place:
        place.file.write(b"half")
        raise error


@pytest.mark.parametrize("error", [KilterError, KeyboardInterrupt, RuntimeError])
def test_an_interrupted_output_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    """An error or Ctrl-C leaves the file that was there before, and nothing half-written."""
    out = tmp_path / "out.csv"
    out.write_bytes(b"before")
    with pytest.raises(error):
        write_half(out, error)
    assert out.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [out]


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """Where the disk is full the message names the file, and nothing is left behind."""
    out = tmp_path / "out.csv"
    with pytest.raises(KilterError, match=r"cannot write .*out\.csv: File too large"), disk_of(1000), writing(out) as p:
        p.file.write(b"x" * 100_000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_device_is_written_as_it_is() -> None:
    """A device is written to directly; a full one is told."""
    check_output("/dev/full", "in.csv", force=False)
    with pytest.raises(KilterError, match="cannot write /dev/full: No space left on device"), writing("/dev/full") as p:
        p.file.write(b"x")
    with writing(os.devnull) as place:
        place.file.write(b"x")


def test_standard_output_is_not_closed() -> None:
    """What goes to standard output stands there at once, and the stream stays open."""
    stream = io.BytesIO()
    with writing("-", stream) as place:
        place.file.write(b"x")
    assert stream.getvalue() == b"x"


def test_files_are_not_overwritten_unasked(tmp_path: Path) -> None:
    """An existing file needs force; the input, a folder and a place without folder are refused even then."""
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_bytes(b"")
    check_output(out, source, force=False)
    check_output("-", "-", force=False)
    out.write_bytes(b"")
    check_output(out, source, force=True)
    with pytest.raises(KilterError, match=r"exists already: .* --force"):
        check_output(out, source, force=False)
    (tmp_path / "link.csv").symlink_to(source)
    for same in (source, tmp_path / "link.csv"):
        with pytest.raises(KilterError, match="is the file that is read"):
            check_output(same, source, force=True)
    with pytest.raises(KilterError, match="is a folder"):
        check_output(tmp_path, source, force=True)
    with pytest.raises(KilterError, match="there is no folder"):
        check_output(tmp_path / "absent" / "out.csv", source, force=True)


def test_endings_say_what_is_written() -> None:
    """The ending chooses format and compression; one that does not is refused with those that do."""
    for out, name, packing in (
        ("a.b/x.csv", "csv", ""),
        ("x.TSV.zst", "csv", ".zst"),
        ("x.parquet", "parquet", ""),
        ("x.feather", "arrow", ""),
        ("-", "csv", ""),
    ):
        form, ending = output_format(out)
        assert (form.name, ending) == (name, packing)
    for out in ("x", "x.gz", "x.json", "x.parquet.gz", "x.npz"):
        with pytest.raises(KilterError, match=r"end it in \.csv"):
            output_format(out)


CELLS = st.text(st.sampled_from('ab1.é ;,|\t"\n'), max_size=5)
ERRORS = st.none() | st.text(st.sampled_from('ab é;,|\t"\n'), min_size=1, max_size=8)
BLOCKS = st.sampled_from([96, 1 << 18])
ENCODINGS = {"utf-8": b"", "utf-8-sig": BOM_UTF8, "utf-16-le": BOM_UTF16_LE, "utf-16-be": BOM_UTF16_BE, "cp1252": b""}
VERDICT = st.tuples(
    st.none() | st.floats(),
    st.none() | st.floats(0, 1),
    st.sampled_from([None, False, True]),
    st.none() | st.sampled_from(["[]", '[{"feature":"a"}]']),
    ERRORS,
    st.none() | st.floats(0, 1),
)
SCHEMA = Schema((CategoricalColumn("c0", levels=("a",), counts=(1,)),), rows=1)


class File(NamedTuple):
    """A text table, and what is known of it without any reader."""

    data: bytes
    delimiter: str
    encoding: str
    newline: str
    """The line ending of its header; that of the file where it has one."""
    header: list[str]
    records: list[tuple[str, str, list[str]]]
    """Of each its text, its line ending, and its cells; the last record's line ending may be none at all."""


def written(cells: list[str], delimiter: str, always: bool) -> str:
    """A record as text, its cells in quotes where needed or always."""
    special = set('"\r\n ,;|\t')
    texts = ['"' + cell.replace('"', '""') + '"' if always or special & set(cell) else cell for cell in cells]
    return delimiter.join(texts)


@st.composite
def files(draw: st.DrawFn, ragged: bool = False) -> File:
    """Tables of every dialect and line ending, of a few records or none, and with every end that a file can have.

    With `ragged`, up to six records may have too few or too many fields, after as many and one more that have not.
    """
    delimiter = draw(st.sampled_from(",;\t|"))
    encoding = draw(st.sampled_from([*ENCODINGS]))
    newlines = st.sampled_from(["\n", "\r\n"])
    width = draw(st.integers(2, 4))
    header = [f"c{i}" for i in range(width)]
    widths = st.integers(1, width + 2) if ragged else st.just(width)
    rows = draw(st.lists(widths.flatmap(lambda n: st.lists(CELLS, min_size=n, max_size=n)).filter(any), max_size=6))
    if ragged:
        rows = [["x"] * width] * 7 + rows
    always = st.booleans()
    records = [(written(row, delimiter, draw(always)), draw(newlines), row) for row in rows]
    newline = draw(newlines)
    if records:
        text, ending, row = records[-1]
        records[-1] = text, draw(st.sampled_from([ending, ending, "", "\r"])), row
        own = newline
    else:
        own = draw(st.sampled_from([newline, ""]))
    ended = bool(records) and records[-1][1].endswith("\n")
    blank = draw(st.just("") | newlines) if ended else ""
    text = delimiter.join(header) + own + "".join(text + ending for text, ending, _ in records) + blank
    codec = "utf-8" if encoding == "utf-8-sig" else encoding
    return File(ENCODINGS[encoding] + text.encode(codec), delimiter, codec, own or "\n", header, records)


def columns_of(columns: Sequence[Sequence[Any]], *, tails: bool) -> VerdictColumns:
    """The columns of verdicts, with tail probabilities, the sixth, or without."""
    scores, p_values, anomalies, reasons, errors = columns[:5]
    return VerdictColumns(scores, p_values, anomalies, reasons, errors, {TAIL: columns[5]} if tails else {})


def appended(file: File, verdict: tuple[Any, ...], tails: bool) -> list[str]:
    """The cells of a verdict as text."""
    score, p_value, anomaly, reasons, error, tail = verdict
    numbers = ["" if value is None else repr(value) for value in (score, p_value, tail)]
    flag = {True: "true", False: "false", None: ""}[anomaly]
    return [*numbers[:2], flag, reasons or "", error or "", *([numbers[2]] if tails else [])]


def as_text(cells: list[str], delimiter: str) -> str:
    """Appended cells, in quotes where needed."""
    special = {'"', "\r", "\n", delimiter}
    return delimiter.join('"' + c.replace('"', '""') + '"' if special & set(c) else c for c in cells)


def rewritten(file: File, verdicts: list[tuple[Any, ...]], tails: bool, block: int) -> bytes:
    """What the writer of text tables makes of a file, read in blocks of so many bytes; all lines at once if it can."""
    out, start = io.BytesIO(), 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kilter.service.formats.text.HEAD", block)
        patch.setattr("kilter.service.formats.text.BYTES", block)
        patch.setattr("kilter.service.formats.lines.FEW", 0)
        with open_table("-", io.BytesIO(file.data)) as reader:
            writer = write_text(Output(out, Path()), reader, SCHEMA, [TAIL] if tails else [], None)
            writer.put(OutputPart(writer.begin()))
            for batch in reader.batches():
                columns = [list(column) for column in zip(*verdicts[start : start + batch.frame.height], strict=True)]
                start += batch.frame.height
                columns = columns or [[]] * 6
                writer.write(batch, columns_of(columns, tails=tails))
            writer.finish()
    assert start == len(file.records)
    return out.getvalue()


def encoded(text: str, file: File) -> bytes:
    """What is appended to a record: in the file's encoding, which is UTF-8 where the file is ASCII."""
    return text.encode("utf-8" if file.data.isascii() else file.encoding)


def expected(file: File, verdicts: list[tuple[Any, ...]], tails: bool) -> bytes:
    """Each record's own bytes, what it lacks of fields, its verdict and its own line ending, or the header's."""
    d, encoding = file.delimiter, file.encoding
    names = [*COLUMNS, *([TAIL] if tails else [])]
    bom = file.data[: len(file.data) - len(file.data.removeprefix(BOM_UTF8))]
    bom = bom or next((mark for mark in (BOM_UTF16_LE, BOM_UTF16_BE) if encoding == ENCODING_OF.get(mark)), b"")
    out = bom + (d.join([*file.header, *names]) + file.newline).encode(encoding)
    for (text, ending, cells), verdict in zip(file.records, verdicts, strict=True):
        more = d * (len(file.header) - len(cells)) + d + as_text(appended(file, verdict, tails), d)
        out += text.encode(encoding) + encoded(more, file) + (ending or file.newline).encode(encoding)
    return out


ENCODING_OF = {BOM_UTF16_LE: "utf-16-le", BOM_UTF16_BE: "utf-16-be"}


@given(files(), st.lists(VERDICT, min_size=6, max_size=6), st.booleans(), BLOCKS)
def test_a_text_table_keeps_its_bytes_and_gets_its_verdicts(
    file: File, verdicts: list[tuple[Any, ...]], tails: bool, block: int
) -> None:
    """To the last byte, in every dialect and with every line ending; a last record without one gets the header's."""
    verdicts = verdicts[: len(file.records)]
    out = rewritten(file, verdicts, tails, block)
    assert out == expected(file, verdicts, tails)
    with open_table("-", io.BytesIO(out)) as reader:
        batches = list(reader.batches())
    assert reader.columns == (*file.header, *COLUMNS, *([TAIL] if tails else []))
    taken_for_notes = {batch.first + (fault.row or 0) for batch in batches for fault in batch.faults}
    for row, cells in enumerate(row for batch in batches for row in batch.frame.rows()):
        if row not in taken_for_notes:
            assert cells == (*file.records[row][2], *appended(file, verdicts[row], tails))


@given(files(ragged=True), st.lists(VERDICT, min_size=13, max_size=13), BLOCKS)
def test_ragged_records_are_filled_up_and_never_cut(file: File, verdicts: list[tuple[Any, ...]], block: int) -> None:
    """A record that lacks fields gets empty ones before its verdict, the last one too; one with more keeps them."""
    verdicts = verdicts[: len(file.records)]
    assert rewritten(file, verdicts, False, block) == expected(file, verdicts, False)


@given(
    st.sampled_from(["", "x", 'x,"y ""z"" '.replace(",", ";"), "é"]),
    st.sampled_from(["", "\n", "\r\n", "\r"]),
    st.integers(0, 2),
    st.booleans(),
)
def test_a_quote_that_the_last_record_leaves_open_is_closed(inside: str, ending: str, before: int, crlf: bool) -> None:
    """So that its verdict stands in columns of its own, whatever the file ends with; the record's bytes stay."""
    newline = "\r\n" if crlf else "\n"
    own = ";" * before + '"' + inside.replace('"', '""')
    data = newline.join(["c0;c1;c2", "1;2;3", own]) + ending
    records = [("1;2;3", newline, ["1", "2", "3"]), (own, ending, ["", "", ""])]
    file = File(data.encode(), ";", "utf-8", newline, ["c0", "c1", "c2"], records)
    verdicts = [(1.0, 0.5, False, None, None, None), (None, None, None, None, "a quote is open", None)]
    out = rewritten(file, verdicts, False, 1 << 18).decode()
    last = own + '"' + ";" * (2 - before) + ";;;;;a quote is open" + (ending or newline)
    assert out == newline.join(["c0;c1;c2;" + ";".join(COLUMNS), "1;2;3;1.0;0.5;false;;", last])
    read = list(csv.reader(io.StringIO(out, newline=""), delimiter=";"))
    assert read[2] == [*[""] * before, inside, *[""] * (2 - before), "", "", "", "", "a quote is open"]


@given(files(), st.sampled_from(PACKINGS))
def test_compressed_output_is_the_same_once_it_is_unpacked(file: File, packing: str) -> None:
    """Whole, with the end of the last record, and read again like the plain one."""
    verdicts = [(1.5, 0.5, True, None, None, None)] * len(file.records)
    plain, out = rewritten(file, verdicts, False, 1 << 18), io.BytesIO()
    with packed(out, packing) as stream:
        stream.write(plain)
    assert out.getvalue() != plain
    with closing(Source("-", io.BytesIO(out.getvalue()))) as source:
        assert source.packed
        assert source.read(1 << 20) == plain


def test_output_that_is_not_compressed_stays_open() -> None:
    """It is closed by whoever opened it."""
    out = io.BytesIO()
    with packed(out, "") as stream:
        stream.write(b"x")
    assert (out.closed, out.getvalue()) == (False, b"x")


class Frames(Reader):
    """A typed table in memory, in batches of some rows."""

    name = "frames"

    def __init__(self, frame: pl.DataFrame, rows: int) -> None:
        self.columns = tuple(frame.columns)
        self._frame = frame
        self._rows = rows

    def __exit__(self, *_: object) -> None:
        """Nothing is open."""

    def batches(self) -> Iterator[Batch]:
        for start in range(0, max(self._frame.height, 1), self._rows):
            yield Batch(self._frame.slice(start, self._rows), start)


TYPED = st.lists(st.tuples(CELLS | st.none(), st.none() | st.integers(-9, 9), VERDICT), max_size=7)


@given(TYPED, st.integers(1, 4), st.booleans(), st.sampled_from(["csv", "parquet", "arrow"]))
def test_a_typed_table_is_written_row_by_row(rows: list[tuple[Any, ...]], size: int, tails: bool, name: str) -> None:
    """One row per record in order, however many batches: as lines of CSV, each with its ending, or typed as it was."""
    frame = pl.DataFrame([row[:2] for row in rows], {"c0": pl.String, "n": pl.Int64}, orient="row")
    verdicts = [row[2] for row in rows]
    out = io.BytesIO()
    reader = Frames(frame, size)
    with TemporaryDirectory() as folder:
        writer = format_named(name).writer()(Output(out, Path(folder)), reader, SCHEMA, [TAIL] if tails else [], None)
        writer.put(OutputPart(writer.begin()))
        for batch in reader.batches():
            columns = [list(column) for column in zip(*verdicts[batch.first : batch.first + size], strict=True)]
            columns = columns or [[]] * 6
            writer.write(batch, columns_of(columns, tails=tails))
        writer.finish()
    names = [*COLUMNS, *([TAIL] if tails else [])]
    if name != "csv":
        found = (pl.read_parquet if name == "parquet" else pl.read_ipc)(out.getvalue())
        parts: list[Any] = [*zip(*verdicts, strict=True)] if rows else [()] * 6
        given = with_verdicts(frame, columns_of(parts, tails=True))
        assert found.equals(given.select([*frame.columns, *names]), null_equal=True)
        assert found.schema == given.select([*frame.columns, *names]).schema
        return
    lines = out.getvalue().decode()
    assert lines.endswith("\n")
    read = list(csv.reader(io.StringIO(lines, newline="")))
    assert read[0] == [*frame.columns, *names]
    assert [row[:2] for row in read[1:]] == [[text or "", "" if n is None else str(n)] for text, n, _ in rows]
    assert [row[4:7] for row in read[1:]] == [
        [{True: "true", False: "false", None: ""}[anomaly], reasons or "", error or ""]
        for _, _, (_, _, anomaly, reasons, error, _) in rows
    ]


@given(files())
def test_a_text_table_becomes_a_typed_one_row_by_row(file: File) -> None:
    """From the first record to the last, with or without a line ending; what is empty is null."""
    out = io.BytesIO()
    verdicts = columns_of([[None] * len(file.records)] * 5, tails=False)
    with TemporaryDirectory() as folder, open_table("-", io.BytesIO(file.data)) as reader:
        writer = format_named("parquet").writer()(Output(out, Path(folder)), reader, SCHEMA, (), None)
        (batch,) = reader.batches()
        writer.write(batch, verdicts)
        writer.finish()
    found = pl.read_parquet(out.getvalue())
    assert found.columns == [*file.header, *COLUMNS]
    assert found.rows() == [(*(cell or None for cell in cells), *[None] * 5) for _, _, cells in file.records]
