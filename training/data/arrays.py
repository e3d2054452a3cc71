"""Stacks of images in files as training data: IDX, npy and npz."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from kilter.service.detector.arrays import Array, Pixels, Positions
from kilter.service.detector.errors import KilterError, PictureError
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.pictures.pixels import picture_of
from kilter.service.formats.stacks import LABELS, read_stack, read_stack_labels
from kilter.training.data.source import Labels, Progress, read_labels
from kilter.training.data.survey import DecodedPicture, PictureTraits, coloured, finite_range

CHANNELS = (1, 2, 3, 4)
PROGRESS_EVERY = 1024


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
            image = self._at(row)
            try:
                low, high = finite_range(image)
            except PictureError as error:
                yield error
                continue
            height, width, channels = image.shape
            colour = channels >= 3 and coloured(_eight_bits(image[..., :3], low, high))
            values = () if image.dtype == np.uint8 else (low, high, image.dtype.kind in "ui")
            yield PictureTraits(height, width, colour, *values)

    def decoded(self, column: ImageColumn, progress: Progress) -> Iterator[DecodedPicture | PictureError]:
        """Every image as the model sees it, or why it cannot be."""
        total = int(self._starts[-1])
        for row in range(total):
            image = self._at(row)
            try:
                yield DecodedPicture(picture_of(image, column), *image.shape[:2])
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


def _eight_bits(image: Array, low: float, high: float) -> Pixels:
    """An image stretched to 8 bits."""
    scaled: Pixels = ((image.astype(np.float64) - low) * (255 / max(high - low, 1e-300))).astype(np.uint8)
    return scaled
