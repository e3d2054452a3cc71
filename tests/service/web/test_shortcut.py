"""The way past FastAPI's router changes nothing but the time."""

from typing import Any

import pytest

from tests.support.serving import RECORD, client

SCORE = "/v1/models/shop/score"


@pytest.mark.parametrize("body", [RECORD, {"records": []}, {"records": [{"amount": "x"}]}])
@pytest.mark.parametrize("path", [SCORE, "/v1/models/none/score", "/v1/models/shop/versions/3/score"])
def test_either_way_gives_the_same_answer(path: str, body: Any) -> None:
    """The usual way is the one that a service mounted below another path goes."""
    with client() as http:
        usual = http.http._transport
        short = http.post(path, json=body, headers={"X-Request-ID": "a"})
        usual.root_path = "/below"  # type: ignore[attr-defined]
        routed = http.post(f"/below{path}", json=body, headers={"X-Request-ID": "a"})
    assert (short.status_code, short.content) == (routed.status_code, routed.content)
    assert dict(short.headers) == dict(routed.headers)


@pytest.mark.parametrize("path", ["/v1/models/shop/extra/score", "/score", "/v1/models//score", f"{SCORE}/"])
def test_what_is_no_such_path_goes_the_usual_way(path: str) -> None:
    """And finds nothing."""
    with client() as http:
        assert http.post(path, json=RECORD).status_code == 404
