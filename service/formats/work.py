"""The unit of work of scoring files: a block of records becomes a part of the output, and what is to be counted of it.

It depends on nothing but the block and changes nothing, so that it may be done in any thread or process, in any order,
and twice.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
import polars as pl

from kilter.service.detector.arrays import Positions
from kilter.service.detector.shifts import ColumnCounts
from kilter.service.detector.sketch import Familiar
from kilter.service.formats.judge import BatchJudge
from kilter.service.formats.lines import COLUMNS, FILE, ROW, VerdictColumns
from kilter.service.formats.reading import Batch, Block, PlainLines
from kilter.service.formats.rejects import reject_lines
from kilter.service.formats.writers import OutputPart, Writer

Picked = Literal["all", "anomalies"] | Positions
"""Which records are written: all, those that are flagged, or those at some places in their input, in order."""


class JudgedBlock(NamedTuple):
    """What became of a block."""

    part: OutputPart
    records: int
    anomalies: int
    errors: int
    first_error: str
    """That of the first record in error, with the record's name; an empty text if there is none."""
    counts: ColumnCounts | None
    familiar: Familiar
    drawings: Sequence[tuple[str, bytes]] = ()
    """Of pictures whose drawings are wanted, by their names."""
    blamed: Mapping[str, int] = MappingProxyType({})
    """How often each field is the first reason of a flagged record."""
    rejects: bytes = b""
    """The records in error, as lines, where they are not in the part."""


@dataclass(frozen=True)
class BlockWork:
    """Judges a block and renders its part of the output."""

    judge: BatchJudge
    writer: Writer
    pack: Callable[[bytes], bytes] = bytes
    """How the part is compressed."""
    source: str | None = None
    """The name of the input, where that is appended."""
    placed: bool = False
    """Whether the record's place in its input is appended."""
    only: Picked = "all"
    """Which records are written."""
    rejecting: str | None = None
    """The name of the input, where its records in error are put aside; None where they are written like others."""

    def __call__(self, block: Block) -> JudgedBlock:
        batch, verdicts, drawings, counts, familiar = self.judge(block.read())
        further = dict(verdicts.further)
        if self.source is not None:
            further[FILE] = pl.repeat(self.source, batch.frame.height, dtype=pl.String(), eager=True)
        if self.placed:
            further[ROW] = pl.int_range(batch.first, batch.first + batch.frame.height, eager=True)
        verdicts = verdicts._replace(further=further)
        errors = pl.Series(verdicts.errors, dtype=pl.String)
        wrong = errors.is_not_null().arg_true()
        rows = self._rows(batch, verdicts, errors)
        part = self.writer.render(*((batch, verdicts) if rows is None else _picked(batch, verdicts, rows)))
        return JudgedBlock(
            part._replace(content=self.pack(part.content)),
            batch.frame.height,
            int(pl.Series(verdicts.anomalies, dtype=pl.Boolean).sum()),
            len(wrong),
            f"{batch.name(wrong[0])}: {errors[wrong[0]]}" if len(wrong) else "",
            counts,
            familiar,
            [(batch.name(row), drawing) for row, drawing in enumerate(drawings) if drawing is not None],
            _blamed(verdicts),
            b"" if self.rejecting is None else reject_lines(self.rejecting, batch, errors),
        )

    def _rows(self, batch: Batch, verdicts: VerdictColumns, errors: pl.Series) -> pl.Series | None:
        """The places of the records of a batch that are written; None of all."""
        if isinstance(self.only, str):
            if self.only == "all":
                apart = self.rejecting is not None and errors.null_count() < len(errors)
                return errors.is_null().arg_true() if apart else None
            return pl.Series(verdicts.anomalies, dtype=pl.Boolean).fill_null(value=False).arg_true()
        first, last = np.searchsorted(self.only, (batch.first, batch.first + batch.frame.height))
        return pl.Series(self.only[first:last] - batch.first, dtype=pl.Int64)


def _picked(batch: Batch, verdicts: VerdictColumns, rows: pl.Series) -> tuple[Batch, VerdictColumns]:
    """Some records of a batch, which have no faults, with their verdicts."""
    raw: Sequence[bytes] = [batch.raw[row] for row in rows] if batch.dialect is not None else ()
    if isinstance(batch.raw, PlainLines):
        raw = PlainLines(b"".join(raw), len(raw))
    columns = verdicts.frame()[rows].to_dict()
    scores, p_values, flags, reasons, errors = (columns[name] for name in COLUMNS)
    further = {name: columns[name] for name in verdicts.further}
    picked = batch._replace(frame=batch.frame[rows], faults=(), raw=raw)
    return picked, VerdictColumns(scores, p_values, flags, reasons, errors, further)


def _blamed(verdicts: VerdictColumns) -> dict[str, int]:
    """How often each field is the first reason of a flagged record."""
    reasons = pl.Series(verdicts.reasons, dtype=pl.String)
    flagged = pl.Series(verdicts.anomalies, dtype=pl.Boolean).fill_null(value=False)
    first: list[dict[str, Any]] = [
        next(iter(msgspec.json.decode(text)), {}) for text in reasons.filter(flagged).drop_nulls()
    ]
    return dict(Counter(reason["feature"] for reason in first if "feature" in reason))
