"""Bounds on what is in flight, in records, bytes, seconds and pixels; beyond them a request is refused, or waits."""

import math
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from kilter.service.monitoring.metrics import Metrics
from kilter.service.problems import OVERLOADED, RequestError

RETRY_SECONDS = 1  # what `Retry-After` says: a queue that is full now is shorter, or gone, in a second
LONGEST_RETRY_SECONDS = 3600
SURE = 0.8  # the share of its time in which a request must be expected to be answered: it is an estimate


class Admission:
    """Counts the records and bytes in flight; safe to be called from several threads.

    A request that alone exceeds a bound is let in when nothing else is in flight: its own limits are others.
    """

    def __init__(self, max_records: int, max_bytes: int, metrics: Metrics) -> None:
        self.records = 0
        self.bytes = 0
        self._max_records = max_records
        self._max_bytes = max_bytes
        self._shed = metrics.shed
        self._lock = threading.Lock()
        metrics.queue.set_function(lambda: self.records)
        metrics.queue_limit.set(max_records)

    def enter(self, records: int, size: int, own_records: int = 0, own_size: int = 0) -> None:
        """Let records and bytes in, until `leave`, of a request that has `own` ones in already.

        Raises RequestError where there are too many.
        """
        with self._lock:
            if records and self.records > own_records and self.records + records > self._max_records:
                reason, amount = "records", f"{self.records:,} records"
            elif size and self.bytes > own_size and self.bytes + size > self._max_bytes:
                reason, amount = "bytes", f"{self.bytes:,} bytes"
            else:
                self.records += records
                self.bytes += size
                return
        raise self._refusal(reason, amount)

    def check_bytes(self, size: int) -> None:
        """Raise RequestError if so many bytes more would not be let in as things stand."""
        if self.bytes and self.bytes + size > self._max_bytes:
            raise self._refusal("bytes", f"{self.bytes:,} bytes")

    def _refusal(self, reason: str, amount: str) -> RequestError:
        self._shed[reason].inc()
        return RequestError(
            OVERLOADED,
            f"{amount} are in flight already: send the request again after {RETRY_SECONDS} s, or to another replica",
            headers={"Retry-After": str(RETRY_SECONDS)},
        )

    def fits(self, records: int) -> bool:
        """Whether `enter` would let so many records in."""
        return not self.records or self.records + records <= self._max_records

    def check_wait(self, wait: float, left: float) -> None:
        """Raise RequestError for a request that is expected to be answered after `wait` s, and has `left` s."""
        if wait <= left * SURE:
            return
        self._shed["wait"].inc()
        seconds = min(max(1, math.ceil(wait)), LONGEST_RETRY_SECONDS)
        raise RequestError(
            OVERLOADED,
            f"it would be answered after about {wait:.1f} s, by what is in flight, and has {max(left, 0):.1f} s: send "
            f"the request again after {seconds} s, or to another replica, or with more time",
            headers={"Retry-After": str(seconds)},
        )

    def leave(self, records: int, size: int) -> None:
        """Records and bytes that are answered, or given up."""
        with self._lock:
            self.records -= records
            self.bytes -= size


class Hold:
    """What one request holds of an admission, until it is released."""

    __slots__ = ("_admission", "_records", "size")

    def __init__(self, admission: Admission) -> None:
        self._admission = admission
        self._records = 0
        self.size = 0

    def add(self, records: int, size: int) -> None:
        """Hold more. Raises RequestError where there is too much in flight already."""
        self._admission.enter(records, size, self._records, self.size)
        self._records += records
        self.size += size

    def reach(self, size: int) -> None:
        """Hold at least so many bytes. Raises RequestError where there is too much in flight already."""
        if size > self.size:
            self.add(0, size - self.size)

    def release(self) -> None:
        """Let go of all of it."""
        if self._records or self.size:
            self._admission.leave(self._records, self.size)
            self._records = self.size = 0


class Room:
    """So many pixels in memory at once, by all threads together; whoever needs more than is left waits in a row."""

    def __init__(self, pixels: int) -> None:
        self._pixels = self._left = pixels
        self._door = threading.Lock()
        """Held by the one that waits: those behind it do not go before it, however little they need."""
        self._changed = threading.Condition()

    @contextmanager
    def take(self, pixels: int) -> Iterator[None]:
        """Have room for so many pixels, or all that there is."""
        taken = min(pixels, self._pixels)
        with self._door, self._changed:
            self._changed.wait_for(lambda: self._left >= taken)
            self._left -= taken
        try:
            yield
        finally:
            with self._changed:
                self._left += taken
                self._changed.notify_all()
