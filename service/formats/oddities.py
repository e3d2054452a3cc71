"""Lines of a text table that look like records and are none: comments, the header again, totals and notes."""

import re
from collections.abc import Sequence
from typing import NamedTuple

import polars as pl

from kilter.service.detector.errors import Problem
from kilter.service.formats.heading import all_values, is_value
from kilter.service.formats.reading import Batch, PlainLines

TOTAL = re.compile(
    r"((grand|sub|overall)[ -]?)?(total|totals|totale|totaal|sum|summe|somme|suma|gesamt|insgesamt|average|mean|итого"
    r"|всего|合计|总计|合計|総計)\s*:?",
    re.IGNORECASE,
)
NOTE = re.compile(r"\W|[^:]+:\s")  # how a note begins, and hardly a value
FOOTERS = 5  # most lines below a table that are looked at
ENOUGH = 5  # records that tell what a record looks like
REMEDY = "it is no record, so take it out"


class Oddities(NamedTuple):
    """What is known of a table's lines that are no records."""

    header: tuple[str, ...]
    """The fields of the header as far as records have them; none if there is none."""
    text: bytes
    """The header's own bytes, without its line ending."""
    mark: str = ""
    """What a comment begins with, where there were comments before the header."""
    units: int = 0
    """The line, if it is below the header a second one of it."""

    def marked(self, batch: Batch, lines: Sequence[int], before: Sequence[Sequence[str]], *, final: bool) -> Batch:
        """A batch with these lines as faults; `before` are earlier records, and `lines` the numbers of its own.

        With `final` no records follow.
        """
        frame, messages = batch.frame, dict[int, str]()
        if not frame.height:
            return batch
        if self.text and self.header and _begins(batch, self.text):
            same = pl.all_horizontal(pl.nth(i) == name for i, name in enumerate(self.header))
            for row in _rows(frame, same):
                messages[row] = "repeats the header"
        if self.mark and _begins(batch, self.mark.encode()):
            for row in _rows(frame, pl.nth(0).str.starts_with(self.mark)):
                messages[row] = "is a comment"
        if self.units in lines:
            messages[lines.index(self.units)] = "belongs to the header, like a line of units"
        if final and frame.height + len(before) > ENOUGH:
            messages |= _below_the_table(frame, before)
        faulty = {fault.row for fault in batch.faults}
        more = [
            Problem(row, None, f"line {lines[row]} {what}: {REMEDY}")
            for row, what in messages.items()
            if row not in faulty
        ]
        if not more:
            return batch
        odd = pl.Series([row in messages for row in range(frame.height)])
        cleared = frame.with_columns(pl.when(odd).then(pl.lit("")).otherwise(pl.all()).name.keep())
        faults = sorted([*batch.faults, *more], key=lambda fault: fault.row or 0)
        return batch._replace(frame=cleared, faults=faults)


def _begins(batch: Batch, text: bytes) -> bool:
    """Whether any record's own bytes begin so."""
    if isinstance(batch.raw, PlainLines):
        return batch.raw.data.startswith(text) or b"\n" + text in batch.raw.data
    return any(raw.startswith(text) for raw in batch.raw)


def _rows(frame: pl.DataFrame, condition: pl.Expr) -> list[int]:
    return frame.select(condition.arg_true()).to_series().to_list()


def _below_the_table(frame: pl.DataFrame, before: Sequence[Sequence[str]]) -> dict[int, str]:
    """Totals and notes at the end of a table, by their rows."""
    footers: dict[int, str] = {}
    start = max(0, frame.height - FOOTERS)
    last = frame[start:].rows()
    others = [*(row for row in before if len(row) >= frame.width), *frame[:start].tail(1000).rows()]
    for row in reversed(range(len(last))):
        filled = [(i, cell.strip()) for i, cell in enumerate(last[row]) if cell.strip()]
        above = [*others, *last[:row]]
        if not filled or len(above) < ENOUGH or not (what := _footer(filled, frame.width, above)):
            break
        footers[start + row] = what
    return footers


def _footer(filled: Sequence[tuple[int, str]], width: int, above: Sequence[Sequence[str]]) -> str:
    """What a line below a table is, by its cells that are not empty; an empty text for a record."""
    place, text = filled[0]
    if TOTAL.fullmatch(text):
        return "" if any(row[place].strip() == text for row in above) else "is a total"
    likely = width > 2 or NOTE.match(text) is not None or all_values(row[place] for row in above)
    if len(filled) == 1 and likely and not is_value(text) and _form(text) not in {_form(row[place]) for row in above}:
        alone = any(sum(bool(cell.strip()) for cell in row) < 2 for row in above)
        return "" if alone else "has one field alone, as a note has"
    return ""


def _form(text: str) -> str:
    """A text with every word as `a` and every number as `0`."""
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"\d+", "0", text.strip()))
