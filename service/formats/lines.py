"""The lines of a text table that is continued: each record's own bytes, then its verdict in the same dialect.

Of a batch of plain lines all are made at once, by polars; of any other each by itself. Both give the same bytes.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import polars as pl

from kilter.service.formats.charsets import UTF_8, WESTERN
from kilter.service.formats.reading import Batch, PlainLines
from kilter.service.formats.records import SENTINEL, Dialect

COLUMNS: dict[str, pl.DataType] = {
    "kilter_score": pl.Float64(),
    "kilter_p_value": pl.Float64(),
    "kilter_anomaly": pl.Boolean(),
    "kilter_reasons": pl.String(),
    "kilter_error": pl.String(),
}
TAIL, NEAREST, FILE, ROW = "kilter_tail_probability", "kilter_nearest_normal", "kilter_file", "kilter_row"
FURTHER: dict[str, pl.DataType] = {
    TAIL: pl.Float64(),
    NEAREST: pl.String(),
    FILE: pl.String(),
    ROW: pl.Int64(),
}
"""Columns after those, where they are asked for."""
JSON_COLUMNS = ("kilter_reasons", NEAREST)
"""Those of both whose texts are JSON."""
FLAG = {True: "true", False: "false", None: ""}
FEW = 128  # records up to which it is faster to write one after the other
UNUSED = "\x01"  # a delimiter that does not occur, so that a line is one field
SHORTEST, LONGEST = 1e-4, 1e15
"""From the one up to the other, Python and polars write the same digits of a float64."""

Cells = Sequence[Any] | pl.Series


class VerdictColumns(NamedTuple):
    """The appended columns of a batch, one value per row; None where a row has no verdict, reasons or error."""

    scores: Cells
    p_values: Cells
    anomalies: Cells
    reasons: Cells
    """Compact JSON in ASCII."""
    errors: Cells
    further: Mapping[str, Cells] = MappingProxyType({})
    """Values of columns of `FURTHER`, one per row, None where there is none; those that are to be written."""

    def frame(self) -> pl.DataFrame:
        """The same, with the types of the columns."""
        appended = list(zip(COLUMNS, self[:5], COLUMNS.values(), strict=True))
        appended += [(name, values, FURTHER[name]) for name, values in self.further.items()]
        return pl.DataFrame([pl.Series(*column) for column in appended])


def number_texts(numbers: pl.Series) -> pl.Series:
    """Numbers as Python writes them, null where they are."""
    texts = numbers.cast(pl.String)
    if not numbers.dtype.is_float():
        return texts
    alike = numbers.abs().is_between(SHORTEST, LONGEST, closed="left") | (numbers == 0)
    rows = (~alike).arg_true()
    return texts.scatter(rows, [repr(number) for number in numbers.gather(rows)]) if len(rows) else texts


class RecordLines:
    """How the records of a text table are continued. It never changes, so that any thread may use it."""

    def __init__(self, dialect: Dialect, columns: int, decimal: str, further: Sequence[str] = ()) -> None:
        """Of a table of so many columns; `decimal` is the sign in the appended numbers, `further` columns are last."""
        self._dialect = dialect
        self._width = columns + dialect.surplus
        self._further = tuple(further)
        self._point = None if decimal in (".", dialect.delimiter) else decimal
        self._newline = b"\n" if dialect.newline == b"\r" else dialect.newline
        special = {"\r", "\n", '"', dialect.quote, dialect.delimiter, dialect.escape or dialect.quote}
        # A delimiter that occurs in numbers and flags is possible, though hardly wise.
        self._always = dialect.padded or dialect.delimiter.isalnum() or dialect.delimiter in "+-."
        self._special = re.compile(f"[{re.escape(''.join(special))}]")
        self._specials = sorted(special)

    def header(self, header: bytes) -> bytes:
        """The first line of the output, with the table's byte order mark."""
        more = self._dialect.delimiter.join(["", *COLUMNS, *self._further])
        return self._dialect.bom + self._recoded(self._line(header, more, self._dialect))

    def render(self, batch: Batch, verdicts: VerdictColumns) -> bytes:
        """The records of a batch with their verdicts."""
        lines = self._all_at_once(batch, verdicts)
        return self._recoded(self._one_by_one(batch, verdicts) if lines is None else lines)

    def _all_at_once(self, batch: Batch, verdicts: VerdictColumns) -> bytes | None:
        """The lines, if they are many and plain."""
        raw, dialect = batch.raw, batch.dialect or self._dialect
        if not isinstance(raw, PlainLines) or len(raw) <= FEW or batch.faults or self._always:
            return None
        data, in_utf_8 = raw.data, dialect.recoded or dialect.encoding == UTF_8
        returns = data.count(b"\r") if b"\r" in data else 0
        ending = b"\r\n" if returns else b"\n"
        if (
            (returns and returns != data.count(b"\n"))
            or (ending != self._newline and not data.endswith(b"\n"))
            or UNUSED.encode() in data
            or not (dialect.delimiter.isascii() and dialect.quote.isascii())
            or not (data.isascii() or (in_utf_8 and _is_utf_8(data)))
        ):
            return None
        lines = pl.read_csv(
            data, has_header=False, schema={"": pl.String}, separator=UNUSED, quote_char=None, encoding="utf8"
        )
        appended = [self._texts(column) for column in verdicts.frame()]
        if lines.height != len(raw) or not (in_utf_8 or all(map(_is_ascii, appended))):
            return None
        out = io.BytesIO()
        pl.DataFrame([lines.to_series(), *(texts.alias(str(i)) for i, texts in enumerate(appended))]).write_csv(
            out,
            include_header=False,
            separator=dialect.delimiter,
            quote_style="never",
            line_terminator=ending.decode(),
        )
        return out.getvalue()

    def _texts(self, column: pl.Series) -> pl.Series:
        """An appended column as it is written, quoted where needed."""
        if column.dtype == pl.Boolean:
            return column.cast(pl.String)
        if column.dtype != pl.String:
            texts = number_texts(column)
            return texts.str.replace(".", self._point, literal=True) if self._point else texts
        if column.null_count() == len(column):
            return column
        rows = column.str.contains_any(self._specials).arg_true()
        return column.scatter(rows, list(map(self._quoted, column.gather(rows)))) if len(rows) else column

    def _one_by_one(self, batch: Batch, verdicts: VerdictColumns) -> bytes:
        dialect, delimiter = batch.dialect or self._dialect, self._dialect.delimiter
        faulty = {fault.row for fault in batch.faults}
        further = [verdicts.further[name] for name in self._further]
        out: list[bytes] = []
        for row, (raw, score, p_value, anomaly, reasons, error, *more) in enumerate(
            zip(batch.raw, *verdicts[:5], *further, strict=True)
        ):
            flag = self._quoted(FLAG[anomaly])
            fields = ("", self._number(score), self._number(p_value), flag, self._quoted(reasons))
            verdict = f"{delimiter.join(fields)}{delimiter}{self._quoted(error)}"
            for value in more:
                verdict += f"{delimiter}{self._cell(value)}"
            filling = self._filling(raw, dialect) if row in faulty else ""
            out.append(self._line(raw, filling + verdict, dialect))
        return b"".join(out)

    def _recoded(self, data: bytes) -> bytes:
        dialect = self._dialect
        if not dialect.recoded:
            return data
        text = data.decode()
        text = text.replace("\n", "\r") if dialect.newline == b"\r" else text
        return text.encode(dialect.encoding, "backslashreplace")

    def _line(self, raw: bytes, more: str, dialect: Dialect) -> bytes:
        """A record with `more` before its line ending, in an encoding in which it reads as before."""
        body = raw.removesuffix(b"\n").removesuffix(b"\r")
        ending = raw[len(body) :] or self._newline
        if more.isascii() or dialect.recoded:
            return body + more.encode() + ending
        encoding = dialect.encoding
        if encoding == UTF_8 and not _is_utf_8(body):
            encoding = WESTERN
        return body + more.encode(encoding, "backslashreplace") + ending

    def _cell(self, value: str | float | None) -> str:
        return self._quoted(value) if isinstance(value, str) else self._number(value)

    def _number(self, value: float | None) -> str:
        if value is None:
            return self._quoted("")
        if self._point is None and not self._always:
            return repr(value)
        return self._quoted(repr(value).replace(".", self._point or "."))

    def _quoted(self, text: str | None) -> str:
        if not self._always and (not text or not self._special.search(text)):
            return text or ""
        quote, escape = self._dialect.quote, self._dialect.escape
        text = (text or "").replace(escape, 2 * escape) if escape else text or ""
        return quote + text.replace(quote, (escape or quote) + quote) + quote

    def _filling(self, raw: bytes, dialect: Dialect) -> str:
        """What closes a quote that a record leaves open, and gives it the fields that it lacks."""
        lines = io.StringIO(dialect.decoded(raw).rstrip("\r\n") + "\n" + SENTINEL)
        try:
            fields = next(dialect.rows(lines))
        except csv.Error:
            return ""
        closing = dialect.quote if fields and fields[-1].endswith(SENTINEL.rstrip(" \n")) else ""
        return closing + dialect.delimiter * (self._width - len(fields))


def _is_utf_8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_ascii(texts: pl.Series) -> bool:
    return bool((texts.str.len_bytes() == texts.str.len_chars()).all())
