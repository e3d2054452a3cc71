"""How much may be in flight at once, in records and in bytes; beyond it a request is told at once to come back."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from service.metrics import Metrics
from service.problems import OVERLOADED, RequestError

RETRY_SECONDS = 1
"""What `Retry-After` says: a queue that is full now is shorter, or gone, in a second."""


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

    def enter(self, records: int, size: int) -> None:
        """Let records and bytes in, until `leave`. Raises RequestError where there are too many already."""
        with self._lock:
            if self.records and self.records + records > self._max_records:
                reason, told = "records", f"{self.records:,} records"
            elif self.bytes and self.bytes + size > self._max_bytes:
                reason, told = "bytes", f"{self.bytes:,} bytes"
            else:
                self.records += records
                self.bytes += size
                return
        self._shed[reason].inc()
        raise RequestError(
            OVERLOADED,
            f"{told} are in flight already: send the request again after {RETRY_SECONDS} s, or to another replica",
            headers={"Retry-After": str(RETRY_SECONDS)},
        )

    def leave(self, records: int, size: int) -> None:
        """Records and bytes that are answered, or given up."""
        with self._lock:
            self.records -= records
            self.bytes -= size

    @contextmanager
    def held(self, records: int, size: int) -> Iterator[None]:
        """`enter` and `leave` around a block."""
        self.enter(records, size)
        try:
            yield
        finally:
            self.leave(records, size)
