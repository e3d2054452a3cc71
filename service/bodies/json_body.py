"""Records that come as JSON: row by row, column by column, or a record in each line."""

from collections.abc import Iterator, Sequence
from typing import Any

from kilter.service.bodies import body
from kilter.service.bodies.rows import COLUMNS, RowReader
from kilter.service.detector import Problem, Schema
from kilter.service.detector.inputs import Read, Table, from_columns, from_records
from kilter.service.problems import BAD_RECORDS, RequestError

CHUNK = 1024
"""Records that are typed and judged together."""


class JsonBody:
    """A body of `{"records": [...]}`, `{"columns": {...}}` or one bare record."""

    def __init__(
        self,
        content: bytes,
        schema: Schema,
        reader: RowReader,
        limit: int,
        read: Read | None = None,
    ) -> None:
        self._read = read
        self._content = content
        self._schema = schema
        self._reader = reader
        self._limit = limit

    def tables(self) -> Iterator[Table]:
        """The records, some at a time. Raises RequestError if the body is no such JSON, or they are too many."""
        records = self._reader.records(self._content)
        if records is not None:
            yield from self._fast(records)
        else:
            yield from self._slow()

    def short(self) -> list[Table]:
        """The same, of a body that is short enough to be read at once."""
        table = self._reader.short(self._content, min(CHUNK, self._limit))
        return [table] if table is not None else list(self.tables())

    def _fast(self, records: Sequence[Any]) -> Iterator[Table]:
        if len(records) > self._limit:
            raise body.too_many(self._limit)
        slow: list[Table] | None = None
        for start in range(0, len(records), CHUNK):
            piece = records if len(records) <= CHUNK else records[start : start + CHUNK]
            table = self._reader.table(piece)
            if table is None:
                slow = slow or list(self._slow())
                table = slow[start // CHUNK]
            yield table

    def _slow(self) -> Iterator[Table]:
        value = body.decode(self._content, self._limit)
        columns = value.get(COLUMNS) if isinstance(value, dict) else None
        if isinstance(columns, dict):
            yield from self._columns(value, columns)
            return
        records = body.records_of(value, self._schema, self._limit)
        for start in range(0, len(records), CHUNK):
            yield from_records(self._schema, records[start : start + CHUNK], self._read)

    def _columns(self, value: dict[str, Any], columns: dict[str, Any]) -> Iterator[Table]:
        if len(value) > 1:
            body.refuse_beside(value, COLUMNS)
        wrong = [
            Problem(None, name, "a column is a list of values, one for each record")
            for name, values in columns.items()
            if not isinstance(values, list)
        ]
        lengths = {name: len(values) for name, values in columns.items() if isinstance(values, list)}
        if not wrong and len(set(lengths.values())) > 1:
            longest = max(lengths.values())
            wrong = [
                Problem(None, name, f"the column has {count:,} values, another has {longest:,}: all have as many")
                for name, count in lengths.items()
                if count < longest
            ]
        if wrong:
            raise RequestError(BAD_RECORDS, body.COLUMNS_SHAPE, wrong)
        rows = max(lengths.values(), default=0)
        if rows > self._limit:
            raise body.too_many(self._limit)
        for start in range(0, max(rows, 1), CHUNK):
            piece = {name: found[start : start + CHUNK] for name, found in columns.items()}
            yield from_columns(self._schema, piece, self._read)


class LinesBody:
    """A body with a record in each line; lines without anything are passed over."""

    def __init__(
        self,
        content: bytes,
        schema: Schema,
        reader: RowReader,
        limit: int,
        read: Read | None = None,
    ) -> None:
        self._read = read
        self._lines = [line for line in content.removeprefix(body.BOM).split(b"\n") if line.strip()]
        self._schema = schema
        self._reader = reader
        self._limit = limit

    def tables(self) -> Iterator[Table]:
        """The records, some at a time. Raises RequestError if they are too many."""
        if len(self._lines) > self._limit:
            raise body.too_many(self._limit)
        for start in range(0, len(self._lines), CHUNK):
            lines = self._lines[start : start + CHUNK]
            records = self._reader.lines(lines)
            table = None if records is None else self._reader.table(records)
            yield self._slow(lines) if table is None else table

    def short(self) -> list[Table]:
        """The same, of a body that is short enough to be read at once."""
        return list(self.tables())

    def _slow(self, lines: Sequence[bytes]) -> Table:
        problems: list[Problem] = []
        records: list[Any] = []
        for row, line in enumerate(lines):
            try:
                records.append(body.decode(line))
            except RequestError as error:
                problems.append(Problem(row, None, error.detail.replace("the body", "the line")))
                records.append(None)
        unread = {problem.row for problem in problems}
        table = from_records(self._schema, records, self._read)
        problems += [problem for problem in table.problems if problem.row not in unread]
        return table._replace(problems=sorted(problems, key=lambda problem: problem.row or 0))
