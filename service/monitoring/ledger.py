"""What is told of a request once it is answered: its duration, and a line in the log."""

import asyncio
import logging
import time
from typing import Any, NamedTuple

from prometheus_client import Histogram
from starlette.types import Scope

from service.bodies.body import headers
from service.monitoring.logs import Line
from service.monitoring.metrics import Metrics
from service.monitoring.notes import notes_of
from service.monitoring.telemetry import Traced, trace_id

log = logging.getLogger("service.web.edge")
QUIET = frozenset({"/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})
DELAY = 0.05
"""Seconds that a server may leave entries waiting: many at once are written in a third of the time of each alone."""


class Entry(NamedTuple):
    """A request that is answered."""

    scope: Scope
    route: str
    status: int
    seconds: float
    request_id: str
    traced: Traced | None
    at: float
    """Unix time."""


class Ledger:
    """Writes entries at once or, with a delay, many together."""

    def __init__(self, metrics: Metrics, delay: float = 0.0) -> None:
        self._requests = metrics.requests
        self._delay = delay
        self._waiting: list[Entry] = []
        self._durations: dict[tuple[str, int], Histogram] = {}

    def add(
        self, scope: Scope, route: str, status: int, seconds: float, request_id: str, traced: Traced | None
    ) -> None:
        """Take in a request that has just been answered."""
        entry = Entry(scope, route, status, seconds, request_id, traced, time.time())
        if not self._delay:
            self._write(entry)
            return
        if not self._waiting:
            asyncio.get_running_loop().call_later(self._delay, self.settle)
        self._waiting.append(entry)

    def settle(self) -> None:
        """Write what waits."""
        waiting, self._waiting = self._waiting, []
        lines: list[Line] = []
        telling = log.isEnabledFor(logging.INFO)
        for entry in waiting:
            self._observe(entry)
            if entry.route in QUIET:
                self._tell(entry)
            elif telling:
                lines.append((entry.at, fields_of(entry)))
        if lines:
            log.handle(_record(logging.INFO, {"lines": lines}))

    def _write(self, entry: Entry) -> None:
        self._observe(entry)
        self._tell(entry)

    def _observe(self, entry: Entry) -> None:
        route, status, traced = entry.route, entry.status, entry.traced
        duration = self._durations.get((route, status))
        if duration is None:
            duration = self._durations[route, status] = self._requests.labels(route, str(status))
        duration.observe(entry.seconds, {"trace_id": traced.trace_id} if traced and traced.sampled else None)

    def _tell(self, entry: Entry) -> None:
        level = logging.DEBUG if entry.route in QUIET else logging.INFO
        if log.isEnabledFor(level):
            record = _record(level, {"fields": fields_of(entry)})
            record.created = entry.at
            log.handle(record)


def _record(level: int, extra: dict[str, Any]) -> logging.LogRecord:
    """As `log.log` makes it, but for the place in the code, whose search takes as long as all the rest."""
    return log.makeRecord(log.name, level, __file__, 0, "request", (), None, extra=extra)


def fields_of(entry: Entry) -> dict[str, Any]:
    """What the log line of a request holds."""
    scope = entry.scope
    fields = {
        "request_id": entry.request_id,
        "method": scope["method"],
        "path": scope["path"][:200],
        "status": entry.status,
        "milliseconds": round(entry.seconds * 1000, 3),
        **notes_of(scope).fields(),
    }
    if entry.traced is not None or b"traceparent" in headers(scope):
        fields |= trace_fields(entry.traced, scope)
    return fields


def trace_fields(traced: Traced | None, scope: Scope) -> dict[str, str]:
    """The ids by which a log line is found from a trace: of the request's span, or of the trace that it came with."""
    if traced is not None:
        return {"trace_id": traced.trace_id, "span_id": traced.span_id}
    given = trace_id(scope)
    return {} if given is None else {"trace_id": given}
