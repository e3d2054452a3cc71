"""Pictures to detect anomalies among, and the protocols by which they are used.

MNIST, one class against the rest: a digit's first 70 % in the order of the file are trained on, the others and 900
random images of other digits are tested. Surfaces: a folder with the subfolder `good`, of which 80 % are trained on,
and others with defects, a mask beside each as PNG; the good ones are split at random, or so that pictures which
correlate stand on one side.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.sparse.csgraph import connected_components

from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.pictures.pixels import to_pixels
from kilter.service.formats.pictures import find_pictures, read_stack, read_stack_labels

TRAINED = 0.7
OTHERS = 900
"""Images of other digits that are tested."""
GOOD = "good"
FITTED = 0.8
"""Share of the good surfaces that is trained on."""
DUPLICATES = 0.9
"""Pictures that correlate by more than this are near-duplicates."""
COMPARED = ImageColumn("image", 64, 64, 1)
"""The size at which they are compared."""

Pixels = npt.NDArray[np.uint8]
Picture = Path | Pixels
Mask = npt.NDArray[np.bool_]


class Split(NamedTuple):
    """Pictures to train on, all of them normal, and to test on."""

    train: list[Picture]
    test: list[Picture]
    anomalous: Mask
    """(len(test),)"""
    masks: list[Path | None]
    """Of each tested picture the file that shows its defect in white, if there is one."""


def digits(folder: Path) -> tuple[Pixels, npt.NDArray[np.int64]]:
    """Images and labels of MNIST's test set."""
    images = read_stack(next(folder.glob("t10k-images*"))).images
    return images.astype(np.uint8), read_stack_labels(next(folder.glob("t10k-labels*"))).astype(np.int64)


def one_digit(images: Pixels, labels: npt.NDArray[np.int64], digit: int, seed: int = 0) -> Split:
    """A digit against the others."""
    own = np.flatnonzero(labels == digit)
    train, rest = np.split(own, [int(TRAINED * len(own))])
    different = np.flatnonzero(labels != digit)
    others = np.random.default_rng(seed).choice(different, min(OTHERS, len(different)), replace=False)
    test = np.concatenate([rest, others])
    anomalous = np.arange(len(test)) >= len(rest)
    return Split([images[i] for i in train], [images[i] for i in test], anomalous, [None] * len(test))


def surfaces(folder: Path, seed: int, *, apart: bool) -> Split:
    """Good surfaces against those with defects; near-duplicates of good ones are kept on one side if `apart`."""
    found = find_pictures(folder)
    good = [folder / name for name in found.pictures if Path(name).parts[0] == GOOD]
    odd = [folder / name for name in found.pictures if Path(name).parts[0] != GOOD]
    groups = near_duplicates(good) if apart else np.arange(len(good))
    trained = _filled(groups, int(FITTED * len(good)), np.random.default_rng(seed))
    train = [path for path, chosen in zip(good, trained, strict=True) if chosen]
    test = [*(path for path, chosen in zip(good, trained, strict=True) if not chosen), *odd]
    masks = {Path(name).with_suffix(""): folder / name for name in found.masks}
    return Split(
        list(train),
        list(test),
        np.arange(len(test)) >= len(good) - len(train),
        [masks.get(path.relative_to(folder).with_suffix("")) for path in test],
    )


def near_duplicates(paths: list[Path]) -> npt.NDArray[np.int64]:
    """The group of each picture: those that correlate, and those that correlate with these, are one."""
    rows = pixels(list(paths), COMPARED).reshape(len(paths), -1).astype(np.float64)
    groups: npt.NDArray[np.int64] = connected_components(np.corrcoef(rows) > DUPLICATES)[1]
    return groups


def pixels(pictures: list[Picture], column: ImageColumn) -> Pixels:
    """Pictures as a model of that column sees them, (n, height, width, channels)."""
    return np.stack([to_pixels(one.read_bytes() if isinstance(one, Path) else one, column) for one in pictures])


def _filled(groups: npt.NDArray[np.int64], most: int, rng: np.random.Generator) -> Mask:
    """At most so many members of groups, (n,) from 0: in a random order every group that still fits in as a whole."""
    sizes = np.bincount(groups)
    chosen = np.zeros(len(sizes), bool)
    total = 0
    for group in rng.permutation(len(sizes)):
        if total + sizes[group] <= most:
            chosen[group] = True
            total += int(sizes[group])
    return chosen[groups]
