"""The pictures of folders as training data: one file a picture, and subfolders' names as labels."""

from collections import Counter
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from kilter.service.detector.arrays import Positions
from kilter.service.detector.errors import KilterError, PictureError
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.formats.pictures import ACCEPTED, find_pictures
from kilter.training.data.decoding import DecodedPicture, Progress, decoded_file, each, silent
from kilter.training.data.source import LISTED, Labels
from kilter.training.data.survey import PictureTraits, look_at_file

SHOWN_FILES = 2


class FolderPictures:
    """The pictures of one or several folders, folder by folder, in the order of their paths."""

    def __init__(self, folders: Sequence[Path], exclude: Sequence[str] = ()) -> None:
        """PictureTraits through folders, leaving out the subfolders named in `exclude`.

        Raises KilterError if there is no picture, if one would be read twice, or if there is no such subfolder.
        """
        self.paths: list[Path] = []
        self.parts: list[tuple[str, ...]] = []
        """Of each picture the names of the folders around it, from the folder that was given on, and its own."""
        self.notes: list[str] = []
        left_out: set[str] = set()
        for folder in folders:
            files = find_pictures(folder)
            self.notes += _noted(folder, files.masks, files.others)
            for name in files.pictures:
                parts = PurePosixPath(name).parts
                excluded = {*parts[:-1]} & {*exclude}
                left_out |= excluded
                if not excluded:
                    self.paths.append(folder / name)
                    self.parts.append((folder.resolve().name, *parts))
        self._several = len(folders) > 1
        self._check(folders, set(exclude) - left_out)

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
        """What is seen of some pictures, by their positions."""
        return each(look_at_file, [self.paths[row] for row in rows], silent)

    def decoded(self, column: ImageColumn, progress: Progress) -> Iterator[DecodedPicture | PictureError]:
        """Every picture as the model sees it, or why it cannot be read."""
        return each(partial(decoded_file, column), self.paths, progress)

    def unlabelled(self) -> str | None:
        """What to know where all pictures count as normal although they lie in several folders."""
        if len({parts[:-1] for parts in self.parts}) < 2:
            return None
        return f"All pictures count as normal, whatever folder they lie in; {self._by_folder()}. --normal names one."

    def _by_folder(self) -> str:
        counts = Counter(parts[-2] for parts in self.parts)
        shown = ", ".join(f"{name!r} ({count:,})" for name, count in counts.most_common(LISTED))
        return f"pictures lie in {shown}{', ...' if len(counts) > LISTED else ''}"

    def _check(self, folders: Sequence[Path], unknown: set[str]) -> None:
        named = ", ".join(map(str, folders))
        if unknown:
            raise KilterError(f"--exclude names {min(unknown)!r}, and no pictures lie in such a folder of {named}")
        if not self.paths:
            raise KilterError(f"there is no picture in {named}: {ACCEPTED} are read. {' '.join(self.notes)}".rstrip())
        counts = Counter(path.resolve() for path in self.paths)
        path, times = counts.most_common(1)[0]
        if times > 1:
            raise KilterError(f"{path} would be read {times} times: name each folder once, and none within another")


def _noted(folder: Path, masks: Sequence[str], others: Sequence[str]) -> list[str]:
    notes = []
    if masks:
        notes.append(
            f"In {folder}, {_counted(masks)} left out as a mask, since a photograph of the same name lies beside it: "
            f"{_listed(masks)}."
        )
    if others:
        notes.append(
            f"In {folder}, {_counted(others)} passed over, being no picture of a known format: {_listed(others)}."
        )
    return notes


def _counted(names: Sequence[str]) -> str:
    return "1 file was" if len(names) == 1 else f"each of {len(names):,} files was"


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN_FILES]) + (", ..." if len(names) > SHOWN_FILES else "")
