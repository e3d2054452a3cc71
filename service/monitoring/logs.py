"""Log lines: one JSON object each, to standard error, never with a record's values; and the line of each request."""

import asyncio
import logging
import logging.config
import time
from datetime import UTC, datetime
from functools import lru_cache
from traceback import walk_tb
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET
from starlette.types import Scope

from kilter.service.monitoring.metrics import Metrics, Series
from kilter.service.monitoring.telemetry import RequestSpan, trace_id
from kilter.service.request import Notes, headers_of

_ENCODER = msgspec.json.Encoder()


class RequestLine(msgspec.Struct, gc=False):
    """A line about a request; many are one log record, as each by itself takes three times as long."""

    time: str
    level: str
    logger: str
    message: str
    request_id: str
    method: str
    path: str
    status: int
    milliseconds: float
    token: str | msgspec.UnsetType = msgspec.UNSET
    model: str | msgspec.UnsetType = msgspec.UNSET
    version: int | msgspec.UnsetType | None = msgspec.UNSET
    records: int | msgspec.UnsetType = msgspec.UNSET
    anomalies: int | msgspec.UnsetType = msgspec.UNSET
    rejected: int | msgspec.UnsetType = msgspec.UNSET
    detector_milliseconds: float | msgspec.UnsetType = msgspec.UNSET
    trace_id: str | msgspec.UnsetType = msgspec.UNSET
    span_id: str | msgspec.UnsetType = msgspec.UNSET


class JsonFormatter(logging.Formatter):
    """Time, level, logger, message and whatever `extra={"fields": {...}}` adds; of `extra={"lines": [...]}` each."""

    def format(self, record: logging.LogRecord) -> str:
        many: list[RequestLine] | None = getattr(record, "lines", None)
        if many is not None:
            return _ENCODER.encode_lines(many)[:-1].decode()
        line: dict[str, Any] = {
            "time": shown_time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0]:
            line["exception"] = where(record.exc_info[1])
        return _ENCODER.encode(line).decode()


def shown_time(at: float) -> str:
    """A Unix time by ISO 8601 in UTC, to the millisecond."""
    second, fraction = divmod(at, 1)
    return f"{_second(int(second))}.{int(fraction * 1000):03d}+00:00"


@lru_cache(maxsize=2)
def _second(second: int) -> str:
    """Kept, as it takes as long as all else of a request's line, and many come in a second."""
    return datetime.fromtimestamp(second, UTC).isoformat()[:-6]


def where(error: BaseException | None) -> str:
    """An exception's type and the places that it came through, without its text, which may quote a record."""
    frames = walk_tb(error.__traceback__ if error is not None else None)
    places = [f"{frame.f_code.co_filename}:{line} {frame.f_code.co_name}" for frame, line in frames]
    return " < ".join([type(error).__qualname__, *reversed(places)])


def logging_config(level: str) -> dict[str, Any]:
    """Configuration for `logging.config.dictConfig`, uvicorn's own loggers included."""
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {"json": {"()": JsonFormatter}},
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "json", "stream": "ext://sys.stderr"}},
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            "kilter": {"level": level.upper()},
            "uvicorn": {"level": "DEBUG" if level == "debug" else "WARNING"},
        },
    }


log = logging.getLogger("kilter.service.web.edge")
QUIET = frozenset({"/healthz", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"})
LEVELS = {logging.INFO: "info", logging.DEBUG: "debug"}
DELAY = 0.05
"""Seconds that a server may leave entries waiting: many at once are written in a third of the time of each alone."""


class LedgerEntry(NamedTuple):
    """A request that was answered; `at` is Unix time."""

    scope: Scope
    series: Series
    seconds: float
    notes: Notes
    traced: RequestSpan | None
    at: float


class Ledger:
    """Writes entries at once or, with a delay, many together."""

    def __init__(self, metrics: Metrics, delay: float = 0.0) -> None:
        self._durations = metrics.durations
        self._delay = delay
        self._waiting: list[LedgerEntry] = []

    def add(
        self, scope: Scope, route: str, status: int, seconds: float, notes: Notes, traced: RequestSpan | None
    ) -> None:
        self._waiting.append(LedgerEntry(scope, Series(route, status), seconds, notes, traced, time.time()))
        if not self._delay:
            self.settle()
        elif len(self._waiting) == 1:
            asyncio.get_running_loop().call_later(self._delay, self.settle)

    def settle(self) -> None:
        waiting, self._waiting = self._waiting, []
        seconds: dict[Series, list[float]] = {}
        lines: dict[int, list[RequestLine]] = {level: [] for level in LEVELS if log.isEnabledFor(level)}
        for entry in waiting:
            seconds.setdefault(entry.series, []).append(entry.seconds)
            if entry.traced is not None and entry.traced.sampled:
                self._durations.example(entry.series, entry.seconds, entry.traced.trace_id)
            level = logging.DEBUG if entry.series.route in QUIET else logging.INFO
            if level in lines:
                lines[level].append(line_of(entry, level))
        for series, durations in seconds.items():
            self._durations.add(series, durations)
        for level, written in lines.items():
            if written:
                # As `log.log` makes it, but for the place in the code, whose search takes as long as all the rest.
                extra = {"lines": written}
                log.handle(log.makeRecord(log.name, level, __file__, 0, "request", (), None, extra=extra))


def line_of(entry: LedgerEntry, level: int) -> RequestLine:
    scope, notes, status = entry.scope, entry.notes, entry.series.status
    at, path, took = shown_time(entry.at), scope["path"][:200], round(entry.seconds * 1000, 3)
    line = RequestLine(
        at,
        LEVELS[level],
        log.name,
        "request",
        notes.request_id,
        scope["method"],
        path,
        status,
        took,
        notes.token or UNSET,
    )
    if notes.model is not None:
        line.model, line.version, line.records = notes.model, notes.version, notes.records
        line.anomalies, line.rejected = notes.anomalies, notes.rejected
        line.detector_milliseconds = round(notes.seconds * 1000, 3)
    if entry.traced is not None or b"traceparent" in headers_of(scope):
        for name, value in trace_fields(entry.traced, scope).items():
            setattr(line, name, value)
    return line


def trace_fields(traced: RequestSpan | None, scope: Scope) -> dict[str, str]:
    """The ids by which a log line is found from a trace: of the request's span, or of the trace that it came with."""
    if traced is not None:
        return {"trace_id": traced.trace_id, "span_id": traced.span_id}
    given = trace_id(scope)
    return {} if given is None else {"trace_id": given}
