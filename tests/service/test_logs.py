"""Log lines are JSON, and never hold what an exception says."""

import json
import logging
import sys

from service.logs import JsonFormatter


def test_a_line_is_one_json_object() -> None:
    """Time, level, logger and message, and the fields that were added; line breaks stay inside."""
    record = logging.LogRecord("service.x", logging.WARNING, __file__, 1, "one\n%s", ("two",), None)
    record.fields = {"status": 200}
    text = JsonFormatter().format(record)
    assert "\n" not in text
    line = json.loads(text)
    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "warning", "logger": "service.x", "message": "one\ntwo", "status": 200}


def test_an_exception_is_told_by_type_and_place_alone() -> None:
    """Its text may quote a record."""
    try:
        int("secret")
    except ValueError:
        record = logging.LogRecord("service.x", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())
    line = json.loads(JsonFormatter().format(record))
    assert line["exception"].startswith("ValueError < ")
    assert "test_logs.py" in line["exception"]
    assert "secret" not in line["exception"]
