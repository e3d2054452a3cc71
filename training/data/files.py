"""Pictures as training data: in folders, one file a picture, decoded by processes; or stacked in IDX, npy and npz."""

import multiprocessing
import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path, PurePosixPath
from typing import TypeVar

import numpy as np
import polars as pl

from kilter.service.detector.arrays import Array, Positions
from kilter.service.detector.errors import KilterError, PictureError
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.pictures.pixels import BYTES, decode_whole, file_size, to_pixels
from kilter.service.formats.pictures import ACCEPTED, LABELS, find_pictures, read_stack, read_stack_labels
from kilter.training.data.source import LISTED_LABELS, Labels, Progress, read_labels, silent
from kilter.training.data.survey import DecodedPicture, PictureTraits, image_traits, number_traits

SHOWN_FILES = 2
ALONE = 1 << 24  # files of fewer bytes than these are decoded sooner than a process has started
SMALL = 2_500  # a file takes as long as one of this many bytes more than it has
CHUNK = 16
CHANNELS = (1, 2, 3, 4)
PROGRESS_EVERY = 1024

Result = TypeVar("Result")


class FolderPictures:
    """The pictures of one or several folders, folder by folder, in the order of their paths."""

    def __init__(self, folders: Sequence[Path], exclude: Sequence[str] = ()) -> None:
        """Look through folders, leaving out the subfolders named in `exclude`.

        Raises KilterError if there is no picture, if one would be read twice, or if there is no such subfolder.
        """
        self.paths: list[Path] = []
        self.parts: list[tuple[str, ...]] = []
        """Of each picture the names of the folders around it, from the folder that was given on, and its own."""
        self.notes: list[str] = []
        left_out: set[str] = set()
        for folder in folders:
            files = find_pictures(folder)
            self.notes += _notes(folder, files.masks, files.others)
            for name in files.pictures:
                parts = PurePosixPath(name).parts
                excluded = {*parts[:-1]} & {*exclude}
                left_out |= excluded
                if not excluded:
                    self.paths.append(folder / name)
                    self.parts.append((folder.resolve().name, *parts))
        self._several = len(folders) > 1
        named, unknown = ", ".join(map(str, folders)), set(exclude) - left_out
        if unknown:
            raise KilterError(f"--exclude names {min(unknown)!r}, and no pictures lie in such a folder of {named}")
        if not self.paths:
            raise KilterError(f"there is no picture in {named}: {ACCEPTED} are read. {' '.join(self.notes)}".rstrip())
        path, times = Counter(path.resolve() for path in self.paths).most_common(1)[0]
        if times > 1:
            raise KilterError(f"{path} would be read {times} times: name each folder once, and none within another")

    @property
    def names(self) -> tuple[str, ...]:
        """The path of each picture in its folder; with that folder's name where there are several."""
        return tuple("/".join(parts if self._several else parts[1:]) for parts in self.parts)

    def labels(self, label: str | None, normal: str | None) -> Labels | None:
        """Which pictures are normal: those below a folder called `normal`; all others are anomalies.

        Pictures that lie in no subfolder have no label, unless several folders were given, whose own names count then.
        Raises KilterError if a label column is named, or there is no such folder.
        """
        if label is not None:
            raise KilterError(
                f"--label {label}: the labels of pictures in folders are the names of subfolders; say which holds the "
                "normal ones with --normal alone"
            )
        if normal is None:
            return None
        around = [parts[:-1] if self._several else parts[1:-1] for parts in self.parts]
        is_normal = np.array([normal in folders for folders in around])
        if not is_normal.any():
            raise KilterError(f"no picture lies in a folder {normal!r}; {self._by_folder()}")
        labelled = np.array([len(folders) > 0 for folders in around])
        return Labels(labelled & ~is_normal, labelled)

    def look_at(self, rows: Positions) -> Iterator[PictureTraits | PictureError]:
        """The traits of some pictures, by their positions."""
        return each(file_traits, [self.paths[row] for row in rows], silent)

    def decoded(self, column: ImageColumn, progress: Progress) -> Iterator[DecodedPicture | PictureError]:
        """Every picture as the model sees it, or why it cannot be read."""
        return each(partial(decoded_file, column), self.paths, progress)

    def unlabelled(self) -> str | None:
        """A note where all pictures count as normal although they lie in several folders."""
        if len({parts[:-1] for parts in self.parts}) < 2:
            return None
        return f"All pictures count as normal, whatever folder they lie in; {self._by_folder()}. --normal names one."

    def _by_folder(self) -> str:
        counts = Counter(parts[-2] for parts in self.parts)
        shown = ", ".join(f"{name!r} ({count:,})" for name, count in counts.most_common(LISTED_LABELS))
        return f"pictures lie in {shown}{', ...' if len(counts) > LISTED_LABELS else ''}"


