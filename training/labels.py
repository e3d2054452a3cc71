"""The label column: which rows are normal."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from kilter.service.detector.errors import KilterError

SHOWN = 8


class Labels(NamedTuple):
    """Which rows are labelled anomalous and which are labelled at all, (rows,) each."""

    anomalous: npt.NDArray[np.bool_]
    known: npt.NDArray[np.bool_]


def read_labels(frame: pl.DataFrame, column: str, normal: str | None) -> Labels:
    """Read the labels of a frame: a row is normal where its label, as text, is `normal`, unlabelled where it is empty.

    Raises KilterError if the column or the value is not there.
    """
    if column not in frame.columns:
        raise KilterError(f"there is no column {column!r} to take labels from: {', '.join(frame.columns)}")
    values = frame[column].cast(pl.String).str.strip_chars().fill_null("")
    counts = values.value_counts(sort=True)
    found = ", ".join(f"{value!r} ({count:,})" for value, count in counts.head(SHOWN).iter_rows())
    if normal is None:
        raise KilterError(f"say which value of {column!r} is normal, with --normal; it has {found}")
    wanted = {normal, f"{normal}.0", normal.removesuffix(".0")}
    is_normal = values.is_in(list(wanted)).to_numpy()
    if not is_normal.any():
        raise KilterError(f"no row has {normal!r} in {column!r}; it has {found}")
    known = (values != "").to_numpy() | is_normal
    return Labels(~is_normal & known, known)
