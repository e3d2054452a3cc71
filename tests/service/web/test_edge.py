"""Every request passes the edge: its route, its id, its log line, and headers that no client can break."""

import asyncio
import json
import logging
import re
from collections.abc import Iterator, MutableMapping
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.types import Scope

from kilter.service.detector import KilterError
from kilter.service.models.registry import NotThereError, RefusedError, Registry
from kilter.service.monitoring.metrics import Metrics
from kilter.service.problems import BAD_RECORDS, LOAD_FAILED, ProblemKind, RequestError
from kilter.service.protection.auth import Grant, Guard, Keyring
from kilter.service.routing import Route
from kilter.service.routing import Scope as TokenScope
from kilter.service.server import choose_protocol
from kilter.service.settings import Settings
from kilter.service.upgrades import UpgradeBlindProtocol
from kilter.service.web.app import create_app
from kilter.service.web.edge import BODY_BYTES, Edge, make_handler, read_body, reply, status_of
from tests.support.serving import RECORD, client, detector
from tests.support.wire import CONTROLS, Connection, request, split_answer

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


def test_every_answer_has_a_request_id() -> None:
    """The client's own where it is a plain word, else a new one."""
    with client() as http:
        assert http.get("/healthz", headers={"X-Request-ID": "order-66"}).headers["x-request-id"] == "order-66"
        made = {
            http.get("/nope", headers={"X-Request-ID": bad}).headers["x-request-id"] for bad in ("", "a b", "x" * 65)
        }
    assert len(made) == 3
    assert all(re.fullmatch(r"[0-9a-f]{16}", request_id) for request_id in made)


def test_a_request_is_a_line_in_the_log_without_its_values(caplog: pytest.LogCaptureFixture) -> None:
    """Id, method, path without its query, status, model, counts and times; probes only when debugging."""
    with caplog.at_level(logging.INFO), client() as http:
        http.get("/healthz")
        http.post("/v1/models/shop/score?reasons=1", json=RECORD, headers={"X-Request-ID": "a1"})
    [line] = [
        line for record in caplog.records if record.name == "kilter.service.web.edge" for line in vars(record)["lines"]
    ]
    fields = msgspec.to_builtins(line)
    assert fields.pop("time").endswith("+00:00")
    assert fields.pop("milliseconds") > 0
    assert fields.pop("detector_milliseconds") > 0
    assert fields == {
        "level": "info",
        "logger": "kilter.service.web.edge",
        "message": "request",
        "request_id": "a1",
        "method": "POST",
        "path": "/v1/models/shop/score",
        "status": 200,
        "model": "shop",
        "version": 3,
        "records": 1,
        "anomalies": 0,
        "rejected": 0,
    }


