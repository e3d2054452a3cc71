"""The server: how it takes connections, and how it stops.

Readiness fails first, while everything is still answered; then it takes nothing more.
"""

import asyncio
import logging
import signal
import socket
from types import FrameType
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from kilter.service.models.registry import Registry
from kilter.service.settings import Settings
from kilter.service.web.edge import Edge

log = logging.getLogger(__name__)
KEEP_ALIVE_SECONDS = 75
"""An idle connection is closed later than load balancers close theirs, a minute as a rule: whoever closes first must be
the client, or its next request may meet a closed connection."""
DOORS = 32
"""Times that each socket is listened on: libuv takes one connection from each in a turn of its loop, and a turn is long
while many requests come. A probe would wait behind all the connections of a flood."""


def choose_protocol() -> type[asyncio.Protocol] | None:
    """The protocol of the fast lane; None where there is none, or not for the installed uvicorn."""
    try:
        from kilter.service import fastlane
    except ImportError:
        return None
    return fastlane.find_protocol()


def configured(app: Edge, settings: Settings, **options: Any) -> uvicorn.Config:
    """How uvicorn runs the service: by the fast lane, if that is there for it."""
    protocol = choose_protocol()
    app.app.state.fast_lane = protocol is not None
    if protocol is None:
        why = "the fast lane was not tried with this release of uvicorn, or is not installed"
        log.warning("served plainly", extra={"fields": {"uvicorn": uvicorn.__version__, "why": why}})
    return uvicorn.Config(
        app,
        http=protocol or HttpToolsProtocol,
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
    """A server that goes on for some seconds after SIGTERM, until nobody sends it requests any more.

    Answers ask clients to close their connections meanwhile. What was accepted then is answered to its end.
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
        # A signal's handler runs between any two steps of the loop, and may not touch it otherwise.
        self._loop.call_soon_threadsafe(self._loop.call_later, self._seconds, super().handle_exit, sig, frame)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        doors = sockets and [*sockets, *(one.dup() for one in sockets for _ in range(DOORS - 1))]
        await super().startup(doors)

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)
