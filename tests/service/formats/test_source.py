"""What a file is, is decided by its content."""

import bz2
import gzip
import io
import lzma
import zipfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from kilter.service.detector import KilterError
from kilter.service.formats.source import Source
from kilter.service.formats.writers import packed

TEXT = b"a,b\n1,2\n"


def zstd(data: bytes) -> bytes:
    file = io.BytesIO()
    with packed(file, ".zst") as packing:
        packing.write(data)
    return file.getvalue()


def npz(x: np.ndarray[Any, Any]) -> bytes:
    file = io.BytesIO()
    np.savez(file, X=x)
    return file.getvalue()


def read_all(source: Source) -> bytes:
    blocks = []
    while block := source.read(3):
        blocks.append(block)
    return b"".join(blocks)


@pytest.mark.parametrize("pack", [bytes, gzip.compress, bz2.compress, lzma.compress, zstd])
def test_compression_is_known_by_its_magic_bytes(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    """A compressed file gives its content, whatever it is called, and so does standard input."""
    path = tmp_path / "table.csv"
    path.write_bytes(pack(TEXT))
    with closing(Source(path)) as source:
        assert source.head(4) == TEXT[:4]
        assert read_all(source) == TEXT
    with closing(Source("-", io.BytesIO(pack(TEXT)))) as source:
        assert (source.name, read_all(source)) == ("standard input", TEXT)


def test_kind_is_known_by_content(tmp_path: Path) -> None:
    """Parquet, Arrow, npz and text are told apart although all are called .csv, and a note says so."""
    frame = pl.DataFrame({"PAR1": [1.0]})
    path = tmp_path / "table.csv"
    writers: dict[str, Callable[[], object]] = {
        "csv": lambda: frame.write_csv(path),
        "parquet": lambda: frame.write_parquet(path),
        "arrow": lambda: frame.write_ipc(path),
        "arrow-stream": lambda: frame.write_ipc_stream(path),
        "npz": lambda: path.write_bytes(npz(np.eye(2))),
    }
    for kind, write in writers.items():
        write()
        with closing(Source(path)) as source:
            assert source.format.name == kind
            assert bool(source.notes) == (kind != "csv")


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("[Content_Types].xml", "<x/>")
    return file.getvalue()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (bytes(range(256)) * 9, "binary data"),
        (b"\x01\x02\x03 short", "binary data"),
        (b"%PDF-1.7 ...", "a PDF document"),
        (b"  <!DOCTYPE html>", "a web page"),
        (b"\x89PNG\r\n", "an image"),
        (b"[[1, 2]]", "no table but JSON of lists"),
        (b"\x93NUMPY...", "numpy.savez"),
        (zipped(), "zip archive or an Excel workbook"),
        (gzip.compress(TEXT * 999, mtime=0)[:-20], "damaged or cut short"),
        (gzip.compress(b"", mtime=0), "is empty"),
        (b"\x1f\x8b and no more gzip", "damaged"),
        (b"BZh and no more bzip2", "damaged"),
        (b"\xfd7zXZ\0 and no more xz", "damaged"),
        (b"\x28\xb5\x2f\xfd and no more zstd", "damaged"),
    ],
)
def test_what_is_no_table_is_refused_by_name(tmp_path: Path, content: bytes, message: str) -> None:
    """An empty file, binary junk, other formats and damaged compression are errors that name the file."""
    path = tmp_path / "table.csv"
    path.write_bytes(content)
    with pytest.raises(KilterError, match=message) as caught, closing(Source(path)) as source:
        read_all(source)
    assert str(path) in str(caught.value)


def test_absent_files_and_folders_are_refused(tmp_path: Path) -> None:
    """A path at which there is no file is an error that says so."""
    with pytest.raises(KilterError, match="there is no file"):
        Source(tmp_path / "absent.csv")
    with pytest.raises(KilterError, match="is a folder"):
        Source(tmp_path)
