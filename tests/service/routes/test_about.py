"""The routes about the service itself: health, readiness, metrics and the pages."""

import asyncio
import re
import shlex
from base64 import b64encode
from hashlib import sha256
from html import unescape
from pathlib import Path
from urllib.parse import urljoin

import pytest

from kilter.service.detector import Schema
from kilter.service.detector.columns import NumericColumn
from kilter.service.detector.schema import LeftOut
from kilter.service.formats.encodings import PAYS
from kilter.service.models.registry import Registry
from kilter.service.monitoring.metrics import Metrics
from kilter.service.protection.auth import Grant, Guard, Keyring
from kilter.service.routes.about import curl_command, render_docs, render_home
from kilter.service.routing import Scope as TokenScope
from kilter.service.server import choose_protocol
from kilter.service.settings import Settings
from kilter.service.upgrades import UpgradeBlindProtocol
from kilter.service.web.app import create_app
from tests.support.serving import RECORD, Client, client, detector
from tests.support.wire import Connection


def test_it_is_ready_when_a_model_serves() -> None:
    """Health is of the process, readiness of the models; without any the reason is told."""
    with client() as http:
        assert http.get("/healthz").json() == {"live": True}
        assert http.get("/readyz").json() == {"ready": True, "models": {"shop": 3}, "fast_lane": False}
    with Client(create_app(Settings(), Registry(Metrics()))) as http:
        assert http.get("/healthz").status_code == 200
        for answer in (http.get("/readyz"), http.post("/v1/models/shop/score", json=RECORD)):
            assert answer.status_code == 503
            assert answer.json()["detail"] == "the models are not loaded yet"
        assert http.get("/").status_code == http.get("/docs").status_code == 200


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    """A folder of models with the documents of a version that serves."""
    version = tmp_path / "shop" / "3"
    version.mkdir(parents=True)
    (version / "report.html").write_text("<script>alert(1)</script>")
    (version / "MODEL_CARD.md").write_text("# <b>shop</b>")
    return tmp_path


def test_the_pages_need_nothing_from_elsewhere(documents: Path) -> None:
    """The front page and the documentation refer to this service alone."""
    with client(models=documents) as http:
        for path in ("/", "/docs", "/models/shop"):
            page = http.get(path)
            assert page.headers["content-type"] == "text/html; charset=utf-8"
            found = re.findall(r"""(?:src|href)=["']?([^"' >]+)""", page.text)
            assert found or path == "/docs"
            for link in found:
                assert http.get(urljoin(path, link)).status_code == 200
            assert "https://" not in page.text


def test_a_models_page_shows_its_fields_and_what_it_promises() -> None:
    """The front page leads there; those that the model ignores are named with the reason; all of it quoted."""
    schema = Schema(
        (NumericColumn("<b>", center=1.5, scale=0.2, minimum=1.0, maximum=2.0),),
        100,
        (LeftOut("id", "like an identifier"),),
    )
    odd = detector(schema=schema)
    odd.probes.records[:] = [{"<b>": 1.0}]
    with client(odd) as http:
        assert '<a href="models/shop">shop</a>' in http.get("/").text
        page = http.get("/models/shop").text
        assert "<td>&lt;b&gt;</td><td>numeric</td><td>1 to 2</td>" in page
        assert "<td>id</td><td>left out</td><td>like an identifier</td>" in page
        assert "<td>target false-positive rate</td><td>0.05</td>" in page
        assert "<b>" not in page
        assert http.get("/models/nope").status_code == http.get("/models/nope/report").status_code == 404


def test_stored_pages_are_shown_as_of_no_origin(documents: Path) -> None:
    """Whatever an artifact's report holds, it runs nothing and reaches nothing; the card is mere text."""
    with client(models=documents) as http:
        for name, kind, text in (("report", "html", "<script>alert(1)</script>"), ("card", "plain", "# <b>shop</b>")):
            answer = http.get(f"/models/shop/{name}")
            assert answer.text == text
            assert answer.headers["content-type"] == f"text/{kind}; charset=utf-8"
            policy = answer.headers["content-security-policy"]
            assert policy.startswith("sandbox; default-src 'none';")
            assert "script" not in policy
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["referrer-policy"] == "no-referrer"
    with client(models=documents / "elsewhere") as http:
        gone = http.get("/models/shop/report")
        assert gone.status_code == 404
        assert gone.json()["detail"] == "version 3 of shop has no report.html in the models folder"


