"""From pictures in folders or arrays to typed rows: what they are brought to, and which of them are normal."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import cast

import numpy as np

from kilter.service.detector.arrays import Positions
from kilter.service.detector.errors import KilterError, PictureError, Problem
from kilter.service.detector.findings import Training
from kilter.service.detector.inputs import Table
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.schema import Schema
from kilter.service.formats.addresses import local_path
from kilter.service.formats.pictures import ACCEPTED, LABELS, stack_kind
from kilter.training.data.files import ArrayPictures, FolderPictures
from kilter.training.data.source import (
    TOO_MANY_BAD,
    ColumnDecision,
    LabelledRows,
    Labels,
    Progress,
    TrainingData,
    TrainingSource,
    silent,
    unlabelled_notes,
    with_labels,
)
from kilter.training.data.survey import SAMPLED_PICTURES, decide_pictures, sizes_in_words

MOST_BYTES = 2 << 30
"""Most memory for the pictures of a run at the model's size, a byte a value; the fit takes four more."""
SHOWN_BROKEN = 5

PictureSource = FolderPictures | ArrayPictures


def holds_pictures(path: Path) -> bool:
    """Whether a path is a folder, or a file of images."""
    return path.is_dir() or stack_kind(path) is not None


def read_training_pictures(source: TrainingSource, progress: Progress = silent) -> TrainingData:
    """Read the pictures of folders, or of files of images, and decide how a model sees them.

    Raises KilterError for folders, files or labels that cannot be used, if too many pictures are broken, or if they
    need more memory than is allowed.
    """
    pictures = _opened(source)
    labels = pictures.labels(source.label, source.normal)
    column, decision = _survey(pictures, labels, source.image_size)
    table, sizes = decode_pictures(pictures, column, progress)
    said = unlabelled_notes(labels, "picture")
    if labels is None and (note := pictures.unlabelled()):
        said.append(note)
    bad = broken(table, pictures.names)
    if len(table.problems) > TOO_MANY_BAD * table.rows:
        raise KilterError(f"{bad[0]} Are these the right pictures?")
    notes = (*pictures.notes, sizes_in_words(sizes, column), *said, *bad)
    schema = Schema((column,), table.rows)
    data = TrainingData(table, (decision,), schema, labels, notes, source, pictures.names)
    pixels, normal = table.columns[column.name], data.normal
    if not any((pixels[row] != pixels[normal[0]]).any() for row in normal[1:]):
        raise KilterError("there is nothing to learn from: all pictures that count as normal are the same")
    return data


def read_labelled_pictures(source: TrainingSource, schema: Schema, training: Training) -> LabelledRows:
    """Read pictures as `TrainingModality.read_labelled` does, but never a file of labels, which is of other images."""
    pictures, column = _opened(source), cast("ImageColumn", schema.columns[0])
    array = LABELS if training.label == LABELS else None
    normal, labels = source.normal or training.normal, None
    if source.label is not None or source.normal is not None:
        labels = pictures.labels(source.label or array, normal)
    elif normal is not None:
        with suppress(KilterError):  # other data need not have them
            labels = pictures.labels(array, normal)
    table, sizes = decode_pictures(pictures, column, silent)
    notes = (*pictures.notes, sizes_in_words(sizes, column), *broken(table, pictures.names))
    return with_labels(table, schema, labels, notes, "picture", f"Pictures labelled {normal!r}")


def _opened(source: TrainingSource) -> PictureSource:
    """The pictures of folders, or of files of images. Raises KilterError if they are neither, or both."""
    if source.split_by is not None:
        raise KilterError(f"--split-by {source.split_by}: pictures have no columns by which they could be split")
    if source.group_by is not None:
        raise KilterError(f"--group-by {source.group_by}: pictures have no columns by which they could be grouped")
    paths = [*map(local_path, source.paths)]
    folders = [path for path in paths if path.is_dir()]
    if len(folders) == len(paths):
        return FolderPictures(paths, source.exclude)
    other = next((path for path in paths if not holds_pictures(path)), None)
    if other is not None:
        raise KilterError(f"{other} is no folder of pictures ({ACCEPTED}), nor images in an IDX, npy or npz file")
    if folders:
        raise KilterError(f"{folders[0]} is a folder, and other sources are arrays: train on one kind of them")
    return ArrayPictures(paths, source.exclude)


def check_memory(count: int, column: ImageColumn) -> None:
    """Raise KilterError if so many pictures of a column take too much memory."""
    size = column.height * column.width * column.channels
    if count * size > MOST_BYTES:
        raise KilterError(
            f"{count:,} pictures of {column.height} x {column.width} with {column.channels} channels take "
            f"{count * size / 1e9:.1f} GB, and at most {MOST_BYTES / 1e9:.1f} GB are taken: ask for smaller ones with "
            f"--image-size, or give at most {MOST_BYTES // size:,} of them"
        )


def decode_pictures(pictures: PictureSource, column: ImageColumn, progress: Progress) -> tuple[Table, Positions]:
    """The pictures as rows, and the height and width of each that can be read, (pictures, 2).

    A picture that cannot be read is a black row with a problem. Raises KilterError if they need too much memory.
    """
    count = len(pictures.names)
    check_memory(count, column)
    pixels = np.zeros((count, *column.shape), np.uint8)
    sizes = np.zeros((count, 2), np.int64)
    problems = []
    for row, picture in enumerate(pictures.decoded(column, progress)):
        if isinstance(picture, PictureError):
            problems.append(Problem(row, column.name, str(picture)))
        else:
            pixels[row], sizes[row] = picture.pixels, (picture.height, picture.width)
    return Table({column.name: pixels}, count, problems), sizes[sizes[:, 0] > 0]


def broken(table: Table, names: Sequence[str]) -> list[str]:
    """A sentence that names the pictures which cannot be read, if there are any."""
    if not table.problems:
        return []
    listed = "; ".join(f"{names[problem.row or 0]}: {problem.message}" for problem in table.problems[:SHOWN_BROKEN])
    more = f"; and {len(table.problems) - SHOWN_BROKEN:,} more" if len(table.problems) > SHOWN_BROKEN else ""
    return [f"{len(table.problems):,} of {table.rows:,} pictures cannot be read and were left out: {listed}{more}."]


def _survey(
    pictures: PictureSource, labels: Labels | None, size: tuple[int, int] | None
) -> tuple[ImageColumn, ColumnDecision]:
    """The column of a model, decided by some of the normal pictures."""
    everything = np.arange(len(pictures.names))
    normal = everything if labels is None else np.flatnonzero(labels.labelled & ~labels.anomalous)
    rows = np.unique(normal[np.linspace(0, len(normal) - 1, min(SAMPLED_PICTURES, len(normal))).astype(np.int64)])
    traits = list(pictures.look_at(rows))
    readable = [one for one in traits if not isinstance(one, PictureError)]
    if not readable:
        raise KilterError(
            f"none of {len(traits):,} pictures that were looked at can be read, first of all "
            f"{pictures.names[int(rows[0])]}: {traits[0]}"
        )
    return decide_pictures(readable, size)
