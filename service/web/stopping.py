"""How the service stops: readiness fails first, while everything is still answered; then it takes nothing more."""

import asyncio
import signal
import socket
from types import FrameType

import uvicorn

from service.models.registry import Registry


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

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self._loop = asyncio.get_running_loop()
        await super().serve(sockets)
