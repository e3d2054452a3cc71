"""Anomalies that are made of normal rows, and what encoded rows are to simple detectors."""

from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from kilter.service.detector.columns import Feature, ImageColumn
from kilter.service.detector.schema import Schema
from kilter.training.pictures.pasting import pasted, reduced

ROWS = 4_000
CELLS = 4_000_000
"""At most `ROWS` rows of a kind are used, fewer where they are so wide that they would hold more cells than this."""
PICTURES = 500
"""Most pictures of a label that are tried: the model takes milliseconds for each."""
SWAPPED = 1 / 3
"""The share of its fields that a synthetic anomaly has from another row."""

Matrix = npt.NDArray[np.float32]
Basis = Literal["labels", "swapped fields", "pasted parts"]


class Kind(NamedTuple):
    """What encoded rows are to simple detectors, and how anomalies are made of them."""

    fitted: int
    """Most rows that simple detectors are fitted to."""
    tried: int
    """Most rows of each label on which all are tried."""
    design: Callable[[Matrix], Matrix]
    """Encoded rows as numbers alone."""
    spoilt: Callable[[Matrix, np.random.Generator], Matrix]
    """Anomalies made of normal rows."""
    basis: Basis


def kind_of(schema: Schema) -> Kind:
    """What the encoded rows of a schema are to simple detectors."""
    column = schema.columns[0]
    if isinstance(column, ImageColumn):
        return Kind(ROWS, PICTURES, lambda x: reduced(x, column), lambda x, rng: pasted(x, column, rng), "pasted parts")
    features = schema.features()
    width = sum(max(feature.levels, 1) for feature in features)
    most = int(np.clip(CELLS // width, 250, ROWS))
    return Kind(most, most, lambda x: design(x, features), lambda x, rng: swapped(x, features, rng), "swapped fields")


def swapped(normal: Matrix, features: tuple[Feature, ...], rng: np.random.Generator) -> Matrix:
    """Each row with a random third of its columns, at least one, taken from another row; without those still the same.

    Every column keeps its distribution, and what binds columns together is broken.
    """
    if len(normal) < 2:
        return normal[:0]
    column = np.array([feature.column for feature in features])
    columns = int(column.max()) + 1
    count = max(1, round(SWAPPED * columns))
    donor = (np.arange(len(normal)) + rng.integers(1, len(normal), len(normal))) % len(normal)
    order = np.argsort(rng.random((len(normal), columns)), axis=1)
    chosen = np.zeros((len(normal), columns), bool)
    np.put_along_axis(chosen, order[:, :count], True, axis=1)
    made: Matrix = np.where(chosen[:, column], normal[donor], normal)
    changed = ((made != normal) & ~(np.isnan(made) & np.isnan(normal))).any(axis=1)
    kept: Matrix = made[changed]
    return kept


def design(x: Matrix, features: tuple[Feature, ...]) -> Matrix:
    """Encoded rows, (n, features), as numbers alone: missing values as 0, levels one-hot and 0 where unseen."""
    parts = [
        x[:, i, None] == np.arange(feature.levels) if feature.kind == "level" else np.nan_to_num(x[:, i, None])
        for i, feature in enumerate(features)
    ]
    return np.concatenate(parts, axis=1).astype(np.float32)
