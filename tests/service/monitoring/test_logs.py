"""Log lines are JSON, and never hold what an exception says."""

import json
import logging
import re
import sys
from datetime import datetime
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.service.monitoring.logs import JsonFormatter, RequestLine, shown_time
from tests.support.logs import kept
from tests.support.serving import RECORD, Broken, Squares, client, detector


def test_a_line_is_one_json_object() -> None:
    """Time, level, logger and message, and the fields that were added; line breaks stay inside."""
    record = logging.LogRecord("service.x", logging.WARNING, __file__, 1, "one\n%s", ("two",), None)
    record.fields = {"status": 200}
    text = JsonFormatter().format(record)
    assert "\n" not in text
    line = json.loads(text)
    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "warning", "logger": "service.x", "message": "one\ntwo", "status": 200}


def test_many_lines_are_told_as_each_would_be() -> None:
    """One record, a line for each, with its own time and fields; those that a request has not are not there."""
    record = logging.LogRecord("service.x", logging.INFO, __file__, 1, "request", (), None)
    alone = []
    lines = []
    for at in (1.5, 2.25):
        told: dict[str, Any] = {
            "request_id": "a",
            "method": "GET",
            "path": f"/{at}\n",
            "status": 404,
            "milliseconds": at,
        }
        lines.append(RequestLine(shown_time(at), "info", "service.x", "request", **told))
        one = logging.LogRecord("service.x", logging.INFO, __file__, 1, "request", (), None)
        one.created, one.fields = at, told
        alone.append(JsonFormatter().format(one))
    record.lines = lines
    assert JsonFormatter().format(record).split("\n") == alone


@given(st.floats(0, 4e9))
def test_a_time_is_told_to_the_millisecond(at: float) -> None:
    """In UTC, and never later than it is."""
    shown = shown_time(at)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", shown)
    assert 0 <= at - datetime.fromisoformat(shown).timestamp() < 0.0011


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


# Marked, since a word of a log line may be drawn.
LONG = st.text(st.characters(codec="utf-8"), max_size=30).map("«{}»".format)
VALUES = st.one_of(LONG, st.floats(1e7, 1e15), st.integers(10**9, 10**15), st.lists(LONG, max_size=2))


@given(
    st.fixed_dictionaries(dict.fromkeys(("colour", "amount"), VALUES)),
    st.sampled_from([Squares(), Broken()]),
    st.sampled_from(["application/json", "application/x-ndjson", "text/csv"]),
)
@settings(deadline=None)
def test_no_line_holds_a_value_of_a_record(values: dict[str, Any], program: Squares, kind: str) -> None:
    """Whether the record is judged, refused, or the service fails on it; model, counts and durations are told."""
    with kept(logging.DEBUG) as lines, client(detector(program=program)) as http:
        answer = http.post(
            "/v1/models/shop/score",
            content=json.dumps(RECORD | values),
            headers={"content-type": kind, "x-request-id": "r"},
        )
    text = "\n".join(lines)
    for value in values.values():
        for part in value if isinstance(value, list) else [value]:
            assert json.dumps(part, ensure_ascii=False).strip('"') not in text
    told = json.loads(lines[-1])
    assert told["status"] == answer.status_code
    assert (told["request_id"], told["model"], told["version"]) == ("r", "shop", 3)
    assert told.keys() >= {"records", "anomalies", "rejected", "milliseconds", "detector_milliseconds"}


@given(st.lists(LONG, min_size=1, max_size=3), st.sampled_from([Squares(), Broken()]))
def test_no_line_holds_a_value_of_a_tensor(values: list[str], program: Squares) -> None:
    """Nor what else an inference request says: ids, parameters and names of what is not there."""
    tensor = {"name": "colour", "shape": [len(values)], "datatype": "BYTES", "data": values}
    body = {"id": values[0], "parameters": {"reasons": values[0]}, "inputs": [tensor]}
    with kept(logging.DEBUG) as lines, client(detector(program=program)) as http:
        for request in (body, body | {"parameters": {}}, body | {"outputs": [{"name": values[0]}]}):
            http.post("/v2/models/shop/infer", json=request)
    assert lines
    assert not [value for value in values if json.dumps(value, ensure_ascii=False)[1:-1] in "\n".join(lines)]
