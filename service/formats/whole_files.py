"""Files that appear whole, once they are complete, or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from kilter.service.formats.addresses import Address, Place, upload_to


def publish(data: Path, place: Place) -> None:
    """Give a file that is complete its final place, in which it appears whole."""
    if isinstance(place, Address):
        place.upload(data)
        data.unlink()
    else:
        place.parent.mkdir(parents=True, exist_ok=True)
        data.replace(place)
        sync_folder(place.parent)


def write_whole(path: Place, content: bytes) -> None:
    """Write a small file that appears whole or not at all."""
    with whole_file(path) as file:
        file.write(content)


@contextmanager
def whole_file(path: Place) -> Iterator[BinaryIO]:
    """A file that appears whole, once it is closed, or not at all."""
    if isinstance(path, Address):
        with upload_to(path) as file:
            yield file
        return
    part = path.with_name(f".{path.name}.part")
    try:
        with open_through(part) as file:
            yield file
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    part.replace(path)
    sync_folder(path.parent)


def write_through(path: Path, content: bytes) -> None:
    """Write a small file that is on the disk then."""
    with open_through(path) as file:
        file.write(content)


@contextmanager
def open_through(path: Path) -> Iterator[BinaryIO]:
    """Open a file to write, which is on the disk then, if nothing is raised meanwhile."""
    with path.open("wb") as file:
        yield file
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Have the names in a folder on the disk."""
    with suppress(OSError):  # not every file system can
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
