"""The service behind its own protocol on a socket, and a client that sends a body while it reads the answer."""

import asyncio
import http.client
import socket
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import uvicorn
from starlette.types import ASGIApp, Message

from kilter.service.detector import Detector
from kilter.service.formats.scoring import score_inputs
from kilter.service.models.registry import Registry
from kilter.service.monitoring.metrics import Metrics
from kilter.service.server import configure
from kilter.service.settings import Settings
from kilter.service.web.app import create_app
from tests.support.serving import detector as plain_detector

STREAM = "/v1/models/shop/score/stream"


class Service(NamedTuple):
    """A service that is running."""

    port: int
    registry: Registry
    metrics: Metrics
    server: uvicorn.Server


@contextmanager
def running(*detectors: Detector, **settings: Any) -> Iterator[Service]:
    """A service of the given detectors, of `detector()` where there is none, on a free port."""
    metrics, read = Metrics(), Settings(**settings)
    registry = Registry(metrics, detectors or [plain_detector()])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(configure(create_app(read, registry, metrics), read))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield Service(listener.getsockname()[1], registry, metrics, server)
        finally:
            server.should_exit = True
            thread.join()


class Answer(NamedTuple):
    """An answer as far as it came."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    complete: bool


def stream(
    service: Service, parts: Iterable[bytes], path: str = STREAM, *, length: int | None = None, **headers: str
) -> Answer:
    """Send a body in parts, in chunks or with its length, and read the answer meanwhile."""
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=60)
    connection.auto_open = 0
    connection.connect()
    connection.putrequest("POST", path)
    chunked = length is None
    framing = {"transfer-encoding": "chunked"} if chunked else {"content-length": str(length)}
    for name, value in {"content-type": "text/csv", **headers, **framing}.items():
        connection.putheader(name.replace("_", "-"), value)
    connection.endheaders()
    sending = threading.Thread(target=send, args=(connection, parts), kwargs={"chunked": chunked})
    sending.start()
    try:
        response = connection.getresponse()
        content, complete = read(response)
        return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, content, complete)
    finally:
        connection.close()
        sending.join()


def send(connection: http.client.HTTPConnection, parts: Iterable[bytes], *, chunked: bool) -> None:
    """Send a body until the other side takes no more."""
    try:
        for part in parts:
            if part:
                connection.send(b"%x\r\n%b\r\n" % (len(part), part) if chunked else part)
        if chunked:
            connection.send(b"0\r\n\r\n")
    except (OSError, http.client.NotConnected, AttributeError):  # the last where it is closed meanwhile
        pass


def read(response: http.client.HTTPResponse) -> tuple[bytes, bool]:
    """An answer as far as it comes, and whether it has its end."""
    content = b""
    try:
        while part := response.read1(1 << 20):
            content += part
    except (http.client.HTTPException, OSError, ValueError):  # the latter for a chunk without a length
        return content, False
    return content, True


def scored(folder: Path, content: bytes, out: str = "out.csv", **options: Any) -> bytes:
    """What `kilter score` writes of a file."""
    path, written = folder / "sent", folder / out
    path.write_bytes(content)
    score_inputs(options.pop("detector", None) or plain_detector(), [path], written, force=True, **options)
    return written.read_bytes()


def in_parts(content: bytes, size: int = 1 << 16) -> Iterator[bytes]:
    """A content in parts of a size."""
    stream = BytesIO(content)
    return iter(lambda: stream.read(size), b"")


def ask(app: ASGIApp, parts: Iterable[bytes], path: str = STREAM, **headers: str) -> Answer:
    """Send a body in parts to an application in this process."""
    return asyncio.run(asked(app, parts, path, **headers))


async def asked(app: ASGIApp, parts: Iterable[bytes], path: str = STREAM, **headers: str) -> Answer:
    """The same in an event loop that runs already. The client leaves once it has its answer."""
    sent: list[Message] = []
    incoming = iter([*parts, None])
    answered = asyncio.Event()

    async def receive() -> Message:
        for part in incoming:
            return {"type": "http.request", "body": part or b"", "more_body": part is not None}
        await answered.wait()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    plain, _, query = path.partition("?")
    scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": plain, "query_string": query.encode()}
    stated = {"content-type": "text/csv", **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope |= {"headers": [(name.encode(), value.encode()) for name, value in stated.items()], "scheme": "http"}
    try:
        await app(scope, receive, send)
    finally:
        answered.set()
    content = b"".join(message.get("body", b"") for message in sent)
    told = {name.decode(): value.decode() for name, value in sent[0]["headers"]} if sent else {}
    complete = bool(sent) and not sent[-1].get("more_body", False)
    return Answer(sent[0]["status"] if sent else 0, told, content, complete)
