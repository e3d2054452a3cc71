"""Writes rows with their verdicts: text records with their own bytes, and typed tables."""

import bz2
import csv
import gzip
import io
import lzma
import re
import sys
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, BinaryIO, NamedTuple, Protocol

import polars as pl

from kilter.service.files.dialect import Dialect, decode
from kilter.service.files.output import Place
from kilter.service.files.source import Kind
from kilter.service.files.tables import Batch
from kilter.service.files.typed_rows import TypedRows

COLUMNS: dict[str, pl.DataType] = {
    "kilter_score": pl.Float64(),
    "kilter_p_value": pl.Float64(),
    "kilter_anomaly": pl.Boolean(),
    "kilter_reasons": pl.String(),
    "kilter_error": pl.String(),
}
TAIL = "kilter_tail_probability"
FLAG = {True: "true", False: "false", None: ""}


if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd


class Judged(NamedTuple):
    """The appended columns of a batch, one value per row; None where a row has no verdict, reasons or error."""

    scores: Sequence[float | None]
    p_values: Sequence[float | None]
    anomalies: Sequence[bool | None]
    reasons: Sequence[str | None]
    """Compact JSON in ASCII."""
    errors: Sequence[str | None]
    tails: Sequence[float | None] | None = None
    """Tail probabilities, None for a record that is not in the tail; None if they are not written."""


class Writer(Protocol):
    """Writes batches in their order."""

    def write(self, batch: Batch, judged: Judged) -> None:
        """Write the rows of a batch with their verdicts."""

    def finish(self) -> None:
        """Write what is then still missing."""


def packed(file: BinaryIO, packing: str) -> AbstractContextManager[Any]:
    """A file that compresses what is written to it, by the ending of its name."""
    match packing:
        case ".gz":
            return gzip.GzipFile(fileobj=file, mode="wb", filename="", mtime=0, compresslevel=6)
        case ".bz2":
            return bz2.open(file, "wb")
        case ".xz":
            return lzma.open(file, "wb")
        case ".zst":
            opened: AbstractContextManager[Any] = zstd.open(file, "wb")
            return opened
        case _:
            return nullcontext(file)


class RecordWriter:
    """Continues a text table: each record's own bytes, and the verdict in the same dialect after them."""

    def __init__(
        self, file: BinaryIO, dialect: Dialect, header: bytes, columns: int, decimal: str, *, tails: bool = False
    ) -> None:
        """Write the header. `decimal` is the sign in the appended numbers; `tails` appends tail probabilities too."""
        self._file = file
        self._dialect = dialect
        self._columns = columns
        self._point = None if decimal == "." else decimal
        self._special = re.compile(f'["\r\n{re.escape(dialect.delimiter)}]')
        file.write(dialect.bom)
        self._put(self._line(header, dialect.delimiter.join(["", *COLUMNS, *([TAIL] if tails else [])])))

    def write(self, batch: Batch, judged: Judged) -> None:
        delimiter = self._dialect.delimiter
        faulty = {fault.row for fault in batch.faults}
        out: list[bytes] = []
        for row, (raw, score, p_value, anomaly, reasons, error) in enumerate(zip(batch.raw, *judged[:5], strict=True)):
            fields = ("", self._number(score), self._number(p_value), FLAG[anomaly], self._quoted(reasons))
            verdict = f"{delimiter.join(fields)}{delimiter}{self._quoted(error)}"
            if judged.tails is not None:
                verdict += f"{delimiter}{self._number(judged.tails[row])}"
            out.append(self._line(raw, self._filling(raw) + verdict if row in faulty else verdict))
        self._put(b"".join(out))

    def finish(self) -> None:
        self._file.flush()

    def _put(self, data: bytes) -> None:
        encoding = self._dialect.encoding
        self._file.write(data if encoding == "utf-8" else data.decode().encode(encoding))

    def _line(self, raw: bytes, more: str) -> bytes:
        """A record with `more` before its line ending, in an encoding in which it reads as before."""
        body = raw.removesuffix(b"\n").removesuffix(b"\r")
        ending = raw[len(body) :] or self._dialect.newline
        if more.isascii():
            return body + more.encode() + ending
        try:
            body.decode()
        except UnicodeDecodeError:
            return body + more.encode("cp1252", "backslashreplace") + ending
        return body + more.encode() + ending

    def _number(self, value: float | None) -> str:
        if value is None:
            return ""
        return repr(value) if self._point is None else self._quoted(repr(value).replace(".", self._point))

    def _quoted(self, text: str | None) -> str:
        if not text:
            return ""
        return '"' + text.replace('"', '""') + '"' if self._special.search(text) else text

    def _filling(self, raw: bytes) -> str:
        """What closes a quote that a record leaves open, and gives it the fields that it lacks."""
        try:
            fields = next(csv.reader(io.StringIO(decode(raw).rstrip("\r\n") + "\n"), delimiter=self._dialect.delimiter))
        except csv.Error:
            return ""
        closing = '"' if fields and fields[-1].endswith("\n") else ""
        return closing + self._dialect.delimiter * (self._columns - len(fields))


class FrameWriter:
    """Writes rows as polars does: CSV at once, Parquet and Arrow in parts that `finish` puts together."""

    def __init__(self, place: Place, file: BinaryIO, kind: Kind, typed: TypedRows) -> None:
        self._place = place
        self._file = file
        self._kind = kind
        self._typed = typed
        self._count = 0

    def write(self, batch: Batch, judged: Judged) -> None:
        appended = list(zip(COLUMNS, judged[:5], COLUMNS.values(), strict=True))
        if judged.tails is not None:
            appended.append((TAIL, judged.tails, pl.Float64()))
        verdicts = [pl.Series(*column) for column in appended]
        frame = self._typed.frame(batch).with_columns(verdicts)
        if self._kind == "csv":
            self._file.write(frame.write_csv(include_header=not self._count).encode())
        else:
            frame.write_ipc(self._place.parts / f"{self._count:08d}.part", compression="lz4")
        self._count += 1

    def finish(self) -> None:
        if self._kind == "csv":
            self._file.flush()
            return
        rows = pl.scan_ipc(sorted(self._place.parts.glob("*.part")), glob=False).cast(
            dict.fromkeys(self._typed.whole, pl.Int64())
        )
        if self._kind == "parquet":
            rows.sink_parquet(self._file)
        else:
            rows.sink_ipc(self._file, compression="lz4")
