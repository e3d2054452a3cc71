"""Long bodies, which are scored by the loop of `kilter score` while they come: who may stream, and what is wanted.

A stream's loop runs in a thread of its own and reads and writes pipes as it does files. Blocks of all streams are
judged by threads that they share, one fewer than there are cores, so that requests beside them have one.
"""

import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from kilter.service.formats import Format
from kilter.service.formats.threads import map_in_pool, usable_cores
from kilter.service.monitoring.metrics import Metrics
from kilter.service.problems import OVERLOADED, TOO_LARGE, RequestError

if TYPE_CHECKING:
    from kilter.service.formats.source import Hints

RETRY_SECONDS = 10  # what `Retry-After` says: a stream takes longer than other requests
AHEAD = 2  # blocks of a stream that wait beyond those that are judged


@dataclass(frozen=True)
class StreamQuery:
    """What a request for a stream says, in its headers and its query."""

    form: Format
    """Of the body."""
    hints: "Hints"
    answer: Format
    coding: str = ""
    """In which the body is compressed; empty for none."""
    answer_coding: str = ""
    reasons: Literal["anomalies", "all", "none"] = "anomalies"
    most_reasons: int = 5
    tails: bool = False
    only: Literal["all", "anomalies"] = "all"
    columns: Sequence[str] | None = None
    """The columns of the records that are written; None for all."""
    keep: tuple[str, ...] | None = None
    """The fields that nearest normals leave as they are; None where these are not wanted."""


class Streams:
    """Places for streams, and the threads that work on them."""

    def __init__(self, most: int, most_bytes: int | None, metrics: Metrics) -> None:
        """`most` streams are worked on at once, each of up to `most_bytes` bytes."""
        self.most_bytes = sys.maxsize if most_bytes is None else most_bytes
        self._most = most
        self._taken = 0
        self._shed = metrics.shed["streams"]
        judges = max(1, usable_cores() - 1)
        self.loops = ThreadPoolExecutor(most, "kilter-stream")
        self.mapped = map_in_pool(ThreadPoolExecutor(judges, "kilter-stream-block"), judges + AHEAD)

    @contextmanager
    def place(self) -> Iterator[None]:
        """Have a place for a stream. Raises RequestError where all are taken."""
        if self._taken >= self._most:
            self._shed.inc()
            raise RequestError(
                OVERLOADED,
                f"{self._taken} streams are worked on, and more may not be: send the request again after "
                f"{RETRY_SECONDS} s, or to another replica",
                headers={"Retry-After": str(RETRY_SECONDS)},
            )
        self._taken += 1
        try:
            yield
        finally:
            self._taken -= 1

    def too_long(self) -> RequestError:
        """The error for a body that is longer than it may be."""
        return RequestError(TOO_LARGE, f"the body is longer than {self.most_bytes:,} bytes: send it in parts")
