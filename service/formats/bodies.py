"""Records in the bodies of requests: a table, a picture's file, several files of a form, an array."""

import math
from collections.abc import Iterable, Iterator, Sequence
from email.message import Message
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import numpy as np

from kilter.service.detector import KilterError, PictureError, Problem, RecordsError, Verdicts
from kilter.service.detector.arrays import Array
from kilter.service.detector.columns.base import Read
from kilter.service.detector.inputs import Table, from_records, in_order
from kilter.service.formats import Format
from kilter.service.problems import BAD_BODY, BAD_RECORDS, TOO_LARGE, RequestError

if TYPE_CHECKING:
    import polars as pl

    from kilter.service.formats.json_body import RowReader
    from kilter.service.formats.reading import Batch, Reader
    from kilter.service.formats.source import Hints

CHUNK = 1024  # records that are typed and judged together
LONGEST_NAME = 255
LONGEST_ID = 10**18  # JSON's decoder makes floats of integers that are much larger
ID = "id"
"""The field that a record may have beside the model's, and that is returned with its verdict, where these may be."""
_NPY_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


class Call(NamedTuple):
    """A request's body as it came, and what is needed to read at most `limit` records in it."""

    content: bytes
    form: Format
    reader: "RowReader"
    limit: int
    content_type: str = ""
    """As the request states it, with parameters."""
    read: Read | None = None
    """Reads a cell in another way than the column does."""
    ignore_unknown: bool = False
    """Whether records may have fields that the model does not know."""


class Body:
    """Records of a request that are being read."""

    names: Sequence[str] | None = None
    """Of each record, where the body names them; known once they are read."""

    def __init__(self) -> None:
        self.ids: list[Any] = []
        """Of each record that was read, where they may have fields that the model does not know; UNSET without one."""

    def tables(self) -> Iterator[Table]:
        """The records, some at a time. Raises RequestError if they cannot be read, or are too many."""
        raise NotImplementedError

    def keep_ids(self, call: Call, table: Table, frame: "pl.DataFrame") -> Table:
        """Note the ids in a frame if the call wants them, blanks aside; those that cannot be returned are problems."""
        if not call.ignore_unknown:
            return table
        there = ID in frame.columns and ID not in call.reader.schema.names
        cells = frame[ID].to_list() if there else [None] * frame.height
        ids, problems = check_ids(None if cell == "" else cell for cell in cells)
        self.ids += ids
        return table._replace(problems=in_order([*table.problems, *problems]))

    def check_answer(self) -> None:
        """Raise RequestError if `answer` cannot be given."""

    def answer(self, judged: Sequence[Verdicts]) -> bytes:
        """The body with the verdicts of each of its tables appended, where its format `answers`."""
        raise NotImplementedError


def check_ids(values: Iterable[Any]) -> tuple[list[Any], list[Problem]]:
    """Ids as they are returned, UNSET for a missing one, and what is wrong with those that could not be."""
    ids = [msgspec.UNSET if value is None else value for value in values]
    message = f"an {ID} is a text or a number, of up to 18 digits: send a longer one as a text"
    good = [
        value is msgspec.UNSET
        or isinstance(value, str)
        or (isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LONGEST_ID)
        for value in ids
    ]
    return ids, [Problem(row, ID, message) for row, fits in enumerate(good) if not fits]


def too_many(limit: int) -> RequestError:
    """The error for a client that sends too many records at once."""
    return RequestError(TOO_LARGE, f"a request may have {limit:,} records: send them in several requests")


def read_table_body(call: Call) -> Body:
    """A table, read as `kilter score` reads a file. Raises RequestError if it is none of its format."""
    from kilter.service.formats.source import Source

    try:
        source = Source("-", BytesIO(call.content), "the body", hints_of(call.content_type, call.reader.schema.names))
        if source.packed or source.format is not call.form:
            text = f"the body is compressed, or not {call.form.title}: send it as its Content-Type says"
            raise RequestError(BAD_BODY, text)
        return TableBody(call, source.format.opener()(source))
    except KilterError as error:
        raise RequestError(BAD_BODY, str(error)) from None


