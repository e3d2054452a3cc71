"""The way past FastAPI's router changes nothing but the time."""

from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from kilter.service.web.shortcut import REMEMBERED, Application
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


async def _nothing(_: Scope, __: Receive, ___: Send) -> None: ...


def test_a_url_leads_to_the_same_place_each_time() -> None:
    """Whether it is remembered or, if it is long, looked up anew; what is asked for once is not mixed with another."""
    app = Application()
    app.hasten({"/{name}/short": _nothing}, lambda reached: reached)
    long = b"x" * REMEMBERED
    for _ in range(2):
        for url, query in ((b"/a/short", b""), (b"/a/short?q=1", b"q=1"), (b"/a/short?" + long, long)):
            found = app.target(url)
            assert found is not None
            assert found == ("/a/short", b"/a/short", query, _nothing, {"name": "a"})
        for other in (b"/a/long", b"/%61/short", b"/a/b/short", b"/" + long):
            assert app.target(other) is None


def test_what_is_hastened_later_is_found() -> None:
    """Also for a URL that was asked for before."""
    app = Application()
    assert app.target(b"/a/short") is None
    app.hasten({"/{name}/short": _nothing}, lambda reached: reached)
    assert app.target(b"/a/short") is not None
