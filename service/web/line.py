"""Whose turn it is: so many requests are begun in a turn of the event loop, and the others in the next ones."""

import asyncio
import time
from collections import deque

from kilter.service.web.exchange import Exchange

MOST = 64
"""More would make no better batches, and would hold up what else the loop has to do: probes, and new connections."""
FEW = 16
"""Before there are as many, nobody looks whether the turn is over: that costs a turn of its own."""


class Line:
    """Begins exchanges in the order in which they came."""

    def __init__(self) -> None:
        self._begun = 0
        """In this turn, and in those before it in which there were few."""
        self._waiting: deque[tuple[float, Exchange]] = deque()

    def begin(self, exchange: Exchange, loop: asyncio.AbstractEventLoop) -> None:
        """Begin an exchange, now or in a later turn of the loop."""
        if self._begun >= MOST:
            self._waiting.append((time.perf_counter(), exchange))
            return
        self._begun += 1
        if self._begun == FEW:
            loop.call_soon(self._turn, loop)
        exchange.begin()

    def _turn(self, loop: asyncio.AbstractEventLoop) -> None:
        """A turn of the loop is over: begin those that wait, as many as may be."""
        self._begun = min(MOST, len(self._waiting))
        for _ in range(self._begun):
            arrived, exchange = self._waiting.popleft()
            exchange.begin(time.perf_counter() - arrived)
        if self._begun >= FEW:
            loop.call_soon(self._turn, loop)
