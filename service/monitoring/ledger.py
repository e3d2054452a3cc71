"""What is told of a request once it is answered: its duration, and a line in the log."""

import asyncio
import logging
import time
from typing import NamedTuple

from msgspec import UNSET
from starlette.types import Scope

from kilter.service.bodies.body import headers
from kilter.service.monitoring.durations import Series
from kilter.service.monitoring.logs import RequestLine, shown_time
from kilter.service.monitoring.metrics import Metrics
from kilter.service.monitoring.notes import Notes
from kilter.service.monitoring.telemetry import Traced, trace_id

log = logging.getLogger("kilter.service.web.edge")
QUIET = frozenset({"/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})
DELAY = 0.05
"""Seconds that a server may leave entries waiting: many at once are written in a third of the time of each alone."""


class Entry(NamedTuple):
    """A request that is answered."""

    scope: Scope
    series: Series
    seconds: float
    notes: Notes
    traced: Traced | None
    at: float
    """Unix time."""


class Ledger:
    """Writes entries at once or, with a delay, many together."""

    def __init__(self, metrics: Metrics, delay: float = 0.0) -> None:
        self._durations = metrics.durations
        self._delay = delay
        self._waiting: list[Entry] = []

    def add(self, scope: Scope, route: str, status: int, seconds: float, notes: Notes, traced: Traced | None) -> None:
        """Take in a request that has just been answered."""
        self._waiting.append(Entry(scope, Series(route, status), seconds, notes, traced, time.time()))
        if not self._delay:
            self.settle()
        elif len(self._waiting) == 1:
            asyncio.get_running_loop().call_later(self._delay, self.settle)

    def settle(self) -> None:
        """Write what waits."""
        waiting, self._waiting = self._waiting, []
        seconds: dict[Series, list[float]] = {}
        lines: dict[int, list[RequestLine]] = {logging.INFO: [], logging.DEBUG: []}
        telling = {level: log.isEnabledFor(level) for level in lines}
        for entry in waiting:
            seconds.setdefault(entry.series, []).append(entry.seconds)
            if entry.traced is not None and entry.traced.sampled:
                self._durations.example(entry.series, entry.seconds, entry.traced.trace_id)
            level = logging.DEBUG if entry.series.route in QUIET else logging.INFO
            if telling[level]:
                lines[level].append(line_of(entry, level))
        for series, found in seconds.items():
            self._durations.add(series, found)
        for level, told in lines.items():
            if told:
                log.handle(_record(level, told))


def _record(level: int, lines: list[RequestLine]) -> logging.LogRecord:
    """As `log.log` makes it, but for the place in the code, whose search takes as long as all the rest."""
    return log.makeRecord(log.name, level, __file__, 0, "request", (), None, extra={"lines": lines})


def line_of(entry: Entry, level: int) -> RequestLine:
    """The log line of a request."""
    scope, notes, judged = entry.scope, entry.notes, entry.notes.model is not None
    line = RequestLine(
        shown_time(entry.at),
        "info" if level == logging.INFO else "debug",
        log.name,
        "request",
        notes.request_id,
        scope["method"],
        scope["path"][:200],
        entry.series.status,
        round(entry.seconds * 1000, 3),
        notes.token or UNSET,
        notes.model or UNSET,
        notes.version if judged else UNSET,
        notes.records if judged else UNSET,
        notes.anomalies if judged else UNSET,
        notes.rejected if judged else UNSET,
        round(notes.seconds * 1000, 3) if judged else UNSET,
    )
    if entry.traced is not None or b"traceparent" in headers(scope):
        for name, value in trace_fields(entry.traced, scope).items():
            setattr(line, name, value)
    return line


def trace_fields(traced: Traced | None, scope: Scope) -> dict[str, str]:
    """The ids by which a log line is found from a trace: of the request's span, or of the trace that it came with."""
    if traced is not None:
        return {"trace_id": traced.trace_id, "span_id": traced.span_id}
    given = trace_id(scope)
    return {} if given is None else {"trace_id": given}
