"""A sketch of the rows that a model was trained on: hashes by which most of them are known again in a file.

Of all distinct rows those with the smallest hashes are kept. A row of a file whose hash is small enough to be among
them is tested, and was in the training if it is; that is a random sample of the file's rows (Bar-Yossef et al.,
Counting distinct elements in a data stream, 2002).
"""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from kilter.service.detector.arrays import Array, Matrix
from kilter.service.detector.beta import quantile
from kilter.service.detector.errors import ArtifactError

HASHES, RECURRING = "sketch.hashes", "sketch.recurring"
"""Names of two tensors of an artifact: hashes, (at most SIZE,), and the share of rows that recur by nature, (1,)."""
SIZE = 4_096
DOUBT = 1e-3
TWIST = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 0x9E3779B97F4A7C15)


class Familiar(NamedTuple):
    """Rows that were looked for in a sketch, and how many of them it holds."""

    tested: int = 0
    known: int = 0

    def joined(self, other: "Familiar") -> "Familiar":
        """Both together."""
        return Familiar(self.tested + other.tested, self.known + other.known)


class Sketch(NamedTuple):
    """The smallest hashes of the rows that a model was trained on, ascending."""

    hashes: Array
    recurring: float
    """The share of new rows that are equal to a training row by nature: of few categories many are."""

    def look_up(self, figures: Matrix) -> Familiar:
        """How many rows, (n, ...), could be in the sketch, and how many are."""
        hashes = row_hashes(figures)
        if len(self.hashes) >= SIZE:
            hashes = hashes[hashes <= self.hashes[-1]]
        if not len(self.hashes):
            return Familiar()
        places = np.minimum(self.hashes.searchsorted(hashes), len(self.hashes) - 1)
        return Familiar(len(hashes), int((self.hashes[places] == hashes).sum()))

    def holds_most(self, rows: Familiar) -> bool:
        """Whether it is beyond doubt that more than half of the rows were in the training, and not by nature."""
        if not rows.known:
            return False
        # The lower end of the interval of the share that is known (Clopper and Pearson).
        return quantile(DOUBT, rows.known, rows.tested - rows.known + 1) > (1 + self.recurring) / 2


def row_hashes(figures: Matrix) -> Array:
    """A hash of 64 bits of each row of numbers, (n, ...), as they are in single precision: (n,)."""
    x = np.zeros((len(figures), figures.shape[1] + figures.shape[1] % 2), np.float32)
    np.add(figures, 0, out=x[:, : figures.shape[1]], casting="same_kind")  # makes -0 to 0
    missing = np.isnan(x)
    if missing.any():
        x[missing] = np.nan
    words = x.view(np.uint64)  # two numbers each
    words ^= words >> np.uint64(29)
    odd = _twisted(np.arange(1, words.shape[1] + 1, dtype=np.uint64)) | np.uint64(1)
    return _twisted(words @ odd)


def _twisted(words: Array) -> Array:
    """Numbers of 64 bits, spread evenly (the finaliser of SplitMix64: Steele, Lea and Flood, 2014)."""
    first, second, step = (np.uint64(constant) for constant in TWIST)
    words = words * step
    words = (words ^ (words >> np.uint64(30))) * first
    words = (words ^ (words >> np.uint64(27))) * second
    mixed: Array = words ^ (words >> np.uint64(31))
    return mixed


def sketch_tensors(fitted: Matrix, others: Matrix) -> dict[str, Array]:
    """The tensors of the sketch of the fitting rows and of `others`, (n, ...) each, which are new to the fit.

    The share of the others that are equal to a fitting row is that of rows that recur by nature.
    """
    first, second = row_hashes(fitted), row_hashes(others)
    recurring = float(np.isin(second, first).mean()) if len(second) else 0.0
    return {HASHES: np.unique(np.concatenate([first, second]))[:SIZE], RECURRING: np.array([recurring])}


def sketch_of(tensors: Mapping[str, Array]) -> Sketch | None:
    """The sketch in an artifact's tensors, if there is one. Raises ArtifactError if it is none."""
    if HASHES not in tensors and RECURRING not in tensors:
        return None
    hashes, recurring = (tensors.get(name, np.empty(0)) for name in (HASHES, RECURRING))
    if hashes.dtype != np.uint64 or hashes.ndim != 1 or not len(hashes) <= SIZE or (hashes[1:] <= hashes[:-1]).any():
        raise ArtifactError(f"tensor {HASHES!r} is no sketch: at most {SIZE:,} hashes of 64 bits that ascend")
    if recurring.shape != (1,) or not 0 <= recurring[0] <= 1:
        raise ArtifactError(f"tensor {RECURRING!r} is no share from 0 to 1")
    return Sketch(hashes, float(recurring[0]))