def hints_of(content_type: str, names: tuple[str, ...]) -> "Hints":
    """What a content type says of a text table: `text/csv; charset=...; header=absent; delimiter=";"`.

    The table should have columns of some names.

    Raises RequestError for a header that is neither `present` nor `absent`.
    """
    from kilter.service.formats.source import Hints

    parameters: dict[str, str] = {}
    if ";" in content_type:
        message = Message()
        message["content-type"] = content_type
        parameters = {name.lower(): value for name, value in message.get_params([])[1:]}
    header = parameters.get("header", "").lower()
    if header not in ("", "present", "absent"):
        raise RequestError(BAD_BODY, f"the content type says header={header[:40]!r}: it is present or absent")
    return Hints(
        parameters.get("delimiter"),
        parameters.get("charset"),
        None if not header else header == "present",
        names,
    )


class TableBody(Body):
    """A table that is open for reading; its batches are kept for the answer."""

    def __init__(self, call: Call, reader: "Reader") -> None:
        super().__init__()
        self._call = call
        self._reader = reader
        self._batches: list[Batch] = []

    def tables(self) -> Iterator[Table]:
        from kilter.service.formats.reading import read_batch

        rows = 0
        try:
            for batch in self._reader.batches():
                rows += batch.frame.height
                if rows > self._call.limit:
                    raise too_many(self._call.limit)
                if batch.frame.height:
                    self._batches.append(batch)
                    table = read_batch(self._call.reader.schema, batch)
                    yield self.keep_ids(self._call, table, batch.frame)
        except RecordsError as error:
            raise RequestError(BAD_RECORDS, "the columns do not fit the model", error.problems) from None
        except KilterError as error:
            raise RequestError(BAD_BODY, str(error)) from None

    def check_answer(self) -> None:
        from kilter.service.formats.lines import COLUMNS, NEAREST

        message = "the column is there already"
        present = [Problem(None, name, message) for name in (*COLUMNS, NEAREST) if name in self._reader.columns]
        if present:
            raise RequestError(BAD_RECORDS, "verdicts cannot be appended: send the table without them", present)

    def answer(self, judged: Sequence[Verdicts]) -> bytes:
        from kilter.service.formats.judge import ascii_json
        from kilter.service.formats.lines import NEAREST, VerdictColumns
        from kilter.service.formats.writers import Output

        out = BytesIO()
        further = (NEAREST,) if any(verdicts.nearest_normal is not None for verdicts in judged) else ()
        writer = self._call.form.writer()(Output(out, Path()), self._reader, self._call.reader.schema, further, None)
        out.write(writer.begin())
        for batch, verdicts in zip(self._batches, judged, strict=True):
            nothing: list[str | None] = [None] * len(verdicts.score)
            texts = nothing if verdicts.reasons is None else [ascii_json(reasons) for reasons in verdicts.reasons]
            columns = (verdicts.score.tolist(), verdicts.p_value.tolist(), verdicts.anomaly.tolist())
            nearest = [
                None if one is None else ascii_json(one) for one in verdicts.nearest_normal or [None] * len(nothing)
            ]
            writer.write(batch, VerdictColumns(*columns, texts, nothing, dict.fromkeys(further, nearest)))
        writer.finish()
        return out.getvalue()


class TablesBody(Body):
    """Records that come as tables."""

    def __init__(self, tables: Iterator[Table], names: Sequence[str] | None = None) -> None:
        super().__init__()
        self._tables = tables
        self.names = names

    def tables(self) -> Iterator[Table]:
        return self._tables


def _cells(call: Call, cells: Iterable[Any]) -> Iterator[Table]:
    """Records of one cell each, as one table."""
    schema = call.reader.schema
    [name] = schema.names
    yield from_records(schema, [{name: cell} for cell in cells], call.read)


