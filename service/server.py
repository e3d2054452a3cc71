"""The server: how it takes connections, and how it stops.

When it stops, readiness fails first, while every request is still answered; then it takes no more connections.
"""

import asyncio
import logging
import signal
import socket
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import uvicorn

from kilter.service.models.registry import Registry
from kilter.service.settings import Settings
from kilter.service.web.edge import Edge

log = logging.getLogger(__name__)
KEEP_ALIVE_SECONDS = 75
"""An idle connection is closed later than load balancers close theirs, which is after a minute as a rule. If the server
closed it first, the client's next request could be lost."""
DOORS = 32
"""How many times each socket is listened on: libuv takes one connection from each in a turn of its loop, and a turn is
long while many requests come. A probe would wait behind all the connections of a flood."""

PARTS = ("uvicorn.protocols.http.httptools_impl", "uvicorn.protocols.http.flow_control")
TESTED = {
    "f60c53fb525fe6b9c61292da0bc7e6087ea5795af469bae6c8d6378fe4b434e9": "0.34.0 to 0.38.0",
    "c389f6a1013717191fd555716a7800b5fc190ac8eda433fab514090fd327eb82": "0.39.0",
    "0707b1edfee2dfba902b02f39cdc97bfffdbc130cab8ec63ec35858834543c27": "0.40.0",
    "25cd63bae77e4e67d273695c62b46396f3027136b6ddae41d3e0058491909ff3": "0.41.0",
    "0746af5296e52256a3260143636c53aea639056d5e21fe0827d86fb7fcfa09ed": "0.42.0",
    "4b657d11672c7831426633794134d67714ceba5789526edc184bb6eb49b028a3": "0.45.0 to 0.48.0",
    "2d3f9ab21f983689e02b55aa9997a51a8fa9cc5d7506440d6802aab010bc3bed": "0.49.0",
    "c848541476e326a510b31cd1e2060b59de7c5d78b49b3771f83c297bd9f8c06c": "0.50.0 to 0.52.0",
    "ea814cf42e50628dba76b72e12900943da6801b4bcf097f11dff4ea2cdc99455": "0.53.0 to 0.54.0",
}
"""The SHA-256 of the sources of these parts, joined, and the releases of uvicorn that have them.

Private parts of uvicorn are only relied on where they are these: by the fast lane, and by `upgrades`.
"""


def choose_protocol() -> type[asyncio.Protocol] | None:
    """The protocol of the fast lane; None if it is not installed, or was not tested with the installed uvicorn."""
    if digest_of_parts() not in TESTED or find_spec("kilter.service.fastlane") is None:
        return None
    from kilter.service.fastlane.protocol import FastProtocol

    return FastProtocol


def plain_protocol() -> type[asyncio.Protocol] | Literal["httptools"]:
    """The protocol without the fast lane: uvicorn's own if its parts are not those that were tested."""
    if digest_of_parts() not in TESTED:
        return "httptools"
    from kilter.service.upgrades import UpgradeBlindProtocol

    return UpgradeBlindProtocol


def digest_of_parts() -> str:
    """The digest of the private parts of the installed uvicorn; empty if it lacks one of them."""
    sources = b""
    for name in PARTS:
        spec = find_spec(name)
        if spec is None or spec.origin is None:
            return ""
        sources += Path(spec.origin).read_bytes()
    return sha256(sources).hexdigest()


def configure(app: Edge, settings: Settings, **options: Any) -> uvicorn.Config:
    """Make uvicorn's configuration: with the fast lane, if there is one for it."""
    protocol = choose_protocol()
    app.app.state.fast_lane = protocol is not None
    if protocol is None:
        why = "the fast lane was not tested with this release of uvicorn, or is not installed"
        log.info("served plainly", extra={"fields": {"uvicorn": uvicorn.__version__, "why": why}})
    return uvicorn.Config(
        app,
        http=protocol or plain_protocol(),
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=settings.shutdown_seconds,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        proxy_headers=settings.trusted_proxies is not None,
        forwarded_allow_ips=settings.trusted_proxies or "",
        ssl_certfile=settings.tls_cert,
        ssl_keyfile=settings.tls_key,
        **options,
    )


class Server(uvicorn.Server):
    """A server that goes on for `seconds` after SIGTERM, so that clients can turn to another.

    Its answers meanwhile ask clients to close their connections. Every request that it accepted is answered.
    """

    def __init__(self, config: uvicorn.Config, registry: Registry, seconds: float) -> None:
        super().__init__(config)
        self._registry = registry
        self._seconds = seconds

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if sig != signal.SIGTERM or self._registry.stopping or not self._seconds:
            self._registry.stopping = True
            super().handle_exit(sig, frame)
            return
        self._registry.stopping = True
        # A signal's handler runs between any two steps of the loop, and may touch it in no other way.
        self._loop.call_soon_threadsafe(self._loop.call_later, self._seconds, super().handle_exit, sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        doors = sockets and [*sockets, *(one.dup() for one in sockets for _ in range(DOORS - 1))]
        await super().startup(doors)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)
