"""The unit of work of scoring files: a block of records becomes a part of the output, and what is to be counted of it.

It depends on nothing but the block and changes nothing, so that it may be done in any thread or process, in any order,
and twice.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import polars as pl

from kilter.service.detector.shifts import ColumnCounts
from kilter.service.detector.sketch import Familiar
from kilter.service.formats.judge import BatchJudge
from kilter.service.formats.lines import FILE, ROW
from kilter.service.formats.reading import Block
from kilter.service.formats.writers import OutputPart, Writer


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


@dataclass(frozen=True)
class BlockWork:
    """Judges a block and renders its part of the output."""

    judge: BatchJudge
    writer: Writer
    pack: Callable[[bytes], bytes] = bytes
    """How the part is compressed."""
    source: str | None = None
    """The name of the input, where that and the record's place in it are appended."""

    def __call__(self, block: Block) -> JudgedBlock:
        batch, verdicts, drawings, counts, familiar = self.judge(block.read())
        if self.source is not None:
            rows = pl.int_range(batch.first, batch.first + batch.frame.height, eager=True)
            source = pl.repeat(self.source, len(rows), dtype=pl.String(), eager=True)
            verdicts = verdicts._replace(further={**verdicts.further, FILE: source, ROW: rows})
        part = self.writer.render(batch, verdicts)
        errors = pl.Series(verdicts.errors, dtype=pl.String)
        wrong = errors.is_not_null().arg_true()
        return JudgedBlock(
            part._replace(content=self.pack(part.content)),
            batch.frame.height,
            int(pl.Series(verdicts.anomalies, dtype=pl.Boolean).sum()),
            len(wrong),
            f"{batch.name(wrong[0])}: {errors[wrong[0]]}" if len(wrong) else "",
            counts,
            familiar,
            [(batch.name(row), drawing) for row, drawing in enumerate(drawings) if drawing is not None],
        )
