"""How far the fields of live records are from those that a model was fitted on."""

import time
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from kilter.service.detector.arrays import Floats, Matrix, Positions
from kilter.service.detector.modalities.base import Watched
from kilter.service.detector.reference import BINS, Reference, histogram
from kilter.service.detector.shifts import are_new

BATCH = 1024  # records are sorted into bins so many at a time: one alone would cost as much as its verdict
BLOCKS = 10
BLOCK_RECORDS = 200
BLOCK_SECONDS = 30.0
"""The window is the last BLOCKS blocks; one ends when it has lasted as long and holds as many. So the window spans
at least 4.5 minutes, however busy the service is, and 1,800 records, however idle, and takes the same memory always."""


class FieldTally:
    """Counts missing and unseen values since the start, and holds a histogram of each field over a sliding window."""

    def __init__(
        self, reference: Reference, watched: Sequence[Watched], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._reference, self._watched, self._clock = reference, watched, clock
        self._positions = [one.position for one in watched]
        self.latest: Matrix = np.empty((0, len(watched)), np.float32)
        """The figures of the records that were settled last, (n, fields)."""
        self._waiting: list[Matrix] = []
        self._waiting_records = 0
        self._blocks: deque[tuple[Positions, int]] = deque()
        self._window, self._total = self._empty(), self._empty()
        self._begin()
        self.records = 0

    def _empty(self) -> Positions:
        return np.zeros((len(self._positions), BINS + 3), np.int64)  # a histogram, and the number of new values

    def _begin(self) -> None:
        self._block, self._block_records, self._began = self._empty(), 0, self._clock()

    def add(self, features: Matrix) -> None:
        """Count encoded records, (n, features), now or a little later."""
        self._waiting.append(features)
        self._waiting_records += len(features)
        if self._waiting_records >= BATCH:
            self.settle()

    def settle(self) -> None:
        """Count what waits, and let go of what has left the window."""
        if not self._waiting:
            return
        self.latest = np.concatenate(self._waiting).take(self._positions, axis=1)
        new = are_new(self.latest, self._watched).sum(axis=0)
        counts = np.column_stack([histogram(self.latest, self._reference.edges), new])
        for kept in (self._total, self._window, self._block):
            kept += counts
        self._block_records += self._waiting_records
        self.records += self._waiting_records
        self._waiting, self._waiting_records = [], 0
        if self._block_records >= BLOCK_RECORDS and self._clock() - self._began >= BLOCK_SECONDS:
            self._blocks.append((self._block, self._block_records))
            self._begin()
            if len(self._blocks) == BLOCKS:
                gone, records = self._blocks.popleft()
                self._window -= gone
                self.records -= records

    @property
    def missing(self) -> Positions:
        """Per field the settled records without a value, (fields,)."""
        return self._total[:, BINS + 1]

    @property
    def unseen(self) -> Positions:
        """Per field the settled records with a level that training never saw, (fields,)."""
        return self._total[:, BINS]

    @property
    def missing_of_late(self) -> Positions:
        """Per field the records of the window without a value, (fields,)."""
        return self._window[:, BINS + 1]

    @property
    def new_of_late(self) -> Positions:
        """Per field the records of the window with a value that no fitting row could have had, (fields,)."""
        return self._window[:, BINS + 2]

    def drift(self) -> Floats:
        """`excess` of each field over the window, (fields,); NaN where there is nothing to compare."""
        if self._reference.shares is None or not self.records:
            return np.full(len(self._positions), np.nan)
        return excess(self._window[:, : BINS + 2], self.records, self._reference.shares, self._reference.rows)


def excess(counts: Positions, records: int, shares: Floats, rows: int) -> Floats:
    """Population stability without its noise, per field: 0 on average while nothing has drifted, 4 at most.

    sum 2 (p - q)^2 / (p + q) - sum min((1 - q) (1/n + 1/m), 4 q), over the bins of each field, with the shares p of
    n live records and q of m fitting rows. The first sum agrees with the population stability index,
    sum (p - q) ln(p / q), to second order, so that its usual levels (0.1 a shift, 0.25 a large one) hold, and stays
    finite where a bin is empty. Either has a mean of about (bins - 1) (1/n + 1/m) with no drift at all, and would
    call a short window drifted; that mean is the second sum.
    """
    p, q = counts / records, shares
    total = p + q
    apart = np.divide(2 * (p - q) ** 2, total, out=np.zeros_like(total), where=total > 0)
    noise = np.minimum((1 - q) * (1 / records + 1 / rows), 4 * q)
    return np.asarray(apart.sum(axis=1) - noise.sum(axis=1))
