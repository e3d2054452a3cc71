"""The rows that the score of a table remembers, as records: each was in the training, or is taken for as normal."""

from collections.abc import Mapping, Sequence

import numpy as np

from kilter.service.detector.arrays import Array, Floats, Matrix
from kilter.service.detector.columns import Feature
from kilter.service.detector.errors import ArtifactError
from kilter.service.detector.scores import MEMORY

ROWS, SCALE = MEMORY, "score.geometry.scale"
"""Names of tensors of an artifact: the points that are remembered, and the scales of the dense features in them."""


class Exemplars:
    """Remembered rows, by the values that they were remembered with; what was missing is there as it was expected."""

    def __init__(self, features: Sequence[Feature], points: Matrix, scale: Matrix) -> None:
        """Points, (n, axes), begin with dense features: numbers, flags as -1 and 1, and one for each level."""
        kinds = {
            kind: [i for i, one in enumerate(features) if one.kind == kind] for kind in ("gaussian", "flag", "level")
        }
        self._gaussian, self._flag = kinds["gaussian"], kinds["flag"]
        self._level = {i: features[i].levels for i in kinds["level"]}
        self._codes = np.array([code for size in self._level.values() for code in range(size)], np.float32)
        places = [*self._gaussian, *self._flag, *(i for i, size in self._level.items() for _ in range(size))]
        columns = np.array([features[i].column for i in places])
        self._to_columns = (columns[:, None] == np.arange(max(columns) + 1)).astype(np.float32)
        self._dense_of = np.array(places)
        self._scale, self._points = scale.astype(np.float32), points[:, : len(places)].astype(np.float32)
        self._features = len(features)

    def __len__(self) -> int:
        return len(self._points)

    def encoded(self, rows: Array) -> Matrix:
        """Some of the rows as a network takes them: (n, features)."""
        dense = self._points[rows] / self._scale
        x = np.zeros((len(rows), self._features), np.float32)
        x[:, self._gaussian] = dense[:, : len(self._gaussian)]
        start = len(self._gaussian) + len(self._flag)
        x[:, self._flag] = dense[:, len(self._gaussian) : start] > 0
        for i, size in self._level.items():
            x[:, i] = dense[:, start : start + size].argmax(axis=1)
            start += size
        return x

    def distances(self, x: Matrix) -> Floats:
        """The squared distances of an encoded record, (features,), from each row in each column: (n, columns).

        They are those by which the score compares. A value that is missing, or hidden, is no distance from any.
        """
        values = x[self._dense_of].astype(np.float32)
        gaussians, flags = len(self._gaussian), len(self._gaussian) + len(self._flag)
        values[gaussians:flags] = 2 * values[gaussians:flags] - 1
        there = np.isfinite(values)
        values[flags:] = values[flags:] == self._codes
        step = np.where(there, values, 0) * self._scale - self._points
        squares: Floats = (np.square(step) @ (self._to_columns * there[:, None])).astype(np.float64)
        return squares


def exemplars_of(features: Sequence[Feature], tensors: Mapping[str, Array]) -> Exemplars | None:
    """The rows that a score remembers, in the tensors of its network; None if it remembers none in this way.

    Raises ArtifactError if the tensors do not fit the features.
    """
    if not {ROWS, SCALE} <= tensors.keys():
        return None
    size = sum(one.levels if one.kind == "level" else 1 for one in features)
    (rows, scale) = (tensors[name].shape for name in (ROWS, SCALE))
    if scale != (size,) or len(rows) != 2 or rows[1] < size:
        raise ArtifactError(f"tensors {ROWS!r} {rows} and {SCALE!r} {scale}: the schema asks for {size} dense features")
    return Exemplars(features, tensors[ROWS], tensors[SCALE])
