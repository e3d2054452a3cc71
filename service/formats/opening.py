"""Opens what is to be scored, and checks that it has what a model needs and nothing that is to be appended."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from kilter.service.detector import Detector
from kilter.service.detector.errors import ColumnsError
from kilter.service.detector.names import check_fields
from kilter.service.formats.addresses import Place
from kilter.service.formats.lines import COLUMNS
from kilter.service.formats.pictures import PictureReader
from kilter.service.formats.reading import Reader, open_table
from kilter.service.formats.source import Hints

READERS: dict[str, Callable[[str | Place, BinaryIO | None, Hints], Reader]] = {
    "table": open_table,
    "image": lambda path, _, __: PictureReader(Path(str(path))),
}
"""What opens the records of a modality."""


def open_source(detector: Detector, path: str | Place, stdin: BinaryIO | None, hints: Hints) -> Reader:
    """Open records for a model, by the names of whose fields a table is read."""
    return READERS[detector.modality.name](path, stdin, hints._replace(names=detector.schema.names))


def open_records(
    detector: Detector, path: str | Place, stdin: BinaryIO | None, hints: Hints, further: Sequence[str] = ()
) -> Reader:
    """Open what is to be scored by a model. Raises KilterError: ColumnsError for what does not fit."""
    schema = detector.schema
    reader = open_source(detector, path, stdin, hints)
    try:
        if not schema.columns[0].shape:  # otherwise a record is the one cell that a reader gives
            check_fields(reader.name, schema.names, reader.columns)
        check_appended(reader, further)
    except BaseException:
        reader.__exit__()
        raise
    return reader


def check_appended(reader: Reader, further: Sequence[str] = ()) -> None:
    """Raise ColumnsError if a table has a column of a name that is to be appended, or `further` ones."""
    present = [name for name in (*COLUMNS, *further) if name in reader.columns]
    if present:
        remedy = "score the original file, or take that column out"
        raise ColumnsError(f"{reader.name} has a column {present[0]!r} already: {remedy}")
