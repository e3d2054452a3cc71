"""Sets rows apart: for fitting, for calibration, and for an evaluation that nothing else has touched."""

from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from kilter.service.detector.errors import KilterError
from kilter.service.detector.inputs import Table
from kilter.service.detector.schema import Schema
from kilter.training.calibrate import choose_size, supported_rate

MINIMUM_ROWS = 30
HOLD_OUT_FROM = 10_000
"""Normal rows from which on some are held out for evaluation alone; below, every row is worth more in the fit."""
HOLD_OUT_SHARE = 0.1
HOLD_OUT_MOST = 10_000

Positions = npt.NDArray[np.int64]


class Split(NamedTuple):
    """Positions of normal rows, each in one part; `rate` is the false-positive rate that the calibration supports."""

    fit: Positions
    calibration: Positions
    held_out: Positions
    how: Literal["random", "time"]
    rate: float


def split(normal: Positions, target_fpr: float | None, seed: int, times: npt.NDArray[np.datetime64] | None) -> Split:
    """Split normal rows at random, or by time if `times`, (rows of the table,), is given: the oldest are fitted.

    Raises KilterError if they are too few, or too few for `target_fpr`.
    """
    if len(normal) < MINIMUM_ROWS:
        raise KilterError(
            f"there are {len(normal)} normal rows to train on, and at least {MINIMUM_ROWS} are needed: give more rows"
        )
    if times is None:
        order = np.random.default_rng(seed).permutation(normal)
    else:
        order = normal[np.argsort(times[normal], kind="stable")]
    rate = supported_rate(len(normal)) if target_fpr is None else target_fpr
    size = choose_size(len(normal), rate)
    held = min(int(HOLD_OUT_SHARE * len(normal)), HOLD_OUT_MOST) if len(normal) >= HOLD_OUT_FROM else 0
    fitted = len(order) - size - held
    fit, calibration, held_out = np.split(order, [fitted, fitted + size])
    how: Literal["random", "time"] = "random" if times is None else "time"
    return Split(np.sort(fit), np.sort(calibration), np.sort(held_out), how, rate)


def time_of(
    schema: Schema, table: Table, wanted: Literal["auto", "random", "time"]
) -> npt.NDArray[np.datetime64] | None:
    """The times by which rows are split: those of the first timestamp column, or the order in the file.

    None if the split is to be random: where it is asked for, or no column holds times. Neighbours in time are not
    exchangeable, so a table with times is split by them unless `random` is asked for.
    """
    if wanted == "random":
        return None
    if schema.time is not None:
        times: npt.NDArray[np.datetime64] = table.columns[schema.time.name]
        return np.where(np.isnat(times), times.min() if len(times) else times, times)
    if wanted == "time":
        return np.arange(table.rows).astype("datetime64[us]")
    return None
