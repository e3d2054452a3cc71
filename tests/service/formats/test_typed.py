"""Parquet, Arrow and npz are read as they are."""

import io
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from kilter.service.detector import KilterError
from kilter.service.formats.reading import open_table
from kilter.service.formats.typed import read_npz

FRAME = pl.DataFrame(
    {
        "number": [1.5, None, float("nan")],
        "whole": [1, 2, None],
        "flag": [True, None, False],
        "text": ["a", "", None],
        "time": [datetime(2024, 5, 31, 8, 15, tzinfo=UTC), None, None],
    }
)
WRITE: dict[str, Callable[[pl.DataFrame, Any], object]] = {
    "parquet": pl.DataFrame.write_parquet,
    "arrow": pl.DataFrame.write_ipc,
    "stream": pl.DataFrame.write_ipc_stream,
}


def whole(path: Path | str, stdin: io.BytesIO | None = None) -> pl.DataFrame:
    with open_table(path, stdin) as table:
        return pl.concat([batch.frame for batch in table.batches()])


@pytest.mark.parametrize("kind", list(WRITE))
def test_types_and_values_are_read_as_they_are(tmp_path: Path, kind: str) -> None:
    """What was written is read, from a file and from standard input, types included."""
    path = tmp_path / "table"
    WRITE[kind](FRAME, path)
    assert whole(path).equals(FRAME)
    assert whole(path).schema == FRAME.schema
    assert whole("-", io.BytesIO(path.read_bytes())).equals(FRAME)


@pytest.mark.parametrize("kind", list(WRITE))
def test_long_tables_come_in_order(tmp_path: Path, kind: str) -> None:
    """A long table comes in batches of bounded length, in order, each knowing where it starts."""
    frame = pl.DataFrame({"i": np.arange(200_000)})
    WRITE[kind](frame, tmp_path / "table")
    with open_table(tmp_path / "table") as table:
        batches = list(table.batches())
    assert max(batch.frame.height for batch in batches) <= 1 << 16
    assert [batch.first for batch in batches] == [batch.frame["i"][0] for batch in batches]
    assert pl.concat([batch.frame for batch in batches]).equals(frame)


@pytest.mark.parametrize("kind", list(WRITE))
def test_a_table_without_rows_has_its_columns(tmp_path: Path, kind: str) -> None:
    """A typed table of no rows is read as one empty batch."""
    WRITE[kind](FRAME.clear(), tmp_path / "table")
    assert whole(tmp_path / "table").schema == FRAME.schema


@pytest.mark.parametrize("kind", list(WRITE))
def test_a_cut_file_is_refused(tmp_path: Path, kind: str) -> None:
    """A typed file that lacks its end is an error that names it."""
    path = tmp_path / "table.parquet"
    WRITE[kind](pl.DataFrame({"i": np.arange(10_000)}), path)
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(KilterError, match=r"table\.parquet cannot be read as"):
        whole(path)


def test_npz_gives_numbered_columns(tmp_path: Path) -> None:
    """The array X becomes x0, x1, ..., of its own type, and y stays y."""
    np.savez(tmp_path / "a.npz", X=np.arange(6.0).reshape(3, 2).astype(">f4"), y=np.array([0, 1, 0], np.uint8))
    frame = whole(tmp_path / "a.npz")
    assert frame.columns == ["x0", "x1", "y"]
    assert frame["x1"].to_list() == [1.0, 3.0, 5.0]
    assert frame.dtypes == [pl.Float32, pl.Float32, pl.UInt8]


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"Z": np.eye(2)}, "must hold an array X of numbers.*its arrays: Z"),
        ({"X": np.ones(3)}, r"X has shape \(3,\)"),
        ({"X": np.array([["a"]])}, "X has shape"),
        ({"X": np.array([[object()]])}, "cannot be read as an npz file.*pickle"),
        ({"X": np.eye(2), "y": np.ones(3)}, r"y has shape \(3,\)"),
    ],
)
def test_other_npz_files_are_refused(tmp_path: Path, arrays: dict[str, Any], message: str) -> None:
    """An npz file without a matrix of numbers, or with pickled objects, is an error that says what it must hold."""
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(KilterError, match=message):
        read_npz(tmp_path / "a.npz", "a.npz")
