"""The server: how it takes connections, and how it stops.

When it stops, readiness fails first, while every request is still answered; then it takes no more connections.
"""

import asyncio
import logging
import signal
import socket
from types import FrameType
from typing import Any

import uvicorn

from kilter.service.models.registry import Registry
from kilter.service.settings import Settings
from kilter.service.upgrades import UpgradeBlindProtocol
from kilter.service.web.edge import Edge

log = logging.getLogger(__name__)
KEEP_ALIVE_SECONDS = 75
"""An idle connection is closed later than load balancers close theirs, which is after a minute as a rule. If the server
closed it first, the client's next request could be lost."""
DOORS = 32
"""How many times each socket is listened on: libuv takes one connection from each in a turn of its loop, and a turn is
long while many requests come. A probe would wait behind all the connections of a flood."""


def choose_protocol() -> type[asyncio.Protocol] | None:
    """The protocol of the fast lane; None if it is not installed, or was not tested with the installed uvicorn."""
    try:
        from kilter.service import fastlane
    except ImportError:
        return None
    return fastlane.find_protocol()


def configure(app: Edge, settings: Settings, **options: Any) -> uvicorn.Config:
    """Make uvicorn's configuration: with the fast lane, if there is one for it."""
    protocol = choose_protocol()
    app.app.state.fast_lane = protocol is not None
    if protocol is None:
        why = "the fast lane was not tested with this release of uvicorn, or is not installed"
        log.info("served plainly", extra={"fields": {"uvicorn": uvicorn.__version__, "why": why}})
    return uvicorn.Config(
        app,
        http=protocol or UpgradeBlindProtocol,
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
