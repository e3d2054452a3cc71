"""Pictures in files: those of a folder, one file, or a stack of images of one size in one file.

Content decides which files of a folder are pictures, never the ending of a name; but a file that only its name calls a
picture is listed as one, so that it is named when it cannot be read. Stacks are IDX, as MNIST is published, and NumPy's
npy and npz.
"""

import gzip
import math
import os
import struct
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
import polars as pl

from kilter.service.detector.arrays import Array
from kilter.service.detector.errors import KilterError, Problem
from kilter.service.detector.pictures.containers import format_of
from kilter.service.detector.pictures.pixels import BYTES
from kilter.service.formats import GZIP, NPY, ZIP, format_named
from kilter.service.formats.reading import Batch, Reader

LOSSY = ("JPEG", "WEBP")  # formats of photographs: a mask's edges would be blurred in them
ACCEPTED = "PNG, JPEG, WebP, TIFF and BMP"
BATCH = 64
BATCH_BYTES = 64 * 1024 * 1024
"""Pictures that are read at once, and of their files' lengths together what makes them fewer."""
COLUMN = "picture"  # the column that tells which picture a row is about
IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
IMAGES = "X"
LABELS = "y"
DIMENSIONS = (3, 4)  # of an array of images: (images, height, width) or (images, height, width, channels)

Kind = Literal["idx", "npy", "npz"]


class PictureReader(Reader):
    """Pictures in the order of their names: paths in a folder, with `/`, or numbers in a stack, from 0."""

    columns = (COLUMN,)

    def __init__(self, path: Path) -> None:
        """Look at a folder and all below it, or a file. Raises KilterError if there is no picture to be found."""
        self.name = str(path)
        self._stack: Array | None = None
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

    def __exit__(self, *_: object) -> None:
        """Nothing is left open between batches."""

    def batches(self) -> Iterator[Batch]:
        """All pictures, some at a time."""
        start = 0
        while start < len(self._names):
            yield (batch := self._batch(start))
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
                with (self._folder / name).open("rb") as file:
                    cells.append(file.read(BYTES + 1))  # of one that is longer than any picture, what tells that
            except OSError as error:
                cells.append(b"")
                faults.append(Problem(row, None, f"the file cannot be read: {error.strerror}"))
        return Batch(_named(names[: len(cells)]), start, faults, cells=cells)


def _named(names: list[str]) -> pl.DataFrame:
    """The names as text that every file can hold: those of files may be any bytes."""
    return pl.DataFrame({COLUMN: [name.encode("utf-8", "backslashreplace").decode() for name in names]})


class FolderContent(NamedTuple):
    """The files of a folder by their paths in it, with `/`, in the order of these; `others` are no pictures."""

    pictures: tuple[str, ...]
    masks: tuple[str, ...]
    """Pictures in a lossless format beside a photograph of the same stem in the same folder: `a.png` beside `a.jpg`."""
    others: tuple[str, ...]


def find_pictures(folder: Path) -> FolderContent:
    """Look through a folder and all below it, but for what is hidden by a name that begins with a point.

    Links are followed. Raises KilterError if the folder, or one below it, cannot be looked into.
    """
    kinds = {name: _kind(folder / name) for name in sorted(_files(folder))}
    endings = format_named("picture").endings
    others = [name for name, kind in kinds.items() if not kind and PurePosixPath(name).suffix.lower() not in endings]
    stems: defaultdict[PurePosixPath, list[str]] = defaultdict(list)
    for name in kinds.keys() - set(others):
        stems[PurePosixPath(name).with_suffix("")].append(name)
    photographed = [names for names in stems.values() if any(kinds[name] in LOSSY for name in names)]
    masks = {name for names in photographed for name in names if kinds[name] and kinds[name] not in LOSSY}
    left_out = masks.union(others)
    pictures = [name for name in kinds if name not in left_out]
    return FolderContent(tuple(pictures), tuple(sorted(masks)), tuple(others))


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


class Stack(NamedTuple):
    """Images of one size, and a label for each, (n,), if the file has them."""

    images: Array
    """(n, height, width) or (n, height, width, channels), of numbers; it may be a map of the file."""
    labels: Array | None