def test_a_client_that_leaves_is_no_error() -> None:
    """A request whose body never ends is forgotten, and counted as such."""
    metrics = Metrics()
    app = create_app(Settings(), Registry(metrics, [detector()]), metrics)
    messages: Iterator[MutableMapping[str, Any]] = iter(
        [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    )
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return next(messages)

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    path = "/v1/models/shop/score"
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": [], "root_path": ""}
    asyncio.run(app(scope, receive, send))
    labels = {"route": "/v1/models/{name}/score", "status": "499"}
    assert sent == []
    assert metrics.registry.get_sample_value("kilter_request_duration_seconds_count", labels) == 1


def test_every_answer_is_kept_by_nobody_and_guessed_at_by_nobody() -> None:
    """Verdicts, refusals and pages alike; that only TLS will do is told only under TLS."""
    with client() as http:
        for answer in (
            http.post("/v1/models/shop/score", json=RECORD),
            http.post("/v1/models/shop/score", json={}),
            http.get("/nowhere"),
            http.get("/metrics"),
            http.get("/docs"),
        ):
            assert answer.headers["x-content-type-options"] == "nosniff"
            assert answer.headers["cache-control"] == "no-store"
            assert "strict-transport-security" not in answer.headers
        secure = http.get("https://kilter.test/healthz")
    assert secure.headers["strict-transport-security"] == "max-age=31536000"


ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
CLOSED = Guard(Keyring([Grant("shop", b"x" * 32, frozenset({TokenScope.SCORE}))], frozenset({TokenScope.METRICS})))


def edge(name: str = "shop", guard: Guard | None = None) -> Edge:
    """A service with one model."""
    metrics = Metrics()
    return create_app(Settings(), Registry(metrics, [detector(name)]), metrics, guard=guard)


OPEN, GUARDED = edge(), edge(guard=CLOSED)
SENT = [
    *("x-request-id", "authorization", "accept", "accept-encoding", "content-type", "content-encoding"),
    *("request-timeout", "x-request-timeout", "inference-header-content-length", "host", "traceparent"),
]
PATHS = st.one_of(
    st.sampled_from([route.path.format(name="shop", version=3) for route in OPEN.table.routes]),
    st.text(max_size=8).map(lambda text: f"/v1/models/{text}/score"),
    st.text(max_size=8).map(lambda text: f"/v2/models/shop/versions/{text}/infer"),
    st.text(max_size=8).map(lambda text: f"/{text}"),
)
VALUES = st.one_of(
    st.binary(max_size=12),
    st.sampled_from([b"application/json", b"image/png", b"text/csv", b"application/x-ndjson", b"gzip", b"1", b"*/*"]),
    st.sampled_from([b"abc\r", b"abc\n", b"a\r\nx-b: 1", b"abc\0", b"\x7fabc", b"a" * 64, b"a" * 64 + b"\r"]),
)


def started(app: Edge, method: str, path: str, sent: dict[str, bytes], body: bytes = b"") -> MutableMapping[str, Any]:
    """The message with status and headers by which a service answers a request, whatever its headers are."""
    messages: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        messages.append(message)

    headers = [(name.encode(), value) for name, value in sent.items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": headers, "root_path": ""}
    scope |= {"server": ("h", 80), "scheme": "http", "raw_path": quote(path, errors="surrogatepass").encode()}
    asyncio.run(app(scope, receive, send))
    return messages[0]


@given(
    app=st.sampled_from([OPEN, GUARDED]),
    method=st.sampled_from(["GET", "POST", "PUT", "DELETE"]) | st.text(min_size=1, max_size=8),
    path=PATHS,
    sent=st.dictionaries(st.sampled_from(SENT), VALUES, max_size=5),
    body=st.sampled_from([b"", json.dumps(RECORD).encode(), b"{"]),
)
def test_no_request_puts_a_control_character_into_a_header(
    app: Edge, method: str, path: str, sent: dict[str, bytes], body: bytes
) -> None:
    """Nor anything but a token into a header's name, whatever its method, path, headers and body are."""
    for name, value in started(app, method, path, sent, body)["headers"]:
        assert TOKEN.fullmatch(name), name
        assert not CONTROLS.intersection(value), (name, value)


@given(
    st.text(max_size=70) | st.text("aZ0._-", max_size=70) | st.binary(max_size=8).map(lambda raw: raw.decode("latin-1"))
)
@example("a\r")
@example("a\n")
@example("\ra")
@example("a" * 65)
def test_an_id_is_a_plain_word(stated: str) -> None:
    """The one that a request states if that is a word of up to 64 characters, else a new one."""
    made = OPEN.id_of(stated)
    assert ID.fullmatch(made.encode())
    assert (made == stated) == bool(re.fullmatch(r"[A-Za-z0-9._-]{1,64}", stated))


@pytest.mark.parametrize("byte", sorted(CONTROLS))
def test_no_id_with_a_control_character_is_answered(byte: int) -> None:
    """Wherever that stands in it."""
    for form in (b"%b", b"a%b", b"%ba", b"a%ba"):
        stated = form % bytes([byte])
        answer = dict(started(OPEN, "GET", "/healthz", {"x-request-id": stated})["headers"])
        assert ID.fullmatch(answer[b"x-request-id"])


PROTOCOLS = list(dict.fromkeys([UpgradeBlindProtocol, choose_protocol() or UpgradeBlindProtocol]))


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("byte", sorted(CONTROLS - {ord("\t")}))
def test_no_name_of_a_model_breaks_a_header(byte: int, protocol: type[asyncio.Protocol]) -> None:
    """No artifact has such a name; with one that came in by another way, the connection is closed unanswered."""
    name = f"a{chr(byte)}b"
    path = f"/v1/models/{quote(name)}/score".encode()
    lines = (b"content-type: application/json", b"accept: application/x-ndjson")

    async def run() -> bytes:
        connection = Connection(edge(name), protocol)
        await connection.send(request(json.dumps(RECORD).encode(), *lines, path=path))
        async with asyncio.timeout(5):
            while not connection.wire.closed:
                await asyncio.sleep(0.001)
        return b"".join(connection.wire.writes)

    assert asyncio.run(run()) == b""


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_both_protocols_send_the_same_headers(protocol: type[asyncio.Protocol]) -> None:
    """Those of the model beside the results in lines, and an id that was made for one that is no word."""
    lines = (b"content-type: application/json", b"accept: application/x-ndjson", b"x-request-id: a b")

    async def run() -> bytes:
        connection = Connection(edge(), protocol)
        await connection.send(request(json.dumps(RECORD).encode(), *lines, path=SCORE.encode()))
        return await connection.answers(1)

    status, sent = split_answer(asyncio.run(run()))
    headers = dict(sent)
    assert status == b"HTTP/1.1 200 OK"
    assert (headers[b"kilter-model"], headers[b"kilter-version"]) == (b"shop", b"3")
    assert re.fullmatch(rb"[0-9a-f]{16}", headers[b"x-request-id"])


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """A body with one field."""

    version: int = 1


def incoming(*parts: bytes, **headers: str) -> Request:
    """A request whose body comes in parts."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    waiting = iter([*messages, {"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Any:
        return next(waiting)

    sent = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": sent}, receive)


@pytest.mark.parametrize(
    ("parts", "version"), [((), 1), ((b"",), 1), ((b'{"ver', b'sion": 2}'), 2), ((b'{"version":3.0}',), 3)]
)
def test_a_short_body_is_read(parts: tuple[bytes, ...], version: int) -> None:
    """In as many parts as it comes in; without one every field has its default, and 3.0 is the integer 3."""
    assert asyncio.run(read_body(incoming(*parts), Wanted)) == Wanted(version)


@pytest.mark.parametrize(
    ("parts", "headers", "status", "text"),
    [
        ((b"{",), {}, 400, "the body is not JSON"),
        ((b"\xff",), {}, 400, "the body is not JSON"),
        ((b'{"version": "2"}',), {}, 422, "the body does not fit: Expected `int`, got `str`"),
        ((b'{"other": 2}',), {}, 422, "unknown field `other`"),
        ((b" " * BODY_BYTES, b" "), {}, 413, "longer than 65,536 bytes"),
        ((), {"content_type": "text/csv"}, 415, "send application/json"),
        ((), {"content_encoding": "gzip"}, 415, "without Content-Encoding"),
    ],
)
def test_a_short_body_that_cannot_be_read_is_refused(
    parts: tuple[bytes, ...], headers: dict[str, str], status: int, text: str
) -> None:
    """With what is wrong with it."""
    with pytest.raises(RequestError, match=re.escape(text)) as caught:
        asyncio.run(read_body(incoming(*parts, **headers), Wanted))
    assert caught.value.kind.status == status


@pytest.mark.parametrize(
    ("error", "failure", "status"),
    [
        (NotThereError("gone"), None, 404),
        (RefusedError("busy"), LOAD_FAILED, 409),
        (KilterError("broken"), LOAD_FAILED, 409),
        (RequestError(BAD_RECORDS, "records"), None, 422),
    ],
)
def test_an_error_of_the_domain_is_a_problem(error: Exception, failure: ProblemKind | None, status: int) -> None:
    """Of its own kind, or else of the kind that the route names."""

    async def fail(_: Request) -> None:
        raise error

    handle = make_handler(Route("POST", "/", TokenScope.SCORE, None, None, fail, failure=failure))
    with pytest.raises(RequestError, match=str(error)) as caught:
        asyncio.run(handle(incoming()))
    assert caught.value.kind.status == status
    if failure is not None and type(error) is KilterError:
        assert caught.value.kind is failure


def test_an_error_that_no_route_foresees_stays_what_it_is() -> None:
    """It is a fault of the service."""

    async def fail(_: Request) -> None:
        raise KilterError("broken")

    handle = make_handler(Route("POST", "/", TokenScope.SCORE, None, None, fail))
    with pytest.raises(KilterError, match="broken"):
        asyncio.run(handle(incoming()))


@pytest.mark.parametrize(("path", "status"), [("/v1/models/shop/score", 422), ("/v2/models/shop/infer", 400)])
def test_a_problem_has_the_form_of_its_path(path: str, status: int) -> None:
    """Problem details, or a text of the protocol, each with what is wrong, and the headers of the problem."""
    scope: Scope = {"type": "http", "method": "POST", "path": path}
    problem = RequestError(BAD_RECORDS, "wrong", headers={"Retry-After": "1"})
    answer = reply(scope, problem)
    content = json.loads(bytes(answer.body))
    assert answer.status_code == status == status_of(BAD_RECORDS, path)
    assert answer.headers["retry-after"] == "1"
    assert content == {"error": "wrong"} if path.startswith("/v2") else content["detail"] == "wrong"
