"""A request that offers an upgrade is answered as if it had not, by both protocols."""

import asyncio
import json
import re
import shutil
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.service.models.registry import Registry
from kilter.service.monitoring.metrics import Metrics
from kilter.service.server import choose_protocol
from kilter.service.settings import Settings
from kilter.service.upgrades import UpgradeBlindProtocol
from kilter.service.web.app import create_app
from kilter.service.web.edge import Edge
from tests.support.serving import RECORD, detector
from tests.support.wire import Connection, request

PROTOCOLS = list(dict.fromkeys([UpgradeBlindProtocol, choose_protocol() or UpgradeBlindProtocol]))
SCORE = b"/v1/models/shop/score"
BODY = json.dumps(RECORD).encode()
OFFER = (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQCAAAAAAIAAAAA")
OFFERS = st.sampled_from(
    [
        (),
        OFFER,
        (b"UPGRADE: h2c", b"connection: upgrade"),
        (b"upgrade: h2c, websocket", b"upgrade: x", b"Connection: keep-alive, upgrade"),
        (b"Upgrade: websocket", b"Connection: Upgrade", b"Sec-WebSocket-Key: eA==", b"Sec-WebSocket-Version: 13"),
        (b"Upgrade: h2c",),
        (b"Connection: Upgrade",),
    ]
)


def edge() -> Edge:
    """A service with one model."""
    metrics = Metrics()
    return create_app(Settings(), Registry(metrics, [detector()]), metrics)


def chunked(body: bytes, *headers: bytes) -> bytes:
    """A request whose body comes in chunks."""
    lines = [b"POST %b HTTP/1.1" % SCORE, b"host: h", b"transfer-encoding: chunked", *headers]
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:9], body[9:]))
    return b"\r\n".join(lines) + b"\r\n\r\n" + chunks + b"0\r\n\r\n"


def whole(body: bytes, *headers: bytes) -> bytes:
    """A request with the length of its body."""
    return request(body, *headers, path=SCORE)


def bare(_: bytes, *headers: bytes) -> bytes:
    """A request without a body."""
    return b"\r\n".join([b"GET /v1/models?x=%20 HTTP/1.1", b"host: h", *headers]) + b"\r\n\r\n"


async def exchange(protocol: type[asyncio.Protocol], parts: list[bytes], answers: int) -> tuple[bytes, bool]:
    """What is answered to bytes that come in parts, without the ids of requests, and whether it is closed then."""
    connection = Connection(edge(), protocol)
    await connection.send(*parts)
    written = await connection.answers(answers)
    await asyncio.sleep(0.002)
    return re.sub(rb"x-request-id: \w+", b"", b"".join(connection.wire.writes) or written), connection.wire.closed


@pytest.mark.parametrize("protocol", PROTOCOLS)
@settings(max_examples=60)
@given(st.lists(st.tuples(st.sampled_from([whole, chunked, bare]), OFFERS), min_size=1, max_size=3), st.data())
def test_an_offer_changes_no_answer(protocol: type[asyncio.Protocol], sent: list[Any], data: st.DataObject) -> None:
    """To requests with and without bodies, one behind the other, in whatever pieces they come."""
    stream = b"".join(make(BODY, *offer) for make, offer in sent)
    plain = b"".join(make(BODY) for make, _ in sent)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=4)))
    parts = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True) if a < b]
    offered = asyncio.run(exchange(protocol, parts, len(sent)))
    assert offered == asyncio.run(exchange(protocol, [plain], len(sent)))
    assert offered[0].count(b"HTTP/1.1 200 OK") + offered[0].count(b"HTTP/1.1 4") == len(sent)


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(
    "sent",
    [
        whole(BODY, *OFFER, b"connection: close"),
        whole(BODY, b"Connection: close, Upgrade", b"Upgrade: h2c"),
        whole(BODY, *OFFER).replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
def test_a_connection_is_closed_where_that_is_wished(protocol: type[asyncio.Protocol], sent: bytes) -> None:
    """Once the offer is answered as any other request."""
    answer, closed = asyncio.run(exchange(protocol, [sent], 1))
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert closed


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_many_offers_in_one_piece_are_answered_in_their_order(protocol: type[asyncio.Protocol]) -> None:
    """A thousand of them too, which neither nests nor copies what follows."""
    answer, _ = asyncio.run(exchange(protocol, [bare(b"", *OFFER) * 1000], 1000))
    assert answer.count(b"HTTP/1.1 ") == 1000


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("headers", [(), OFFER])
def test_a_tunnel_is_refused_as_before(protocol: type[asyncio.Protocol], headers: tuple[bytes, ...]) -> None:
    """To CONNECT there is no other reading than that as an upgrade."""
    sent = b"\r\n".join([b"CONNECT h:80 HTTP/1.1", b"host: h", *headers]) + b"\r\n\r\n"
    answer, _ = asyncio.run(exchange(protocol, [sent], 1))
    assert answer.startswith(b"HTTP/1.1 4")


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize("size", [1, 3000])
def test_curl_may_offer_http_2(protocol: type[asyncio.Protocol], size: int) -> None:
    """With bodies of some bytes and of some hundred thousand, two on one connection."""
    body = json.dumps({"records": [RECORD] * size}).encode()
    arguments = ["--http2", "-s", "-H", "Content-Type: application/json", "--data-binary", "@-"]

    async def run() -> bytes:
        made = Connection(edge(), protocol).protocol
        make = type(made)
        server = await asyncio.get_running_loop().create_server(
            lambda: make(config=made.config, server_state=made.server_state, app_state={}), "127.0.0.1", 0
        )
        async with server:
            port = server.sockets[0].getsockname()[1]
            url = f"http://127.0.0.1:{port}{SCORE.decode()}"
            asked = ["curl", *arguments, "-w", " %{http_code} %{num_connects}\n", url, url]
            curl = await asyncio.create_subprocess_exec(
                *asked, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
            )
            out, _ = await asyncio.wait_for(curl.communicate(body), 30)
        return out

    first, second = asyncio.run(run()).splitlines()
    assert first.endswith(b" 200 1")
    assert second.endswith(b" 200 0")
    assert first.count(b'"score"') == size
