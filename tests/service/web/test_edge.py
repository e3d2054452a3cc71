"""Every request passes the edge, which finds its route; where the service is mounted changes nothing."""

from typing import Any

import pytest

from tests.support.serving import RECORD, client

SCORE = "/v1/models/shop/score"


@pytest.mark.parametrize("body", [RECORD, {"records": []}, {"records": [{"amount": "x"}]}])
@pytest.mark.parametrize("path", [SCORE, "/v1/models/none/score", "/v1/models/shop/versions/3/score"])
def test_a_service_below_another_path_gives_the_same_answers(path: str, body: Any) -> None:
    """To the byte."""
    with client() as http:
        transport = http.http._transport
        above = http.post(path, json=body, headers={"X-Request-ID": "a"})
        transport.root_path = "/below"  # type: ignore[attr-defined]
        below = http.post(f"/below{path}", json=body, headers={"X-Request-ID": "a"})
    assert (above.status_code, above.content) == (below.status_code, below.content)
    assert dict(above.headers) == dict(below.headers)


@pytest.mark.parametrize("path", ["/v1/models/shop/extra/score", "/score", "/v1/models//score", f"{SCORE}/"])
def test_what_is_no_path_of_the_service_is_not_found(path: str) -> None:
    """As a problem that says where to look."""
    with client() as http:
        answer = http.post(path, json=RECORD)
    assert (answer.status_code, answer.json()["type"]) == (404, "/docs#not-found")


@pytest.mark.parametrize(("method", "path", "allowed"), [("GET", SCORE, "POST"), ("POST", "/v1/models", "GET")])
def test_a_method_that_a_path_does_not_have_is_refused(method: str, path: str, allowed: str) -> None:
    """With those that it has."""
    with client() as http:
        answer = http.request(method, path)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)