def _notes(folder: Path, masks: Sequence[str], others: Sequence[str]) -> Iterator[str]:
    """Which files of a folder were left out, and why."""
    reasons = (
        (masks, "left out as a mask, since a photograph of the same name lies beside it"),
        (others, "passed over, being no picture of a known format"),
    )
    for names, reason in reasons:
        if names:
            count = "1 file was" if len(names) == 1 else f"each of {len(names):,} files was"
            shown = ", ".join(names[:SHOWN_FILES]) + (", ..." if len(names) > SHOWN_FILES else "")
            yield f"In {folder}, {count} {reason}: {shown}."


def content_of_file(path: Path) -> bytes:
    """The bytes of a picture's file. Raises PictureError if it cannot be read, or is longer than any picture's."""
    try:
        if path.stat().st_size > BYTES:
            raise PictureError(f"the picture's file is longer than {BYTES:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise PictureError(f"the file cannot be read: {error.strerror}") from None


def file_traits(path: Path) -> PictureTraits:
    """The traits of the picture in a file. Raises PictureError if it cannot be read."""
    return image_traits(decode_whole(content_of_file(path)))


def decoded_file(column: ImageColumn, path: Path) -> DecodedPicture:
    """The picture in a file. Raises PictureError if it cannot be read."""
    content = content_of_file(path)
    width, height = file_size(content)
    return DecodedPicture(to_pixels(content, column), height, width)


def each(
    work: Callable[[Path], Result], paths: Sequence[Path], progress: Progress, *, alone: int = ALONE
) -> Iterator[Result | PictureError]:
    """The result of `work`, a function of a module, for each file, in their order; or the PictureError that it raises.

    As many processes work as there are processors that this one may use; none beside this one for files of less than
    `alone` bytes. Raises KilterError if a process dies.
    """
    attempt = partial(_attempt, work)
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    processes = min(available, -(-len(paths) // CHUNK))
    weight = sum(SMALL + (path.stat().st_size if path.is_file() else 0) for path in paths)
    if processes < 2 or weight < alone:
        yield from _with_progress(map(attempt, paths), len(paths), progress)
        return
    # Forked processes could inherit locks that threads of this one hold.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context) as pool:
        try:
            with _interrupts_ignored():
                results = pool.map(attempt, paths, chunksize=CHUNK)
            yield from _with_progress(results, len(paths), progress)
        except BrokenProcessPool:
            raise KilterError(
                "a process that decodes pictures has ended early. It may have run out of memory; or, if training is "
                "called from a script, that script lacks `if __name__ == '__main__':` around the call"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


def _attempt(work: Callable[[Path], Result], path: Path) -> Result | PictureError:
    try:
        return work(path)
    except PictureError as error:
        return PictureError(str(error))  # its causes cannot all be sent from one process to another


def _with_progress(results: Iterator[Result], total: int, progress: Progress) -> Iterator[Result]:
    for done, result in enumerate(results, 1):
        yield result
        if done % CHUNK == 0 or done == total:
            progress(done, total)


@contextmanager
def _interrupts_ignored() -> Iterator[None]:
    """Processes that start in here ignore Ctrl-C from their first moment on: the process that waits for them acts."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


class ArrayPictures:
    """The images of one or several files, file by file."""

    def __init__(self, files: Sequence[Path], exclude: Sequence[str] = ()) -> None:
        """Open files. Raises KilterError if one cannot be read, or anything is to be left out."""
        if exclude:
            raise KilterError(f"--exclude names {exclude[0]!r}, and arrays of images have neither columns nor folders")
        self.notes: list[str] = []
        self._files = files
        self._stacks = [read_stack(path) for path in files]
        self._images = [
            self._channels_last(path, stack.images) for path, stack in zip(files, self._stacks, strict=True)
        ]
        self._starts = np.cumsum([0, *map(len, self._images)])

    @property
    def names(self) -> tuple[str, ...]:
        """The position of each image in its file, from 0; with the file's name where there are several."""
        if len(self._files) == 1:
            return tuple(map(str, range(len(self._images[0]))))
        files = zip(self._files, self._images, strict=True)
        return tuple(f"{path.name}[{i}]" for path, images in files for i in range(len(images)))

    def labels(self, label: str | None, normal: str | None) -> Labels | None:
        """Which images are normal, by a file of labels, or by the array `y` of npz files.

        Raises KilterError if there are no such labels, not one for each image, or none of them is `normal`.
        """
        if label is None:
            if normal is not None:
                raise KilterError(
                    "--normal is the value of a label: name a file of labels, or the array y of npz files, with --label"
                )
            return None
        if label == LABELS and not Path(label).exists():
            parts = [stack.labels for stack in self._stacks if stack.labels is not None]
            if len(parts) < len(self._stacks):
                raise KilterError(f"--label {label}: only npz files have an array {label}")
            values = np.concatenate(parts)
        else:
            values = read_stack_labels(Path(label))
        if len(values) != self._starts[-1]:
            raise KilterError(f"--label {label}: there are {len(values):,} labels for {self._starts[-1]:,} images")
        return read_labels(pl.DataFrame({label: values.astype(str)}), label, normal)

    def look_at(self, rows: Positions) -> Iterator[PictureTraits | PictureError]:
        """The traits of some images, by their positions."""
        for row in rows.tolist():
            try:
                yield number_traits(self._at(row))
            except PictureError as error:
                yield error

    def decoded(self, column: ImageColumn, progress: Progress) -> Iterator[DecodedPicture | PictureError]:
        """Every image as the model sees it, or why it cannot be."""
        total = int(self._starts[-1])
        for row in range(total):
            image = self._at(row)
            try:
                yield DecodedPicture(to_pixels(image, column), *image.shape[:2])
            except PictureError as error:
                yield error
            if (row + 1) % PROGRESS_EVERY == 0 or row + 1 == total:
                progress(row + 1, total)

    def unlabelled(self) -> str | None:
        """A note where all images count as normal although there are labels."""
        if all(stack.labels is None for stack in self._stacks):
            return None
        return f"All images count as normal, whatever their label. --label {LABELS} --normal VALUE says which are."

    def _at(self, row: int) -> Array:
        """The image at a position, (height, width, channels), in the machine's byte order."""
        place = int(np.searchsorted(self._starts, row, side="right")) - 1
        image = self._images[place][row - self._starts[place]]
        if image.ndim == 2:
            image = image[..., None]
        return np.asarray(image, image.dtype.newbyteorder("="))

    def _channels_last(self, path: Path, images: Array) -> Array:
        """Images, (n, h, w) or (n, h, w, c), of an array in which channels may come first."""
        if images.ndim == 3 or images.shape[3] in CHANNELS:
            return images
        if images.shape[1] not in CHANNELS:
            raise KilterError(
                f"{path} holds an array of shape {images.shape}: an image has 1 to 4 channels, in the last place"
            )
        self.notes.append(f"The channels of {path} come before height and width, and were put after them.")
        return np.moveaxis(images, 1, 3)
