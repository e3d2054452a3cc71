"""Records that come as CSV, read as `kilter score` reads a file, and their verdicts as CSV."""

from collections.abc import Iterator, Sequence
from io import BytesIO
from typing import cast

from kilter.service.bodies.body import too_many
from kilter.service.detector import KilterError, Problem, RecordsError, Schema, Verdicts
from kilter.service.detector.inputs import Table
from kilter.service.files.cells import to_table
from kilter.service.files.dialect import Dialect
from kilter.service.files.scoring import ascii_json, decimal_sign
from kilter.service.files.source import Source
from kilter.service.files.tables import Batch
from kilter.service.files.text import TextTable
from kilter.service.files.writers import COLUMNS, Judged, RecordWriter
from kilter.service.problems import BAD_BODY, BAD_RECORDS, RequestError


class CsvBody:
    """A CSV body: its records by `tables`, and then, by `answer`, the same with their verdicts."""

    def __init__(self, content: bytes, schema: Schema, limit: int) -> None:
        """Read the header. Raises RequestError if it is no CSV."""
        self._schema = schema
        self._limit = limit
        self._batches: list[Batch] = []
        try:
            source = Source("-", BytesIO(content), "the body")
            if source.packed or source.kind != "csv":
                raise RequestError(BAD_BODY, "the body is compressed or binary, and no CSV: send the text itself")
            self._text = TextTable(source)
        except KilterError as error:
            raise RequestError(BAD_BODY, str(error)) from None

    def tables(self) -> Iterator[Table]:
        """The records, some at a time. Raises RequestError if columns lack, or there are more than the limit."""
        rows = 0
        try:
            for batch in self._text.batches():
                rows += batch.frame.height
                if rows > self._limit:
                    raise too_many(self._limit)
                if batch.frame.height:
                    self._batches.append(batch)
                    yield to_table(self._schema, batch.frame, faults=batch.faults)
        except RecordsError as error:
            raise RequestError(BAD_RECORDS, "the columns do not fit the model", error.problems) from None
        except KilterError as error:
            raise RequestError(BAD_BODY, str(error)) from None

    def check_free(self) -> None:
        """Raise RequestError if a column is there already that `answer` appends."""
        taken = [Problem(None, name, "the column is there already") for name in COLUMNS if name in self._text.columns]
        if taken:
            raise RequestError(BAD_RECORDS, "verdicts cannot be appended: send the table without them", taken)

    def answer(self, judged: Sequence[Verdicts]) -> bytes:
        """Each record's own bytes with its verdict after them, as `kilter score` writes them."""
        out = BytesIO()
        dialect = cast(Dialect, self._text.dialect)
        decimal = decimal_sign(dialect, self._schema)
        writer = RecordWriter(out, dialect, self._text.header, len(self._text.columns), decimal)
        for batch, verdicts in zip(self._batches, judged, strict=True):
            nothing: list[str | None] = [None] * len(verdicts.score)
            texts = nothing if verdicts.reasons is None else [ascii_json(reasons) for reasons in verdicts.reasons]
            columns = (verdicts.score.tolist(), verdicts.p_value.tolist(), verdicts.anomaly.tolist())
            writer.write(batch, Judged(*columns, texts, nothing))
        return out.getvalue()