def read_picture_body(call: Call) -> Body:
    """A picture's file as the whole body."""
    return TablesBody(_cells(call, [call.content]))


def read_array_body(call: Call) -> Body:
    """An array of records in NumPy's format npy, for a model whose records are arrays.

    What the header says is compared with the length of the body before anything is made of it. Raises RequestError.
    """
    content, source = call.content, BytesIO(call.content)
    try:
        shape, fortran, dtype = _NPY_HEADERS[np.lib.format.read_magic(source)](source)
    except Exception as error:  # a header is a literal of Python's, whose reader raises what it likes
        raise RequestError(BAD_BODY, f"the body is no npy file of version 1.0 or 2.0: {str(error)[:200]}") from None
    if dtype.kind not in "fiu" or min(shape, default=0) < 0:
        raise RequestError(BAD_BODY, f"the npy file holds {dtype} of shape {shape}: send numbers"[:300])
    start = source.tell()
    stated = math.prod(shape) * dtype.itemsize
    if len(content) - start != stated:
        raise RequestError(BAD_BODY, f"the npy file has {len(content) - start:,} bytes of values, and not {stated:,}")
    array = np.frombuffer(content, dtype, offset=start).reshape(shape, order="F" if fortran else "C")
    try:
        records: Array = call.reader.schema.columns[0].split(array)
    except PictureError as error:
        raise RequestError(BAD_RECORDS, str(error)) from None
    if len(records) > call.limit:
        raise too_many(call.limit)
    return TablesBody(_cells(call, records))


def read_form_body(call: Call) -> Body:
    """Several files in one body, as forms and `curl -F` send them (RFC 7578).

    Raises RequestError if it is damaged, or has more than it may.
    """
    from python_multipart import MultipartParser
    from python_multipart.exceptions import FormParserError
    from python_multipart.multipart import parse_options_header

    form = _Form(call.limit)
    boundary = parse_options_header(call.content_type)[1].get(b"boundary")
    if not boundary:
        raise RequestError(BAD_BODY, "the content type of several files has a boundary: let your client set it")
    try:
        callbacks: Any = {f"on_{event}": getattr(form, event) for event in _Form.EVENTS}
        parser = MultipartParser(boundary, callbacks)
        parser.write(call.content)
        parser.finalize()
    except FormParserError as error:
        raise RequestError(BAD_BODY, f"the body is no multipart/form-data: {str(error)[:200]}") from None
    if not form.finished:
        raise RequestError(BAD_BODY, "the body ends before its last boundary: send the whole of it")
    return TablesBody(_cells(call, form.contents), form.names)


class _Form:
    """Takes what the parser finds: the content of each file, and its name or, where it has none, the field's."""

    EVENTS = ("part_begin", "header_field", "header_value", "header_end", "part_data", "part_end", "end")

    def __init__(self, limit: int) -> None:
        self.names: list[str] = []
        self.contents: list[bytes] = []
        self.finished = False
        self._limit = limit
        self._field = self._value = b""
        self._name = ""
        self._pieces: list[bytes] = []

    def part_begin(self) -> None:
        if len(self.contents) >= self._limit:
            raise too_many(self._limit)
        self._name, self._pieces, self._field, self._value = "", [], b"", b""

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header_end(self) -> None:
        from python_multipart.multipart import parse_options_header

        if self._field.lower() == b"content-disposition":
            _, options = parse_options_header(self._value)
            name = options.get(b"filename") or options.get(b"name") or b""
            self._name = name.decode("utf-8", "replace")[:LONGEST_NAME]
        self._field = self._value = b""

    def part_data(self, data: bytes, start: int, end: int) -> None:
        self._pieces.append(data[start:end])

    def part_end(self) -> None:
        self.names.append(self._name)
        self.contents.append(b"".join(self._pieces))

    def end(self) -> None:
        self.finished = True
