"""Where verdicts are written: a file that appears whole or not at all, or standard output."""

import os
import secrets
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from polars.exceptions import PolarsError

from kilter.service.detector.errors import KilterError
from kilter.service.files.source import ENDINGS, STDIN, Kind

STDOUT = STDIN
"""`-` means standard output where something is written."""
PACKINGS = (".gz", ".bz2", ".xz", ".zst")


class Place(NamedTuple):
    """Where a writer may write."""

    file: BinaryIO
    """The output, to be filled from its start."""
    parts: Path
    """A folder for parts of the output, on the same disk and deleted afterwards; not there on standard output."""


def output_kind(out: str | Path) -> tuple[Kind, str]:
    """What a file's ending asks for: a kind of table, and the ending of its compression. Raises KilterError.

    Standard output and devices get CSV.
    """
    path = Path(out)
    if str(out) == STDOUT or _is_device(path):
        return "csv", ""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    packing = suffixes.pop() if suffixes and suffixes[-1] in PACKINGS else ""
    kind = ENDINGS.get(suffixes[-1]) if suffixes else None
    if kind == "csv" or (kind in ("parquet", "arrow") and not packing):
        return kind, packing
    raise KilterError(
        f"{out} does not say what to write: end it in .csv, .csv.gz, .csv.bz2, .csv.xz, .csv.zst, .parquet or .arrow"
    )


def check_output(out: str | Path, source: str | Path, *, force: bool) -> None:
    """Raise KilterError if `out` must not be written: it is the source, it exists already, or it has no folder."""
    path = Path(out)
    if str(out) == STDOUT or _is_device(path):
        return
    if path.is_dir():
        raise KilterError(f"{path} is a folder: name a file to write to")
    if not path.parent.is_dir():
        raise KilterError(f"there is no folder {path.parent} to write {path.name} to: make it first")
    if path.exists():
        if str(source) != STDIN and Path(source).exists() and path.samefile(source):
            raise KilterError(f"{path} is the file that is read: write the verdicts to another one")
        if not force:
            raise KilterError(f"{path} exists already: choose another name, or overwrite it with --force")


@contextmanager
def writing(out: str | Path, stdout: BinaryIO | None = None) -> Iterator[Place]:
    """A place to write to. A file is written beside its final place and renamed once it is complete.

    Raises KilterError if it cannot be written, a full disk included; then nothing is left behind.
    """
    if str(out) == STDOUT:
        stream = stdout or sys.stdout.buffer
        yield Place(stream, Path())
        stream.flush()
        return
    path = Path(out).resolve()
    try:
        if _is_device(path):
            with path.open("wb") as file:
                yield Place(file, Path())
            return
        parts = path.parent / f".{path.name}.{secrets.token_hex(4)}.partial"
        parts.mkdir()
        try:
            with (parts / path.name).open("xb") as file:
                yield Place(file, parts)
                file.flush()
                os.fsync(file.fileno())
            (parts / path.name).replace(path)
        finally:
            shutil.rmtree(parts, ignore_errors=True)
    except BrokenPipeError:
        raise
    except (OSError, PolarsError) as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error).partition("\n")[0]
        raise KilterError(f"cannot write {out}: {reason}. Nothing half-written was left behind") from error


def _is_device(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()
