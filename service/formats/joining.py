"""Parts of an output, made by themselves, become one file, to the last byte as if it had been made in one piece.

A part is a folder. Of a format that is text it holds a file; of one that stores types a file for each block.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import polars as pl

DATA, PART = "data", ".part"
"""What a part's file is called, and how those of its blocks end."""
Joiner = Callable[[Sequence[Path], Mapping[str, str], BinaryIO], None]
"""Writes the parts in some folders, in order, to a file; some columns get types, by polars' names."""


def join_text(folders: Sequence[Path], _: Mapping[str, str], file: BinaryIO) -> None:
    """Write parts of text one after the other."""
    for folder in folders:
        with (folder / DATA).open("rb") as part:
            shutil.copyfileobj(part, file, 1 << 20)


def join_parquet(folders: Sequence[Path], types: Mapping[str, str], file: BinaryIO) -> None:
    """Write a Parquet file of the blocks of parts, some columns with other types."""
    _rows(folders, types).sink_parquet(file)


def join_arrow(folders: Sequence[Path], types: Mapping[str, str], file: BinaryIO) -> None:
    """Write an Arrow file of the same."""
    _rows(folders, types).sink_ipc(file, compression="lz4")


def _rows(folders: Sequence[Path], types: Mapping[str, str]) -> pl.LazyFrame:
    blocks = [path for folder in folders for path in sorted(folder.glob(f"*{PART}"))]
    kinds: dict[Any, pl.DataType] = {name: getattr(pl, kind)() for name, kind in types.items()}
    return pl.scan_ipc(blocks, glob=False).cast(kinds)
