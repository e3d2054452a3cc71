"""How fast a model is, by its last batches: how many records one may have, and how long those in flight will take."""

import math

BATCH_SECONDS = 0.1
"""A batch is made so small that it is expected to take no longer: deadlines are looked at between batches."""
INLINE_SECONDS = 0.004
"""Batches that are expected to take longer are worked on in a thread, and the loop goes on answering."""
REMEMBERED = 8
"""Batches by which the next one's time is foretold: the fastest, as a busy machine slows some down."""


class Pace:
    """The seconds and records of a model's last batches, and the records of it that are in flight.

    A batch takes some seconds, whatever it holds, and some more for each record; by one batch nobody can tell which. So
    a larger one is taken to need as many times longer, and the bound on a batch grows while it proves to need less.
    Batches may be learned in any thread.
    """

    __slots__ = ("_bounds", "_seen", "inline", "longest", "most", "queued")

    def __init__(self) -> None:
        self.most = 1
        """Records that a batch may have: at least one, and as many as are expected to take `BATCH_SECONDS`."""
        self.longest = math.inf
        """Seconds that a batch of `most` records is expected to take."""
        self.inline = 0
        """Records that are expected to take `INLINE_SECONDS` at most."""
        self.queued = 0
        """Records that are admitted and not answered yet."""
        self._seen: tuple[tuple[float, int], ...] = ()
        self._bounds: tuple[int, ...] = ()

    def learn(self, seconds: float, rows: int) -> None:
        """Take in how long a batch of so many records took."""
        if seconds <= 0.0 or rows < 1:
            seconds, rows = max(seconds, 1e-9), max(rows, 1)
        bound = _bound(seconds, rows)
        if seconds > BATCH_SECONDS:  # believed at once, against all that was seen before
            self._seen, self._bounds = (), ()
        self._seen = seen = (*self._seen[1 - REMEMBERED :], (seconds, rows))
        self._bounds = bounds = (*self._bounds[1 - REMEMBERED :], bound)
        self.most = most = max(bounds)
        self.longest = self.expected(most)
        self.inline = max([int(count * INLINE_SECONDS / s) if s <= INLINE_SECONDS else 0 for s, count in seen])

    def expected(self, rows: int) -> float:
        """The seconds that a batch is going to take; infinite before the first."""
        return min([s if rows <= count else s * rows / count for s, count in self._seen], default=math.inf)

    def wait(self, rows: int) -> float:
        """The seconds until so many records more would be answered; 0 where nothing is in flight.

        What would be judged next is never refused: the service would not learn that a model has become faster.
        """
        if not self.queued or not self._seen:
            return 0.0
        total = self.queued + rows
        return self.expected(total) if total <= self.most else total / self.most * self.longest


def _bound(seconds: float, rows: int) -> int:
    """The records that may come next by a batch that took so long: half as many more, if it had time to spare."""
    linear = int(rows * BATCH_SECONDS / seconds)
    return max(1, linear) if seconds > BATCH_SECONDS else max(linear, rows + (rows + 1) // 2)
