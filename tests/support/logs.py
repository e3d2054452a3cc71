"""Log lines as they would be written."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from kilter.service.monitoring.logs import JsonFormatter


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.setFormatter(JsonFormatter())

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@contextmanager
def kept(level: int = logging.INFO) -> Iterator[list[str]]:
    """The service's log lines, from a level on, as long as this lasts."""
    handler = _Kept()
    root = logging.getLogger("kilter")
    before = root.level
    root.addHandler(handler)
    root.setLevel(level)
    try:
        yield handler.lines
    finally:
        root.removeHandler(handler)
        root.setLevel(before)
