"""Opens a table in a file or on standard input, of whatever format."""

from pathlib import Path
from typing import BinaryIO

from kilter.service.files.source import Source
from kilter.service.files.tables import Table
from kilter.service.files.text import TextTable
from kilter.service.files.typed import TypedTable


def open_table(path: str | Path, stdin: BinaryIO | None = None) -> Table:
    """Open a file, or standard input for `-`. Raises KilterError if it is no table that can be read.

    Its `batches` are then read in bounded memory, except from an npz file or an Arrow stream, which are read whole.
    """
    source = Source(path, stdin)
    try:
        return TextTable(source) if source.kind == "csv" else TypedTable(source)
    except BaseException:
        source.close()
        raise
