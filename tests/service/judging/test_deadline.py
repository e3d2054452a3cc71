"""How long a client waits, by a header."""

import time

import pytest

from kilter.service.problems import RequestError
from kilter.service.request import deadline_of
from tests.support.serving import RECORD, Squares, client, detector

SCORE = "/v1/models/shop/score"


@pytest.mark.parametrize("name", [b"request-timeout", b"x-request-timeout"])
def test_a_deadline_is_so_many_seconds_from_now(name: bytes) -> None:
    """By either header; without one there is none."""
    found = deadline_of({"headers": [(name, b"1.5")]})
    assert found is not None
    assert 1.0 < found - time.monotonic() <= 1.5
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
