"""Reads tables that know their types: Parquet, Arrow, and NumPy's npz."""

import zipfile
from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import polars as pl
from polars.exceptions import PolarsError

from kilter.service.detector.errors import KilterError
from kilter.service.formats.dialect import Dialect
from kilter.service.formats.source import Source
from kilter.service.formats.tables import Batch, check_columns

ROWS = 1 << 15
"""Rows per batch."""


class TypedReader:
    """A typed table that is open for reading. See `formats.tables.Reader`."""

    dialect: Dialect | None = None
    header = b""

    def __init__(self, source: Source) -> None:
        """Read the schema. Raises KilterError if the file is damaged."""
        self._source = source
        self.name = source.name
        self.notes = source.notes
        try:
            self._lazy = self._open()
            names = self._lazy.collect_schema().names()
        except (PolarsError, OSError) as error:
            raise self._damaged(error) from None
        self.columns = check_columns(self.name, names, "rename one")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._source.close()

    def batches(self) -> Iterator[Batch]:
        """Every row, once, in order."""
        row = 0
        try:
            for frame in self._lazy.collect_batches(chunk_size=ROWS, maintain_order=True):
                yield Batch(frame, row)
                row += frame.height
        except PolarsError as error:
            raise self._damaged(error) from None
        if not row:
            yield Batch(pl.DataFrame(schema=self._lazy.collect_schema()), 0)

    def _open(self) -> pl.LazyFrame:
        path = self._source.seekable_path()
        match self._source.format.name:
            case "parquet":
                return pl.scan_parquet(path, glob=False)
            case "arrow":
                return pl.scan_ipc(path, glob=False)
            case "arrow-stream":
                return pl.read_ipc_stream(path).lazy()
            case _:
                return read_npz(path, self.name).lazy()

    def _damaged(self, error: Exception) -> KilterError:
        return KilterError(f"{self.name} cannot be read as {self._source.format.title}: {str(error).splitlines()[0]}")


def read_npz(path: Any, name: str) -> pl.DataFrame:
    """The arrays `X` (n, d), as columns x0, x1, ..., and `y` (n,) if it is there.

    Raises KilterError if the file holds anything else, or pickled objects.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            named = {key: arrays[key] for key in ("X", "y") if key in arrays.files}
            keys = ", ".join(arrays.files) or "none"
    except (ValueError, OSError, zipfile.BadZipFile, EOFError) as error:
        raise KilterError(f"{name} cannot be read as an npz file: {error}") from None
    x = named.get("X")
    if x is None or x.ndim != 2 or x.dtype.kind not in "fiub":
        raise KilterError(
            f"{name} must hold an array X of numbers, shape (rows, columns), and may hold y, shape (rows,); "
            f"its arrays: {keys}" + ("" if x is None else f"; X has shape {x.shape} and type {x.dtype}")
        )
    columns = {f"x{i}": _native(x[:, i]) for i in range(x.shape[1])}
    y = named.get("y")
    if y is not None:
        if y.shape != (len(x),) or y.dtype.kind not in "fiubU":
            raise KilterError(f"{name}: y has shape {y.shape} and type {y.dtype}, and must be ({len(x)},) of labels")
        columns["y"] = _native(y)
    return pl.DataFrame(columns)


def _native(values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """An array of a type that polars has, in the machine's byte order."""
    kind = np.float32 if values.dtype == np.float16 else values.dtype.newbyteorder("=")
    return np.ascontiguousarray(values, kind)