def test_the_documentation_shows_parameters() -> None:
    """Those of the query and the headers, with what they mean."""
    with client() as http:
        page = http.get("/docs").text
    for name, place in (("reasons", "query"), ("ignore_unknown", "query"), ("Request-Timeout", "header")):
        assert f"<td><code>{name}</code>, {place}</td><td>" in page


def test_the_command_on_the_front_page_works() -> None:
    """What it tells a person to run is answered, quotes in values included."""
    record = RECORD | {"colour": "it's <b>red</b>"}
    quoting = detector()
    quoting.probes.records[:] = [record]
    with client(quoting) as http:
        page = http.get("/").text
        assert "<b>" not in page
        [command] = re.findall(r"<pre>(curl .*?)</pre>", page, re.DOTALL)
        _, url, _, header, _, body = shlex.split(unescape(command).replace("\\\n", ""))
        name, value = header.split(": ")
        answer = http.post(url, content=body.encode(), headers={name: value})
    assert answer.status_code == 200
    assert answer.json()["results"][0]["reasons"][0]["feature"]


@pytest.mark.parametrize("host", ["[", "a b", "<script>", "'; rm -rf ~; '", "x:y", "[::1]:80", "a" * 5000, ""])
def test_no_host_header_brings_a_page_down_or_into_disorder(host: str) -> None:
    """What a client says about the host is quoted wherever it is shown."""
    with client() as http:
        for path in ("/", "/docs", "/nope", "//[x", "/v1/models/%00", "/v1/models/%ff"):
            answer = http.get(path, headers={"Host": host})
            assert answer.status_code < 500
            assert "<script>" not in answer.text.replace("<script>for (const form", "")


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_pages_run_their_own_script_and_style_alone(path: str) -> None:
    """By their digests; they are framed by nobody, and the page has no other."""
    with client() as http:
        page = http.get(path)
    policy = page.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        for content in re.findall(f"<{tag}>(.*?)</{tag}>", page.text, re.S):
            assert f"{tag}-src 'sha256-{b64encode(sha256(content.encode()).digest()).decode()}'" in policy
    assert not re.search(r"\sstyle=|\son\w+=|<script [^>]|javascript:", page.text)


def test_the_front_page_says_what_does_not_serve() -> None:
    """Why nothing is ready, and the models that could not be loaded, quoted as HTML; metrics if they are here."""
    registry = Registry(Metrics())
    registry.failures = {"b<c": "broken", "a": "gone"}
    page = render_home(registry, "http://h/", metrics=False)
    assert "the models are not loaded yet" in page
    assert "<li>a</li><li>b&lt;c</li>" in page
    assert 'href="metrics"' not in page
    assert 'href="metrics"' in render_home(registry, "http://h/")


@pytest.mark.parametrize("base", ["http://h", "http://h/", "http://h/$(rm)/"])
def test_a_command_is_quoted_for_a_shell(base: str) -> None:
    """Whatever the address and the values are."""
    url = shlex.split(curl_command(detector(), base).replace("\\\n", ""))[1]
    assert url == base.rstrip("/") + "/v1/models/shop/score?reasons=true"


def test_the_documentation_shows_every_operation_quoted() -> None:
    """With its parameters filled in, its example, and what it answers; no text of the document is taken for HTML."""
    operation = {
        "summary": "A <b>",
        "description": "More & more",
        "parameters": [{"name": "name", "in": "path", "example": "shop"}, {"name": "q", "in": "query"}],
        "requestBody": {"content": {"application/json": {"examples": {"x": {"value": {"a": "<i>"}}}}}},
        "responses": {"200": {"description": "It <works>"}},
    }
    schemas = {"Thing": {"description": "</pre>"}}
    document = {"info": {"description": "About <it>"}, "paths": {"/v/{name}": {"put": operation}}}
    page = render_docs(document | {"components": {"schemas": schemas}}, "http://h/")
    for text in ("A &lt;b&gt;", "More &amp; more", "It &lt;works&gt;", "&lt;i&gt;", "&lt;/pre&gt;", "About &lt;it&gt;"):
        assert text in page
    assert 'data-method="PUT"' in page
    assert 'value="v/shop"' in page
    assert "$" not in re.sub(r"<script>.*</script>", "", page, flags=re.S)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [("", "text/plain"), ("application/openmetrics-text; version=1.0.0", "application/openmetrics-text")],
)
def test_metrics_come_in_the_format_that_is_accepted(accept: str, kind: str) -> None:
    """The text format of Prometheus, or OpenMetrics."""
    with client() as http:
        http.post("/v1/models/shop/score", json=RECORD)
        answer = http.get("/metrics", headers={"Accept": accept})
    assert answer.headers["content-type"].startswith(kind)
    assert 'kilter_records_total{model="shop",result="normal",version="3"} 1.0' in answer.text


