"""Opens the records of files, of whatever format; and whole tables in memory, for training."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

import polars as pl
from polars.exceptions import PolarsError

from kilter.service.detector.columns.cells import Decimal
from kilter.service.detector.errors import KilterError
from kilter.service.detector.schema import Schema
from kilter.service.formats.source import Source
from kilter.service.formats.tables import Reader

SHOWN = 5
"""Faults of a file that are listed in full."""
COMMA = r"^[+-]?[0-9]*,[0-9]+([eE][+-]?[0-9]+)?$"
POINT = r"^[+-]?[0-9]*\.[0-9]+([eE][+-]?[0-9]+)?$"
WHOLE = r"^[+-]?[0-9]+$"


class Frame(NamedTuple):
    """Every row of some files, one after the other."""

    frame: pl.DataFrame
    text: bool
    """Whether the cells are texts as they stand in the files, none of them null."""
    decimal: Decimal
    notes: tuple[str, ...]
    """What a person should know about how the files were read: endings that lie, rows that were left out."""


def open_table(path: str | Path, stdin: BinaryIO | None = None) -> Reader:
    """Open the table in a file, or on standard input for `-`. Raises KilterError if it is no table that can be read.

    Its `batches` are then read in bounded memory, except from an npz file or an Arrow stream, which are read whole.
    """
    source = Source(path, stdin)
    try:
        return source.format.opener()(source)
    except BaseException:
        source.close()
        raise


def open_pictures(path: str | Path, _: BinaryIO | None = None) -> Reader:
    """Open a folder of pictures, one picture, or a stack of them. Raises KilterError if there is none."""
    from kilter.service.formats.pictures import PictureReader

    return PictureReader(Path(path))


READERS: dict[str, Callable[[str | Path, BinaryIO | None], Reader]] = {"table": open_table, "image": open_pictures}
"""What opens the records of a modality."""


def read_frame(paths: Sequence[str | Path], stdin: BinaryIO | None = None) -> Frame:
    """Read files that have the same columns, in any order, into one frame; rows with a fault are left out and noted.

    Raises KilterError, which names the file, if one cannot be read, has no rows, or has other columns or types than
    the first.
    """
    frames: list[pl.DataFrame] = []
    notes: list[str] = []
    texts: list[bool] = []
    delimiters: set[str] = set()
    for path in paths:
        with open_table(path, stdin) as table:
            if frames:
                _check_same(table, frames[0].columns, str(paths[0]))
            frame, faults = _rows(table)
            frames.append(frame.select(frames[0].columns) if frames else frame)
            notes += table.notes
            notes += _listed(table.name, faults)
            texts.append(table.dialect is not None)
            delimiters.add(table.dialect.delimiter if table.dialect else "")
    if any(texts) and not all(texts):
        raise KilterError("text tables and typed ones (Parquet, Arrow, npz) cannot be read together: convert one kind")
    try:
        whole = pl.concat(frames, how="vertical_relaxed")
    except PolarsError as error:
        raise KilterError(f"the files {', '.join(map(str, paths))} have different types: {error}") from None
    decimal: Decimal = "."
    if texts[0] and delimiters != {","}:
        decimal = find_decimal(whole)
    return Frame(whole, texts[0], decimal, tuple(notes))


def _rows(table: Reader) -> tuple[pl.DataFrame, list[str]]:
    parts: list[pl.DataFrame] = []
    messages: list[str] = []
    for batch in table.batches():
        bad = [fault.row for fault in batch.faults]
        messages += [fault.message for fault in batch.faults]
        frame = batch.frame
        if bad:
            keep = pl.Series([True] * frame.height)
            frame = frame.filter(keep.set(pl.Series(range(frame.height)).is_in(bad), value=False))
        parts.append(frame)
    whole = pl.concat(parts)
    if not whole.height:
        raise KilterError(
            f"{table.name} has a header and no rows"
            if not messages
            else f"{table.name} has no row that can be read: {messages[0]}"
        )
    return whole, messages


def _listed(name: str, messages: Sequence[str]) -> list[str]:
    if not messages:
        return []
    rows = "1 row is" if len(messages) == 1 else f"{len(messages):,} rows are"
    more = f"; and {len(messages) - SHOWN:,} more" if len(messages) > SHOWN else ""
    return [f"{name}: {rows} left out, as they cannot be read: {'; '.join(messages[:SHOWN])}{more}"]


def _check_same(table: Reader, expected: Sequence[str], first: str) -> None:
    absent = [name for name in expected if name not in table.columns]
    extra = [name for name in table.columns if name not in expected]
    if absent or extra:
        parts = [f"lacks {', '.join(map(repr, absent))}"] if absent else []
        parts += [f"has besides {', '.join(map(repr, extra))}"] if extra else []
        raise KilterError(
            f"{table.name} has not the columns of {first}: it {' and '.join(parts)}. All files need the same columns"
        )


def find_decimal(frame: pl.DataFrame) -> Decimal:
    """The decimal sign of a frame of texts: `,` if some column's numbers have one, and no column's a point."""
    sign: Decimal = "."
    tokens = [*Schema((), 0).null_tokens]
    for column in frame.iter_columns():
        cells = column.str.strip_chars()
        cells = cells.filter(~cells.is_in(tokens))
        if not len(cells):
            continue
        numbers = cells.str.contains(WHOLE)
        commas = cells.str.contains(COMMA)
        if commas.any() and (numbers | commas).sum() >= 0.9 * len(cells):
            sign = ","
        elif (points := cells.str.contains(POINT)).any() and (numbers | points).all():
            return "."
    return sign
