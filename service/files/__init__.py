"""Tables in files: CSV, Parquet, Arrow, npz. Importing this package reads no table library; the names below do.

`open_table` gives a table batch by batch, `read_frame` whole; `to_table` turns cells into the detector's typed columns.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kilter.service.files.cells import to_table
    from kilter.service.files.frames import Frame, read_frame
    from kilter.service.files.reading import open_table
    from kilter.service.files.tables import Batch, Table

_HOMES = {
    "Batch": "tables",
    "Frame": "frames",
    "Table": "tables",
    "open_table": "reading",
    "read_frame": "frames",
    "to_table": "cells",
}

__all__ = ["Batch", "Frame", "Table", "open_table", "read_frame", "to_table"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
