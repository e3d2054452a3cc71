"""Pictures to be scored: those of a folder, one file, or a stack of them in one file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from kilter.service.detector.errors import KilterError
from kilter.service.detector.pictures.containers import is_known
from kilter.service.detector.pictures.decoding import BYTES
from kilter.service.files.folder import ACCEPTED, find_pictures
from kilter.service.files.stacks import read_stack, stack_kind

BATCH = 64
BATCH_BYTES = 64 * 1024 * 1024
"""Pictures that are read at once, and of their files' lengths together what makes them fewer."""


class PictureBatch(NamedTuple):
    """Some consecutive pictures."""

    names: list[str]
    """By which they are told: paths in the folder, with `/`, or numbers in a stack, from 0."""
    cells: list[Any]
    """What is to be judged: the bytes of files, or arrays."""
    faults: dict[int, str]
    """What is wrong with files that cannot be read, by their position in the batch."""


class Pictures:
    """Pictures by their names, in the order of these."""

    def __init__(self, path: Path) -> None:
        """Look at a folder and all below it, or a file. Raises KilterError if there is no picture to be found."""
        self.notes: tuple[str, ...] = ()
        self._stack: npt.NDArray[Any] | None = None
        self._folder = path
        if path.is_dir():
            found = find_pictures(path)
            self.names = list(found.pictures)
            if found.masks:
                self.notes += (f"files taken for masks of photographs of the same name: {len(found.masks):,}",)
            if found.others:
                self.notes += (f"files that are no pictures: {len(found.others):,}, such as {found.others[0]}",)
        elif not path.exists():
            raise KilterError(f"there is no folder or file {path}")
        elif stack_kind(path):
            self._stack = read_stack(path).images
            self.names = [str(place) for place in range(len(self._stack))]
        else:
            with path.open("rb") as file:
                if not is_known(file.read(16)):
                    raise KilterError(f"{path} is no picture: {ACCEPTED} are, and stacks of them in IDX, npy or npz")
            self._folder, self.names = path.parent, [path.name]
        if not self.names:
            raise KilterError(f"{path} holds no pictures: {ACCEPTED}")

    def batches(self) -> Iterator[PictureBatch]:
        """All pictures, some at a time."""
        start = 0
        while start < len(self.names):
            batch = self._batch(start)
            yield batch
            start += len(batch.names)

    def _batch(self, start: int) -> PictureBatch:
        names = self.names[start : start + BATCH]
        if self._stack is not None:
            return PictureBatch(names, [np.asarray(picture) for picture in self._stack[start : start + BATCH]], {})
        cells: list[bytes] = []
        faults: dict[int, str] = {}
        for place, name in enumerate(names):
            if place and sum(map(len, cells)) > BATCH_BYTES:
                break
            try:
                cells.append(_content(self._folder / name))
            except OSError as error:
                cells.append(b"")
                faults[place] = f"the file cannot be read: {error.strerror}"
        return PictureBatch(names[: len(cells)], cells, faults)


def _content(path: Path) -> bytes:
    """The bytes of a file; of one that is longer than any picture, as many as tell that."""
    with path.open("rb") as file:
        return file.read(BYTES + 1)
