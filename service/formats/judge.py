"""Judges the batches of a file: what is wanted of each record, as the columns that are appended to it."""

import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import msgspec
import numpy as np
import polars as pl

from kilter.service.detector import Detector, NearestNormal, Reason, Region
from kilter.service.detector.arrays import Floats, Mask
from kilter.service.detector.inputs import Table, take
from kilter.service.detector.shifts import ColumnCounts, count_columns
from kilter.service.detector.sketch import Familiar
from kilter.service.detector.verdicts import Verdicts
from kilter.service.formats.lines import NEAREST, TAIL, VerdictColumns
from kilter.service.formats.reading import Batch, read_batch

REASONS = 5
Observer = Callable[[Table, Verdicts, Mask, float], None]
"""Is told of a table, the verdicts on it, which of its records have one, and how many seconds they took."""
Explained = Literal["anomalies", "all", "none"]
"""Which records get reasons."""


class JudgedBatch(NamedTuple):
    """A batch with its verdicts, and a drawing of each record where drawings are wanted; None for one in error."""

    batch: Batch
    verdicts: VerdictColumns
    drawings: Sequence[bytes | None] = ()
    counts: ColumnCounts | None = None
    """What the records hold of each column; None where there are none."""
    familiar: Familiar = Familiar()
    """How many of the records were in the training, as far as that can be told."""


@dataclass(frozen=True)
class BatchJudge:
    """Judges batches, and gives for each record what is wanted of it."""

    detector: Detector
    explained: Explained = "anomalies"
    limit: int = REASONS
    """Most reasons of a record."""
    cut: float | None = None
    """Anomalies are the records with p-values up to it, if it is given."""
    tails: bool = False
    """Whether tail probabilities are given."""
    drawings: bool = False
    keep: tuple[str, ...] | None = None
    """The fields that are not changed in the nearest normals of anomalies, if these are given."""
    observer: Observer | None = None
    """Is told of each batch."""

    def __call__(self, batch: Batch) -> JudgedBatch:
        """The verdicts on a batch."""
        detector, modality = self.detector, self.detector.modality
        table = read_batch(detector.schema, batch)
        if not table.rows:
            named = {TAIL: self.tails, NEAREST: self.keep is not None}
            return JudgedBatch(batch, VerdictColumns([], [], [], [], [], {name: [] for name in named if named[name]}))
        every = self.explained == "all" or self.drawings
        began = time.perf_counter()
        verdicts = detector.score(table, reasons=self.limit if every else 0, errors="mark")
        seconds = time.perf_counter() - began
        flags = verdicts.anomaly if self.cut is None else verdicts.p_value <= self.cut
        errors = _messages(verdicts, named=batch.cells is None)
        good = np.ones(table.rows, bool)
        good[list(errors)] = False
        if self.observer is not None:
            self.observer(table, verdicts, good, seconds)
        strange = good if self.explained == "all" else good & flags & (self.explained == "anomalies")
        reasons = self._reasons(batch, table, verdicts if every else None, strange) if strange.any() else {}
        drawings: list[bytes | None] = []
        if self.drawings and batch.cells is not None and verdicts.evidence is not None:
            drawings = [
                modality.draw(cell, verdicts.evidence[row]) if good[row] else None
                for row, cell in enumerate(batch.cells)
            ]
        further: dict[str, pl.Series] = {}
        if self.tails:
            tail = verdicts.tail_probability
            none = pl.repeat(None, table.rows, dtype=pl.Float64(), eager=True)
            further[TAIL] = none if tail is None else pl.Series(tail, nan_to_null=True)
        if self.keep is not None:
            nearest = detector.normals.find_all(table, good & flags, detector.normals.kept(self.keep))
            texts = {row: ascii_json(one) for row, one in enumerate(nearest) if one is not None}
            further[NEAREST] = sparse_texts(texts, table.rows)
        counts = count_columns(modality, table, verdicts.features)
        familiar = Familiar() if detector.sketch is None else detector.sketch.look_up(verdicts.features)
        columns = VerdictColumns(
            _where(good, verdicts.score),
            _where(good, verdicts.p_value),
            _where(good, flags),
            sparse_texts(reasons, table.rows),
            sparse_texts(errors, table.rows),
            further,
        )
        return JudgedBatch(batch, columns, drawings, counts, familiar)

    def _reasons(self, batch: Batch, table: Table, explained: Verdicts | None, wanted: Mask) -> dict[int, str]:
        """The reasons of the wanted records, by their rows; `explained` are verdicts that have those of all."""
        modality, rows = self.detector.modality, np.flatnonzero(wanted).tolist()
        places = range(len(rows)) if explained is None else rows
        explained = explained or self.detector.score(take(table, wanted), reasons=self.limit)
        sizes = None if batch.cells is None else [modality.size(batch.cells[row]) for row in rows]
        reasons = modality.reasons(explained, places, self.limit, sizes)
        return dict(zip(rows, map(ascii_json, reasons), strict=True))


def _messages(verdicts: Verdicts, *, named: bool) -> dict[int, str]:
    """The problems of each record that has any, by its row; with the field's name where records have several."""
    messages: dict[int, str] = {}
    for row, field, message in verdicts.problems:
        if row is not None:
            text = f"field {field!r}: {message}" if named and field is not None else message
            messages[row] = f"{messages[row]}; {text}" if row in messages else text
    return messages


def _where(good: Mask, values: Floats | Mask) -> pl.Series:
    """Values, null for records that are in error."""
    series = pl.Series(values)
    return series if good.all() else series.set(pl.Series(~good), None)


def sparse_texts(texts: dict[int, str], rows: int) -> pl.Series:
    """A column of so many rows, most of which are null, of texts by their rows."""
    column = pl.repeat(None, rows, dtype=pl.String(), eager=True)
    return column.scatter(list(texts), list(texts.values())) if texts else column


def ascii_json(reasons: Sequence[Reason | Region] | NearestNormal) -> str:
    """Reasons, or a nearest normal, as compact JSON that stands in a file of any encoding."""
    text = msgspec.json.encode(reasons).decode()
    return text if text.isascii() else json.dumps(json.loads(text), separators=(",", ":"))
