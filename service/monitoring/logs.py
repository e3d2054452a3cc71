"""Log lines: one JSON object each, to standard error, never with a record's values."""

import logging
import logging.config
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

import msgspec

_ENCODER = msgspec.json.Encoder()


class RequestLine(msgspec.Struct, gc=False):
    """A line about a request; many are told as one record, as each by itself takes three times as long."""

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
    """It takes as long as all else of a line about a request, and many come in a second."""
    return datetime.fromtimestamp(second, UTC).isoformat()[:-6]


def where(error: BaseException | None) -> str:
    """An exception's type and the places that it came through, without its text, which may quote a record."""
    places = []
    trace = error.__traceback__ if error is not None else None
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename}:{trace.tb_lineno} {code.co_name}")
        trace = trace.tb_next
    return " < ".join([type(error).__qualname__, *reversed(places)])


def config(level: str) -> dict[str, Any]:
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
