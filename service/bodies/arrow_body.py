"""Records that come as an Arrow table, by its IPC stream or file format."""

from collections.abc import Iterator
from io import BytesIO

import polars as pl
from polars.exceptions import PanicException, PolarsError

from kilter.service.bodies.arrow_messages import Claims, TooManyRowsError
from kilter.service.bodies.body import too_many
from kilter.service.bodies.json_body import CHUNK
from kilter.service.detector import RecordsError, Schema
from kilter.service.detector.inputs import Table
from kilter.service.files.cells import to_table
from kilter.service.problems import BAD_BODY, BAD_RECORDS, RequestError


class ArrowBody:
    """An Arrow body; columns that the model does not know are passed over, as in a file."""

    def __init__(self, content: bytes, schema: Schema, limit: int, *, stream: bool) -> None:
        """Read the table. Raises RequestError if it is damaged or has too many records."""
        self._schema = schema
        source = BytesIO(content)
        try:
            Claims(content, limit).check(stream=stream)
            self._frame = pl.read_ipc_stream(source) if stream else pl.read_ipc(source)
        except TooManyRowsError:
            raise too_many(limit) from None
        except (PolarsError, PanicException, OSError, ValueError, TypeError) as error:
            form = "stream" if stream else "file"
            raise RequestError(BAD_BODY, f"the body is no Arrow IPC {form}: {str(error)[:200]}") from None

    def tables(self) -> Iterator[Table]:
        """The records, some at a time. Raises RequestError if columns lack, or hold what no field can."""
        try:
            for start in range(0, max(self._frame.height, 1), CHUNK):
                yield to_table(self._schema, self._frame.slice(start, CHUNK))
        except RecordsError as error:
            raise RequestError(BAD_RECORDS, "the columns do not fit the model", error.problems) from None
