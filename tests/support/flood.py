"""Clients that ask for more than the service has room for, and come back too soon."""

import asyncio
import json
import threading
from collections import Counter
from typing import Any, Self

import httpx

CLIENTS = 40
PAUSE = 0.3
"""Seconds after a refusal, less than the service asks for: many refusals in no time would only heat this machine."""


class Flood:
    """Clients that send one body again and again, all at once, from a thread."""

    def __init__(self, url: str, records: list[dict[str, Any]]) -> None:
        self.answers: Counter[tuple[int, bool]] = Counter()
        """How many answers had a status, and the header Retry-After."""
        self._url = url
        self._body = json.dumps({"records": records}).encode()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._all()), daemon=True)

    async def _all(self) -> None:
        limits = httpx.Limits(max_connections=CLIENTS)
        async with httpx.AsyncClient(timeout=60, limits=limits) as http:
            await asyncio.gather(*(self._one(http) for _ in range(CLIENTS)))

    async def _one(self, http: httpx.AsyncClient) -> None:
        while not self._stop.is_set():
            answer = await http.post(self._url, content=self._body, headers={"Content-Type": "application/json"})
            self.answers[answer.status_code, "retry-after" in answer.headers] += 1
            if answer.status_code != 200:
                await asyncio.sleep(PAUSE)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
