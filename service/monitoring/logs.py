"""Log lines: one JSON object each, to standard error, never with a record's values."""

import logging
import logging.config
from datetime import UTC, datetime
from typing import Any

import msgspec

_ENCODER = msgspec.json.Encoder()
Line = tuple[float, dict[str, Any]]
"""Unix time and fields of one of many lines that are told as one record: each by itself takes three times as long."""


class JsonFormatter(logging.Formatter):
    """Time, level, logger, message and whatever `extra={"fields": {...}}` adds; `extra={"lines": [...]}` many times."""

    def format(self, record: logging.LogRecord) -> str:
        many: list[Line] | None = getattr(record, "lines", None)
        if many is not None:
            head = {"level": record.levelname.lower(), "logger": record.name, "message": record.getMessage()}
            return _ENCODER.encode_lines([{"time": _time(at), **head, **fields} for at, fields in many])[:-1].decode()
        line: dict[str, Any] = {
            "time": _time(record.created),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info and record.exc_info[0]:
            line["exception"] = where(record.exc_info[1])
        return _ENCODER.encode(line).decode()


def _time(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")


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
            "service": {"level": level.upper()},
            "uvicorn": {"level": "DEBUG" if level == "debug" else "WARNING"},
        },
    }
