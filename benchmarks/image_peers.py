"""What people fall back on for pictures: simple detectors on the pixels of one size.

Each fits pictures as rows of numbers from 0 to 1 and returns a function that scores more of them.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from benchmarks.clock import Matrix
from benchmarks.peers import Fit, isolation_forest, nearest, principal_components


class Peer(NamedTuple):
    """What is done to each picture, and what is fitted to them."""

    prepare: Callable[[Matrix], Matrix]
    fit: Fit


def as_they_are(x: Matrix) -> Matrix:
    """Pictures, (n, pixels), unchanged."""
    return x


def standardised(x: Matrix) -> Matrix:
    """Each picture, (n, pixels), less its own mean and over its own standard deviation."""
    centred = x - x.mean(axis=1, keepdims=True)
    rows: Matrix = centred / np.maximum(centred.std(axis=1, keepdims=True), 1e-6)
    return rows


PEERS: dict[str, Peer] = {
    "pca": Peer(as_they_are, principal_components),
    "nn": Peer(as_they_are, nearest(1)),
    "nn-standardised": Peer(standardised, nearest(1)),
    "iforest": Peer(as_they_are, isolation_forest),
}
