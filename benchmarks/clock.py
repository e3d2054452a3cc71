"""How long things take: CPU seconds of this process, which other processes do not disturb as they do the wall clock."""

import time
from collections.abc import Callable
from functools import partial
from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

BATCH = 1_024
REPEATS = 7
BUDGET = 0.5
"""Seconds after which a repetition is the last."""

T = TypeVar("T")
Matrix = npt.NDArray[np.float32]
Score = Callable[[Matrix], npt.NDArray[np.float64]]


class Speed(NamedTuple):
    """Median CPU microseconds per row, in batches of `BATCH` rows and for one row alone."""

    batch_us: float
    record_us: float


def timed(work: Callable[[], T]) -> tuple[T, float]:
    """The result of some work, and the CPU seconds that it took."""
    began = time.process_time()
    result = work()
    return result, time.process_time() - began


def speed(score: Score, x: Matrix) -> Speed:
    """How fast rows like x, (n, features), are scored; x is repeated until it fills a batch."""
    batch = np.resize(x, (BATCH, x.shape[1]))
    return Speed(_median(score, [batch]) / BATCH, _median(score, [row[None] for row in batch[:32]]))


def _median(score: Score, calls: list[Matrix]) -> float:
    """Median CPU microseconds of a call, over calls and repetitions; the first repetition only warms up."""
    seconds: list[float] = []
    spent = 0.0
    for repeat in range(REPEATS + 1):
        for x in calls:
            taken = timed(partial(score, x))[1]
            spent += taken
            if repeat or spent > BUDGET:
                seconds.append(taken)
        if spent > BUDGET:
            break
    return 1e6 * float(np.median(seconds))
