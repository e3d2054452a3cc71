"""Stacks of images in one file: IDX, as MNIST is published, and NumPy's npy and npz. They are read image by image."""

import gzip
import math
import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any, BinaryIO, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from kilter.service.detector.errors import KilterError

GZIP = b"\x1f\x8b"
NPY = b"\x93NUMPY"
ZIP = b"PK\x03\x04"
IDX_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
IMAGES = "X"
LABELS = "y"
DIMENSIONS = (3, 4)
"""Of an array of images: (images, height, width) or (images, height, width, channels)."""

Kind = Literal["idx", "npy", "npz"]


class Stack(NamedTuple):
    """Images of one size, and a label for each if the file has them."""

    images: npt.NDArray[Any]
    """(n, height, width) or (n, height, width, channels), of numbers; it may be a map of the file."""
    labels: npt.NDArray[Any] | None
    """(n,)"""


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


def read_stack_labels(path: Path) -> npt.NDArray[Any]:
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


def _read_idx(path: Path) -> npt.NDArray[Any]:
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


def _checked(path: Path, images: npt.NDArray[Any]) -> npt.NDArray[Any]:
    if images.ndim not in DIMENSIONS or images.dtype.kind not in "uif":
        raise KilterError(
            f"{path} holds an array of shape {images.shape} and type {images.dtype}: images are numbers, "
            "(images, height, width) or (images, height, width, channels)"
        )
    if not images.size:
        raise KilterError(f"{path} holds an array of shape {images.shape}: there is no image in it")
    return images
