"""Records to scores: the one path that calibration, evaluation and serving share."""

from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from kilter.service.detector import inputs
from kilter.service.detector.attribution import attribute
from kilter.service.detector.calibration import rounded
from kilter.service.detector.encode import Encoder
from kilter.service.detector.errors import KilterError, RecordsError
from kilter.service.detector.reasons import Reason, explain
from kilter.service.detector.runtime import OUTPUTS, Program
from kilter.service.detector.schema import ImageColumn, Schema
from kilter.service.detector.watched import watched

Floats = npt.NDArray[np.float64]

DECIMALS = 6
"""Decimal places of a score: beyond them are a float32's own."""


FLOATS = 1 << 22
"""Of the encoded pictures that are judged at once."""


class Scores(NamedTuple):
    """Scores of n records, NaN for one with a problem, and what they were read from."""

    score: Floats
    reasons: list[list[Reason]] | None
    table: inputs.Table
    features: npt.NDArray[np.float32]
    """The encoded records, (n, features), NaN where a value is missing; of pictures, (n, 3), what is watched of them
    (`detector.watched`)."""
    evidence: Floats | None = None
    """Of pictures, where reasons were asked for: what speaks against each place, (n, rows * columns) of the network's
    grid, of which 1 is beyond nearly all that is normal."""


class Scorer:
    """A schema and the program that scores its records; a `Detector` is one of these with a calibration."""

    def __init__(self, schema: Schema, program: Program) -> None:
        self.schema = schema
        self.program = program
        self.encoder = Encoder(schema)
        self._image = schema.image

    def table(self, data: Any) -> inputs.Table:
        """Read records (a list of dicts), a matrix (NumPy), or a frame (pandas, or any with an Arrow C stream).

        Raises KilterError if it is none of these or does not fit as a whole.
        """
        if isinstance(data, inputs.Table):
            return data
        if isinstance(data, np.ndarray):
            return inputs.from_matrix(self.schema, data)
        if hasattr(data, "columns") or hasattr(data, "__arrow_c_stream__"):
            return inputs.from_frame(self.schema, data)
        if isinstance(data, Sequence) and not isinstance(data, str | bytes):
            return inputs.from_records(self.schema, data)
        raise KilterError(f"records come as a list of dicts, an array or a frame, not as {type(data).__name__}")

    def score(self, data: Any, *, reasons: int = 0, errors: Literal["raise", "mark"] = "raise") -> Scores:
        """Score records, with up to `reasons` reasons for each.

        Raises RecordsError if any does not fit the schema; with `errors="mark"` its score is NaN instead.
        """
        table = self.table(data)
        if table.problems and (errors == "raise" or any(problem.row is None for problem in table.problems)):
            raise RecordsError(table.problems)
        if self._image is not None:
            return self._pictures(self._image, table, evidence=reasons > 0)
        x = self.encoder.encode(table)
        if not reasons:
            return Scores(_marked(self.program.run(x, ("score",))[0], table), None, table, x)
        score, reconstruction, kl, terms, expected = self.program.run(x, OUTPUTS)
        score = _marked(score, table)
        parts, expected = attribute(self.schema, self.program, x, score, reconstruction + kl, terms, expected)
        return Scores(score, explain(self.schema, table, parts, expected, limit=reasons), table, x)

    def _pictures(self, column: ImageColumn, table: inputs.Table, *, evidence: bool) -> Scores:
        """Scores of pictures, some at a time: encoded, each takes four bytes for every one that it had."""
        names = ("score", "terms") if evidence else ("score",)
        parts = [(watched(x, column), *self.program.run(x, names)) for x in self._encoded(table)]
        figures, score, *terms = (np.concatenate(found) for found in zip(*parts, strict=True))
        return Scores(_marked(score, table), None, table, figures, terms[0] if evidence else None)

    def _encoded(self, table: inputs.Table) -> Iterator[npt.NDArray[np.float32]]:
        """The encoded records: of a table all at once, of pictures as many as `FLOATS` allows."""
        step = max(1, FLOATS // self.schema.width) if self.schema.image is not None else max(1, table.rows)
        for start in range(0, max(1, table.rows), step):
            yield self.encoder.encode(inputs.cut(table, start, start + step))

    def features(self, table: inputs.Table) -> npt.NDArray[np.float32]:
        """What `Scores.features` has of records."""
        column = self.schema.image
        parts = (x if column is None else watched(x, column) for x in self._encoded(table))
        return np.concatenate([*parts])

    def outputs(self, data: Any, names: Sequence[str]) -> list[Floats]:
        """Outputs of the program (`detector.runtime`) by name. Raises RecordsError."""
        table = self.table(data)
        if table.problems:
            raise RecordsError(table.problems)
        parts = [self.program.run(x, names) for x in self._encoded(table)]
        return parts[0] if len(parts) == 1 else [np.concatenate(found) for found in zip(*parts, strict=True)]


def _marked(score: Floats, table: inputs.Table) -> Floats:
    """Scores as they are held, NaN for the records that have a problem."""
    score = rounded(score, DECIMALS)
    if table.problems:
        score[[problem.row for problem in table.problems if problem.row is not None]] = np.nan
    return score