def stack_kind(path: Path) -> Kind | None:
    """What kind of stack a file holds; None for one that holds none, and for what is no file."""
    try:
        with path.open("rb") as file:
            head = file.read(len(NPY))
            file.seek(0)
            if head.startswith(GZIP) or _is_idx(head):
                return "idx" if _is_idx(_opened(file).read(4)) else None
            if head.startswith(NPY):
                return "npy" if _dimensions(file) in DIMENSIONS else None
            if head.startswith(ZIP):
                with zipfile.ZipFile(file) as archive, archive.open(f"{IMAGES}.npy") as member:
                    return "npz" if _dimensions(member) in DIMENSIONS else None
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, KeyError, ValueError):
        return None
    return None


def read_stack(path: Path) -> Stack:
    """The images of a file, with the array `y` of an npz file as their labels.

    Raises KilterError, which names the file, if it is damaged or holds anything but images.
    """
    kind = stack_kind(path)
    try:
        if kind == "idx":
            return Stack(_checked(path, _read_idx(path)), None)
        if kind == "npy":
            return Stack(_checked(path, np.load(path, mmap_mode="r", allow_pickle=False)), None)
        if kind == "npz":
            with np.load(path, allow_pickle=False) as arrays:
                images = _checked(path, arrays[IMAGES])
                labels = arrays[LABELS] if LABELS in arrays.files else None
            if labels is not None and labels.shape != (len(images),):
                raise KilterError(f"{path}: {LABELS} has shape {labels.shape}, and must be ({len(images)},)")
            return Stack(images, labels)
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, ValueError) as error:
        raise KilterError(f"{path} cannot be read as images: {error}") from None
    raise KilterError(f"{path} holds no images: IDX, npy, or npz with an array {IMAGES}, of three or four dimensions")


def read_stack_labels(path: Path) -> Array:
    """The labels, (n,), of an IDX or npy file. Raises KilterError if it holds anything else."""
    try:
        with path.open("rb") as file:
            labels = np.load(path, allow_pickle=False) if file.read(len(NPY)) == NPY else _read_idx(path)
    except (OSError, EOFError, zlib.error, ValueError) as error:
        raise KilterError(f"{path} cannot be read as labels, in IDX or npy: {error}") from None
    if labels.ndim != 1 or labels.dtype.kind not in "uifbU":
        raise KilterError(
            f"{path} holds an array of shape {labels.shape} and type {labels.dtype}: a label for each image is needed"
        )
    return labels


def _is_idx(head: bytes) -> bool:
    return len(head) >= 4 and head[:2] == bytes(2) and head[2] in IDX_TYPES and 1 <= head[3] <= 4


def _opened(file: BinaryIO) -> BinaryIO:
    """A file from its beginning, unpacked if it is gzipped."""
    packed = file.read(2) == GZIP
    file.seek(0)
    return gzip.GzipFile(fileobj=file) if packed else file  # type: ignore[return-value]


def _read_idx(path: Path) -> Array:
    """The array of an IDX file. Raises ValueError if it is none, or its length is not what its head says."""
    with path.open("rb") as packed:
        file = _opened(packed)
        head = file.read(4)
        if not _is_idx(head):
            raise ValueError("its first bytes are not those of an IDX file")
        shape = struct.unpack(f">{head[3]}I", file.read(4 * head[3]).ljust(4 * head[3], b"\xff"))
        kind = np.dtype(IDX_TYPES[head[2]])
        wanted = math.prod(shape) * kind.itemsize
        # No more is read than can be there: gzip makes no more than about a thousand bytes of one.
        content = file.read(min(wanted, 1100 * path.stat().st_size) + 1)
    if len(content) != wanted:
        raise ValueError(f"its head says {wanted:,} bytes of values, shape {shape}, and it holds another number")
    return np.frombuffer(content, kind).reshape(shape)


def _dimensions(file: Any) -> int:
    """How many dimensions the array of an open npy file has."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return len(read(file)[0])


def _checked(path: Path, images: Array) -> Array:
    if images.ndim not in DIMENSIONS or images.dtype.kind not in "uif":
        raise KilterError(
            f"{path} holds an array of shape {images.shape} and type {images.dtype}: images are numbers, "
            "(images, height, width) or (images, height, width, channels)"
        )
    if not images.size:
        raise KilterError(f"{path} holds an array of shape {images.shape}: there is no image in it")
    return images
