"""Sends fuzzed requests to the service in this process, and holds every answer against what is true of all answers."""

import asyncio
import gc
import json
from collections import Counter
from collections.abc import MutableMapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from kilter.service.models.registry import Registry
from kilter.service.monitoring.metrics import Metrics
from kilter.service.protection.auth import Grant, Guard, Keyring
from kilter.service.routing import Scope
from kilter.service.settings import Settings
from kilter.service.web.app import create_app
from tests.support.fuzzing import Case, case
from tests.support.picture_model import picture_detector
from tests.support.protocol_server import meter
from tests.support.serving import detector

SECRET = "kilter_fuzz"  # noqa: S105
HANG_SECONDS = 60
"""Nothing takes nearly as long, even on a busy machine, unless it hangs."""
TOGETHER = 8


class Target:
    """A service of three models with narrow limits, its administration open to `SECRET`."""

    def __init__(self) -> None:
        metrics = Metrics()
        self._models = [detector(), meter(), picture_detector(version=3)]
        self._registry = Registry(metrics, self._models)
        tokens = Keyring([Grant("fuzz", sha256(SECRET.encode()).digest(), frozenset(Scope))], frozenset({Scope.SCORE}))
        settings = Settings(max_body_bytes=300_000, max_records=2000, max_pixels=1_000_000, models=Path("/nonexistent"))
        self._app = create_app(settings, self._registry, metrics, guard=Guard(tokens))
        self.statuses = Counter[int | None]()
        """How many answers had which status; None is no answer, to a client that left."""

    @property
    def routes(self) -> list[tuple[str, str]]:
        """Method and path of every route that takes a body, those that judge several times."""
        found = [(route.method, route.path) for route in self._app.table.routes if route.method in ("POST", "PUT")]
        judging = [route for route in found if route[1].endswith(("/score", "/infer"))]
        return found + judging * 5

    def fuzz(self, seed: str, start: int, stop: int) -> None:
        """Send the cases of those numbers. Raises AssertionError that names the case whose answer is wrong."""
        asyncio.run(self._all(seed, start, stop))
        gc.collect()

    async def _all(self, seed: str, start: int, stop: int) -> None:
        routes = self.routes
        together: list[asyncio.Task[None]] = []
        for number in range(start, stop):
            made = case(seed, number, routes, SECRET)
            place = f"case {number} of seed {seed!r}: {made.method} {made.path[:100]}, headers {made.headers!r:.500}"
            alone = not made.path.endswith(("/score", "/infer"))
            if alone or len(together) == TOGETHER:
                await asyncio.gather(*together)
                together.clear()
            together.append(asyncio.create_task(self._one(made, place)))
            if alone:  # it may have unloaded a model
                await asyncio.gather(*together)
                together.clear()
                for model in self._models:
                    if self._registry.get(model.name) is None:
                        self._registry.place(model)
        await asyncio.gather(*together)

    async def _one(self, made: Case, place: str) -> None:
        try:
            async with asyncio.timeout(HANG_SECONDS):
                sent = await self._send(made)
        except TimeoutError:
            raise AssertionError(f"{place}: no answer in {HANG_SECONDS} s") from None
        if not sent and made.leaves:
            self.statuses[None] += 1
            return
        assert sent, f"{place}: no answer"
        start, content = sent[0], b"".join(message.get("body", b"") for message in sent[1:])
        status = start["status"]
        headers = {bytes(name).decode(): bytes(value).decode("latin-1") for name, value in start["headers"]}
        self.statuses[status] += 1
        assert status < 500, f"{place}: {status} {content!r:.500}"
        assert int(headers.get("content-length", len(content))) == len(content), place
        assert headers["x-request-id"], place
        if status >= 400:
            ours = made.path.startswith("/v2")
            assert headers["content-type"] == ("application/json" if ours else "application/problem+json"), place
            said = json.loads(content)
            assert ("error" if ours else "detail") in said, place

    async def _send(self, made: Case) -> list[MutableMapping[str, Any]]:
        """What the service answers to a case."""
        waiting = list(made.chunks)
        sent: list[MutableMapping[str, Any]] = []
        forever = asyncio.Event()

        async def receive() -> MutableMapping[str, Any]:
            if len(waiting) > (1 if made.leaves else 0):
                body = waiting.pop(0)
                return {"type": "http.request", "body": body, "more_body": bool(waiting)}
            if not made.leaves:
                await forever.wait()
            return {"type": "http.disconnect"}

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": made.method,
            "scheme": "http",
            "path": made.path,
            "raw_path": made.path.encode(),
            "root_path": "",
            "query_string": made.query,
            "headers": made.headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 2),
        }
        await self._app(scope, receive, send)
        return sent