@pytest.mark.parametrize("accepted", ["", "gzip", "zstd, gzip;q=0.5", "gzip;q=0", "*", "identity"])
def test_metrics_are_compressed_where_that_is_accepted(accepted: str) -> None:
    """In gzip, and as they are otherwise; a cache keeps the two apart."""
    registry = Registry(metrics := Metrics(), [detector(name=f"shop-{number}") for number in range(20)])
    with Client(create_app(Settings(), registry, metrics)) as http:
        plain = http.get("/metrics", headers={"Accept-Encoding": "identity"})
        answer = http.get("/metrics", headers={"Accept-Encoding": accepted})
    assert len(plain.content) > PAYS
    assert answer.headers.get("content-encoding") == ("gzip" if "gzip" in accepted and accepted[-3:] != "q=0" else None)
    assert answer.headers["vary"] == "accept, accept-encoding"
    assert answer.headers["content-type"] == plain.headers["content-type"]
    assert {line.split(" ")[0] for line in answer.text.splitlines()} >= {
        line.split(" ")[0] for line in plain.text.splitlines()
    }
    assert (int(answer.headers["content-length"]) < len(plain.content) / 4) is ("content-encoding" in answer.headers)


@pytest.mark.parametrize("protocol", [UpgradeBlindProtocol, choose_protocol() or UpgradeBlindProtocol])
@pytest.mark.parametrize("models", [True, False])
@pytest.mark.parametrize("path", [b"/healthz", b"/readyz", b"/metrics"])
def test_a_head_gets_the_headers_of_a_get(path: bytes, models: bool, protocol: type[asyncio.Protocol]) -> None:
    """And no body, so that the next answer on the connection follows at once; some load balancers probe by it."""

    async def run(method: bytes) -> bytes:
        registry = Registry(metrics := Metrics(), [detector()] if models else [])
        connection = Connection(create_app(Settings(), registry, metrics), protocol)
        lines = [b"%b %b HTTP/1.1" % (method, path), b"host: h", b"accept-encoding: gzip", b"x-request-id: a"]
        await connection.send(b"\r\n".join([*lines, b"", b""]))
        await connection.answers(1)
        await asyncio.sleep(0.01)
        return b"".join(connection.wire.writes)

    head, _, body = asyncio.run(run(b"GET")).partition(b"\r\n\r\n")
    without = asyncio.run(run(b"HEAD"))
    assert body
    assert without.startswith(b"HTTP/1.1 503 " if path == b"/readyz" and not models else b"HTTP/1.1 200 ")
    length = re.compile(rb"content-length: \d+")
    assert length.sub(b"", without) == length.sub(b"", head) + b"\r\n\r\n"
    assert length.search(without)


def test_a_head_is_known_where_a_get_is_and_nowhere_else() -> None:
    """A method that a platform's path does not have names both; the metrics keep their scope."""
    with client() as http:
        for path in ("/healthz", "/readyz", "/metrics"):
            assert http.post(path).headers["allow"] == "GET, HEAD"
        assert http.request("HEAD", "/v1/models/shop").status_code == 405
        assert "head" not in http.get("/openapi.json").json()["paths"]["/healthz"]
    guard = Guard(Keyring([Grant("a", b"", frozenset({TokenScope.SCORE}))]))
    app = create_app(Settings(), Registry(metrics := Metrics(), [detector()]), metrics, guard=guard)
    with Client(app) as http:
        assert [http.request("HEAD", path).status_code for path in ("/healthz", "/metrics")] == [200, 401]
