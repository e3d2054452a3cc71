"""Tests of `service.request`: headers, notes, and how long a client waits, by a header."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.problems import RequestError
from kilter.service.request import WAITED, Notes, deadline_of, header_of, headers_of, notes_of
from tests.support.serving import RECORD, Squares, client, detector

TILL = "till"
SCORE = "/v1/models/shop/score"


@given(st.lists(st.tuples(st.sampled_from([b"a", b"b", b"c"]), st.binary(max_size=5)), max_size=8))
def test_of_a_header_that_is_sent_twice_the_first_counts(headers: list[tuple[bytes, bytes]]) -> None:
    """One that was not sent is empty, and spaces around a value are none of it."""
    scope = {"headers": headers}
    for name in (b"a", b"b", b"c"):
        sent = [value for header, value in headers if header == name]
        assert header_of(scope, name) == (sent[0].decode("latin-1").strip() if sent else "")
    assert headers_of(scope) is headers_of(scope)


def test_the_notes_of_a_request_are_the_same_each_time() -> None:
    """Whoever writes them down, the edge reads them; another request has its own."""
    scope: dict[str, Any] = {}
    notes_of(scope).records = 3
    assert notes_of(scope).records == 3
    assert notes_of({}).records == 0


def test_a_log_line_holds_numbers_only_of_a_request_that_judges() -> None:
    """The caller's token is named in either case."""
    assert Notes().fields() == {}
    assert Notes(token=TILL, records=3).fields() == {"token": TILL}
    judged = Notes(model="shop", version=None, records=3, anomalies=1, rejected=2, seconds=0.0012345, token=TILL)
    assert judged.fields() == {
        "token": TILL,
        "model": "shop",
        "version": None,
        "records": 3,
        "anomalies": 1,
        "rejected": 2,
        "detector_milliseconds": 1.234,
    }


@pytest.fixture
def now(monkeypatch: pytest.MonkeyPatch) -> float:
    """The time, which stands still."""
    monkeypatch.setattr("kilter.service.request.time.monotonic", lambda: 100.0)
    return 100.0


def test_what_a_request_waited_counts_against_its_deadline(now: float) -> None:
    """The client's clock runs from when it sent it."""
    assert deadline_of({"headers": [(b"request-timeout", b"10")], WAITED: 4.0}) == now + 6.0


@pytest.mark.parametrize("name", [b"request-timeout", b"x-request-timeout"])
def test_a_deadline_is_so_many_seconds_from_now(name: bytes, now: float) -> None:
    """By either header; without one there is none."""
    assert deadline_of({"headers": [(name, b"1.5")]}) == now + 1.5
    assert deadline_of({"headers": []}) is None


@pytest.mark.parametrize("stated", ["", "0", "-1", "soon", "1e3", "3601", "nan", "inf", "1 s"])
def test_a_wrong_one_is_told(stated: str) -> None:
    """With what it may be."""
    with pytest.raises(RequestError, match="number of seconds up to 3600"):
        deadline_of({"headers": [(b"request-timeout", stated.encode())]})


def test_an_answer_that_would_come_too_late_is_a_503() -> None:
    """With Retry-After, and counted; a wrong header is a 422."""
    with client(detector(program=Squares(0.3))) as http:
        http.post(SCORE, json=RECORD)  # from now on the model is known to be slow
        late = http.post(SCORE, json=RECORD, headers={"Request-Timeout": "0.05"})
        wrong = http.post(SCORE, json=RECORD, headers={"Request-Timeout": "soon"})
        shed = 'kilter_requests_shed_total{reason="deadline"} 1.0' in http.get("/metrics").text
    assert (late.status_code, late.headers["retry-after"]) == (503, "1")
    assert late.json()["type"] == "/docs#out-of-time"
    assert wrong.status_code == 422
    assert shed
