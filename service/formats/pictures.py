"""Pictures in files: those of a folder, one file, or a stack of them in one file.

Content decides which files of a folder are pictures, never the ending of a name; but a file that only its name calls a
picture is listed as one, so that it is named when it cannot be read.
"""

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple, Self

import numpy as np
import numpy.typing as npt
import polars as pl

from kilter.service.detector.errors import KilterError, Problem
from kilter.service.detector.pictures.containers import format_of
from kilter.service.detector.pictures.pixels import BYTES
from kilter.service.formats import format_named
from kilter.service.formats.dialect import Dialect
from kilter.service.formats.stacks import read_stack, stack_kind
from kilter.service.formats.tables import Batch

LOSSY = ("JPEG", "WEBP")
"""Formats of photographs: a mask's edges would be blurred in them."""
ACCEPTED = "PNG, JPEG, WebP, TIFF and BMP"
BATCH = 64
BATCH_BYTES = 64 * 1024 * 1024
"""Pictures that are read at once, and of their files' lengths together what makes them fewer."""
COLUMN = "picture"
"""The column that tells which picture a row is about."""


class PictureReader:
    """Pictures in the order of their names: paths in a folder, with `/`, or numbers in a stack, from 0.

    See `formats.tables.Reader`.
    """

    columns: tuple[str, ...] = (COLUMN,)
    dialect: Dialect | None = None
    header = b""

    def __init__(self, path: Path) -> None:
        """Look at a folder and all below it, or a file. Raises KilterError if there is no picture to be found."""
        self.name = str(path)
        self.notes: tuple[str, ...] = ()
        self._stack: npt.NDArray[Any] | None = None
        self._folder = path
        if path.is_dir():
            content = find_pictures(path)
            self._names = list(content.pictures)
            if content.masks:
                self.notes += (f"files taken for masks of photographs of the same name: {len(content.masks):,}",)
            if content.others:
                self.notes += (f"files that are no pictures: {len(content.others):,}, such as {content.others[0]}",)
        elif not path.exists():
            raise KilterError(f"there is no folder or file {path}")
        elif stack_kind(path):
            self._stack = read_stack(path).images
            self._names = [str(place) for place in range(len(self._stack))]
        else:
            with path.open("rb") as file:
                if format_of(file.read(16)) is None:
                    raise KilterError(f"{path} is no picture: {ACCEPTED} are, and stacks of them in IDX, npy or npz")
            self._folder, self._names = path.parent, [path.name]
        if not self._names:
            raise KilterError(f"{path} holds no pictures: {ACCEPTED}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left open between batches."""

    def batches(self) -> Iterator[Batch]:
        """All pictures, some at a time."""
        start = 0
        while start < len(self._names):
            batch = self._batch(start)
            yield batch
            start += batch.frame.height

    def _batch(self, start: int) -> Batch:
        names = self._names[start : start + BATCH]
        if self._stack is not None:
            cells: list[Any] = [np.asarray(picture) for picture in self._stack[start : start + BATCH]]
            return Batch(_named(names), start, cells=cells)
        cells, faults = [], []
        for row, name in enumerate(names):
            if row and sum(map(len, cells)) > BATCH_BYTES:
                break
            try:
                cells.append(_content(self._folder / name))
            except OSError as error:
                cells.append(b"")
                faults.append(Problem(row, None, f"the file cannot be read: {error.strerror}"))
        return Batch(_named(names[: len(cells)]), start, faults, cells=cells)


def _named(names: list[str]) -> pl.DataFrame:
    """The names as text that every file can hold: those of files may be any bytes."""
    return pl.DataFrame({COLUMN: [name.encode("utf-8", "backslashreplace").decode() for name in names]})


def _content(path: Path) -> bytes:
    """The bytes of a file; of one that is longer than any picture, as many as tell that."""
    with path.open("rb") as file:
        return file.read(BYTES + 1)


class FolderContent(NamedTuple):
    """The files of a folder by their paths in it, with `/`, in the order of these."""

    pictures: tuple[str, ...]
    masks: tuple[str, ...]
    """Pictures in a lossless format beside a photograph of the same stem in the same folder: `a.png` beside `a.jpg`."""
    others: tuple[str, ...]
    """Files that are no pictures."""


def find_pictures(folder: Path) -> FolderContent:
    """Look through a folder and all below it, but for what is hidden by a name that begins with a point.

    Links are followed. Raises KilterError if the folder, or one below it, cannot be looked into.
    """
    kinds: dict[str, str] = {}
    others: list[str] = []
    for name in _files(folder):
        path = folder / name
        kind = _kind(path)
        if kind or path.suffix.lower() in format_named("picture").endings:
            kinds[name] = kind
        else:
            others.append(name)
    masks = _masks(kinds)
    return FolderContent(tuple(sorted(kinds.keys() - masks)), tuple(sorted(masks)), tuple(sorted(others)))


def _files(folder: Path) -> list[str]:
    """The paths in a folder of all files that are not hidden."""

    def refuse(error: OSError) -> None:
        raise KilterError(f"the folder {error.filename} cannot be read: {error.strerror}")

    paths = []
    seen: set[tuple[int, int]] = set()
    for place, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        status = Path(place).stat()
        if (status.st_dev, status.st_ino) in seen:  # a link that leads back
            folders.clear()
            continue
        seen.add((status.st_dev, status.st_ino))
        folders[:] = [name for name in folders if not name.startswith(".")]
        here = Path(place).relative_to(folder)
        paths += [(here / name).as_posix() for name in names if not name.startswith(".")]
    return paths


def _kind(path: Path) -> str:
    """The format of a picture by its first bytes; nothing for what is none or cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:
        return ""
    kind = format_of(head) or ""
    return "" if kind == "BMP" and any(head[6:10]) else kind  # a text may begin with BM


def _masks(kinds: dict[str, str]) -> set[str]:
    stems: defaultdict[PurePosixPath, list[str]] = defaultdict(list)
    for name in kinds:
        stems[PurePosixPath(name).with_suffix("")].append(name)
    return {
        name
        for names in stems.values()
        if any(kinds[name] in LOSSY for name in names)
        for name in names
        if kinds[name] and kinds[name] not in LOSSY
    }
