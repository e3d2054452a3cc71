"""Files of pictures to pixels, in worker processes where there are many."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple, TypeVar

from kilter.service.detector.arrays import Pixels
from kilter.service.detector.errors import KilterError, PictureError
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.pictures.pixels import BYTES, file_size, to_pixels

ALONE = 1 << 24
"""Files of fewer bytes than these are decoded sooner than a process has started."""
SMALL = 2_500
"""A file takes as long as one of this many bytes more than it has."""
CHUNK = 16
"""Pictures that a process is given at once."""

Progress = Callable[[int, int], None]
"""Called with the number of pictures that are done and of all."""
Result = TypeVar("Result")


def silent(done: int, total: int) -> None:
    """A `Progress` that says nothing."""


class DecodedPicture(NamedTuple):
    """A picture as the model sees it, and its own size."""

    pixels: Pixels
    """(height, width, channels)"""
    height: int
    width: int


def each(
    work: Callable[[Path], Result], paths: Sequence[Path], progress: Progress, *, alone: int = ALONE
) -> Iterator[Result | PictureError]:
    """What `work`, a function of a module, makes of each file, in their order; or the PictureError that it raises.

    As many processes work as there are processors that this one may use; none beside this one for files of less than
    `alone` bytes. Raises KilterError if a process dies.
    """
    chunks = [paths[i : i + CHUNK] for i in range(0, len(paths), CHUNK)]
    processes = min(processors(), len(chunks))
    chunk_work = partial(_chunk, work)
    if processes < 2 or sum(map(_weight, paths)) < alone:
        yield from _counted(map(chunk_work, chunks), len(paths), progress)
        return
    # Forked processes could inherit locks that threads of this one hold.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context) as pool:
        try:
            with _deaf():
                parts = pool.map(chunk_work, chunks)
            yield from _counted(parts, len(paths), progress)
        except BrokenProcessPool:
            raise KilterError(
                "a process that decodes pictures has ended early. It may have run out of memory; or, if training is "
                "called from a script, that script lacks `if __name__ == '__main__':` around the call"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def content_of_file(path: Path) -> bytes:
    """The bytes of a picture's file. Raises PictureError if it cannot be read, or is longer than any picture's."""
    try:
        if path.stat().st_size > BYTES:
            raise PictureError(f"the picture's file is longer than {BYTES:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise PictureError(f"the file cannot be read: {error.strerror}") from None


def _weight(path: Path) -> int:
    try:
        return path.stat().st_size + SMALL
    except OSError:
        return SMALL


def decoded_file(column: ImageColumn, path: Path) -> DecodedPicture:
    """The picture of a file. Raises PictureError if it cannot be read."""
    content = content_of_file(path)
    width, height = file_size(content)
    return DecodedPicture(to_pixels(content, column), height, width)


def _chunk(work: Callable[[Path], Result], paths: Sequence[Path]) -> list[Result | PictureError]:
    results: list[Result | PictureError] = []
    for path in paths:
        try:
            results.append(work(path))
        except PictureError as error:
            results.append(PictureError(str(error)))  # its causes cannot all be sent from one process to another
    return results


def _counted(
    parts: Iterator[list[Result | PictureError]], total: int, progress: Progress
) -> Iterator[Result | PictureError]:
    done = 0
    for part in parts:
        yield from part
        done += len(part)
        progress(done, total)


@contextmanager
def _deaf() -> Iterator[None]:
    """Processes that begin in here do not hear Ctrl-C, from their first moment on: the one that waits for them does."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
