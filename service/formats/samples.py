"""A uniform sample of rows that come in batches, in one pass and in bounded memory."""

from collections.abc import Iterator
from io import BytesIO

import numpy as np
import polars as pl

from kilter.service.detector.arrays import Floats

ROOM = 2  # times as many rows as are wanted are held before some are dropped


class RowSample:
    """Of all rows that are added at most so many, each as likely to be among them: those of the smallest random keys.

    Rows stay in their order. After Efraimidis and Spirakis (2006), with equal weights.
    """

    def __init__(self, most: int, seed: int) -> None:
        """`most` rows are kept, drawn by `seed`."""
        self.seen = 0
        self._most = most
        self._rng = np.random.default_rng(seed)
        self._parts: list[tuple[int, pl.DataFrame, Floats]] = []
        self._held = 0
        self._bound = 1.0

    def add(self, group: int, frame: pl.DataFrame) -> None:
        """Take in rows of a group, such as a file; groups may have different types."""
        keys = self._rng.random(frame.height)
        self.seen += frame.height
        self._hold(group, frame, keys)
        if self._held > ROOM * self._most:
            self._drop()

    def frames(self) -> Iterator[tuple[int, pl.DataFrame]]:
        """The groups that have rows in the sample, with these."""
        self._drop()
        for group in dict.fromkeys(group for group, _, _ in self._parts):
            yield group, pl.concat([frame for own, frame, _ in self._parts if own == group])

    def _hold(self, group: int, frame: pl.DataFrame, keys: Floats) -> None:
        kept = keys <= self._bound
        if not kept.all():
            frame, keys = _copied(frame.filter(kept)), keys[kept]
        if frame.height:
            self._parts.append((group, frame, keys))
            self._held += frame.height

    def _drop(self) -> None:
        """Drop all but the rows of the smallest keys."""
        if self._held <= self._most:
            return
        keys = np.concatenate([keys for _, _, keys in self._parts])
        self._bound = float(np.partition(keys, self._most - 1)[self._most - 1])
        parts, self._parts, self._held = self._parts, [], 0
        for part in parts:
            self._hold(*part)


def _copied(frame: pl.DataFrame) -> pl.DataFrame:
    """A frame in memory of its own: some rows of a frame would hold all texts of it."""
    copy = BytesIO()
    frame.write_ipc(copy)
    copy.seek(0)
    return pl.read_ipc(copy)
