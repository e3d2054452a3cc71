"""How far apart pictures are when small parts of them may move a little: the distance of `PictureMemory`, by NumPy."""

from functools import reduce
from itertools import product, starmap

import numpy as np

from kilter.service.detector.arrays import Floats, Matrix

MOST_SIDE = 64  # pictures are compared at no more than so many pixels a side
SHIFT = 1  # every part of a picture may move by so many pixels
PATCH = 5  # parts that move as one are so many pixels wide
CANDIDATES = 15  # pictures nearest without any move, that are looked at with moves


def moved_distances(seen: Matrix, others: Matrix, shape: tuple[int, int, int]) -> Floats:
    """The squared distances of a picture, (values,), from others, (n, values), as they are compared: (n,).

    `shape` is channels, height and width.
    """
    _, height, width = shape
    picture = seen.reshape(shape).astype(np.float64)
    pictures = np.pad(others.reshape(-1, *shape).astype(np.float64), ((0, 0), (0, 0), *[(SHIFT, SHIFT)] * 2), "edge")

    def apart(down: int, right: int) -> Floats:
        moved = pictures[..., down : down + height, right : right + width]
        return means_around(means_around(np.square(picture - moved).sum(axis=1)).mT).mT

    best = reduce(np.minimum, starmap(apart, product(range(2 * SHIFT + 1), repeat=2)))
    distances: Floats = best.sum(axis=(1, 2))
    return distances


def means_around(values: Floats) -> Floats:
    """The mean of the values up to half a patch away along the last axis, of those that there are."""
    places = np.arange(values.shape[-1])
    low, high = np.maximum(places - PATCH // 2, 0), np.minimum(places + PATCH // 2 + 1, len(places))
    sums = np.cumsum(np.concatenate([np.zeros_like(values[..., :1]), values], axis=-1), axis=-1)
    means: Floats = (sums[..., high] - sums[..., low]) / (high - low)
    return means
