"""Changes of a model under steady load: who made which answer is told apart afterwards, from the folder alone."""

import asyncio
import json
import random
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np

from kilter.service.detector import Detector, load, store
from tests.support.versions import NAME, add, damage

MODEL = f"/v1/models/{NAME}"
RATES = (0.01, 0.02, 0.1, 0.25)
BAD: tuple[tuple[str, bytes, int], ...] = (
    (f"{MODEL}/score", b"{", 400),
    (f"{MODEL}/score", b'{"records": [{"temperature": "hot"}]}', 422),
    (f"{MODEL}/score", b'{"records": []}', 422),
    ("/v1/models/other/score", b"{}", 404),
    (f"{MODEL}/score?reasons=x", b"{}", 422),
    (f"/v2/models/{NAME}/infer", b'{"inputs": []}', 400),
)


class State(NamedTuple):
    """What serves: a version at a target rate, or nothing."""

    version: int | None
    target_fpr: float


class Sent(NamedTuple):
    """A good request that was answered with verdicts."""

    records: list[dict[str, Any]]
    answer: dict[str, Any]
    began: float
    ended: float


@dataclass
class Churn:
    """A service under load whose model is changed again and again; `client` may administrate it."""

    client: httpx.AsyncClient
    folder: Path
    seed: int = 0
    pause: float = 0.005
    """Seconds between an answer and the next request of a client: what loads beside it needs time as well."""
    statuses: Counter[tuple[int, str]] = field(default_factory=Counter)
    """Answers by status and kind of problem."""
    sent: list[Sent] = field(default_factory=list)
    history: list[tuple[float, State]] = field(default_factory=list)
    """When each state began to be possible; a state may be until the change after it was acknowledged."""
    acknowledged: list[float] = field(default_factory=list)
    """When each state was acknowledged."""

    async def run(self, changes: int, clients: int) -> None:
        """Make so many changes in a row under the load of so many clients."""
        self._rng = random.Random(self.seed)
        self._over = False
        self._rate: float | None = None
        self._records = load(self.folder / NAME / str(store.serving_version(self.folder / NAME))).probes.records
        self._serves: int | None = store.serving_version(self.folder / NAME)
        self.history.append((time.monotonic(), self._state()))
        self.acknowledged.append(time.monotonic())
        load_of = [asyncio.create_task(self._client(number)) for number in range(clients)]
        kinds = (self._new, self._corrupt, self._reload, self._roll_back, self._beside, self._threshold, self._shadow)
        for number in range(changes):
            await (self._restart if number % 10 == 5 else kinds[number % len(kinds)])()
            await asyncio.sleep(0)
        self._over = True
        await asyncio.gather(*load_of)

    def _state(self) -> State:
        if self._serves is None:
            return State(None, 0.0)
        own = _own(self.folder, self._serves)
        return State(self._serves, own.calibration.target_fpr if self._rate is None else self._rate)

    async def _change(self, method: str, path: str, body: Any = None, status: int = 200, state: Any = None) -> None:
        """Ask for a change that leads to another state, or to none."""
        if state is not None:
            self._serves, self._rate = state
            self.history.append((time.monotonic(), self._state()))
        answer = await self.client.request(method, path, json=body or {})
        assert answer.status_code == status, (method, path, answer.text)
        if state is not None:
            self.acknowledged.append(time.monotonic())

    async def _load(self) -> None:
        store_says = store.serving_version(self.folder / NAME)
        await self._change("POST", f"{MODEL}/load", state=(store_says, self._rate))

    async def _new(self) -> None:
        store.unpin(self.folder / NAME)
        add(self.folder, target_fpr=self._rng.choice((0.02, 0.05, 0.1)), spread=self._rng.uniform(0.5, 2))
        await self._load()

    async def _corrupt(self) -> None:
        version = add(self.folder)
        damage(self.folder, version)
        store.pin(self.folder / NAME, version)
        await self._change("POST", f"{MODEL}/load", status=409)
        await self._change("POST", f"/v2/repository/models/{NAME}/load", status=409)
        (self.folder / NAME / str(version) / "SHA256SUMS").unlink()
        store.unpin(self.folder / NAME)
        await self._load()

    async def _reload(self) -> None:
        await self._load()

    async def _roll_back(self) -> None:
        store.rollback(self.folder / NAME)
        await self._load()

    async def _beside(self) -> None:
        assert self._serves is not None
        version = self._rng.choice([v for v in store.versions(self.folder / NAME) if v != self._serves])
        await self._change("POST", f"{MODEL}/load", {"version": version})
        body = {"records": self._records}
        answer = await self.client.post(f"{MODEL}/versions/{version}/score", json=body)
        assert answer.json()["model"]["version"] == version
        await self._change("POST", f"{MODEL}/unload", {"version": version})

    async def _threshold(self) -> None:
        rate = self._rng.choice(RATES)
        await self._change("PUT", f"{MODEL}/threshold", {"target_fpr": rate}, state=(self._serves, rate))
        await self._change("PUT", f"{MODEL}/threshold", {"target_fpr": 0.001}, status=422)
        if self._rng.random() < 0.5:
            await self._change("DELETE", f"{MODEL}/threshold", state=(self._serves, None))

    async def _shadow(self) -> None:
        version = self._rng.choice([v for v in store.versions(self.folder / NAME) if v != self._serves])
        await self._change("PUT", f"{MODEL}/shadow", {"version": version})
        assert (await self.client.get(f"{MODEL}/shadow")).status_code == 200
        if self._rng.random() < 0.5:
            await self._change("DELETE", f"{MODEL}/shadow")

    async def _restart(self) -> None:
        await self._change("POST", f"{MODEL}/unload", state=(None, None))
        await self._load()

    async def _client(self, number: int) -> None:
        rng = random.Random(1000 * self.seed + number)
        while not self._over:
            await asyncio.sleep(self.pause)
            if rng.random() < 0.3:
                path, body, expected = rng.choice(BAD)
                answer = await self.client.post(path, content=body, headers={"Content-Type": "application/json"})
                assert answer.status_code in (expected, 404, 503), (path, answer.text)
                self._count(answer)
                continue
            records = rng.choices(self._records, k=rng.choice((1, 1, 3, 40)))
            began = time.monotonic()
            answer = await self.client.post(f"{MODEL}/score", json={"records": records})
            self._count(answer)
            if answer.status_code == 200:
                self.sent.append(Sent(records, answer.json(), began, time.monotonic()))

    def _count(self, answer: httpx.Response) -> None:
        body = json.loads(answer.content)
        self.statuses[answer.status_code, body.get("type", "")] += 1

    def check(self) -> set[State]:
        """Assert of every answer that what it says made it did, and was to; return what all of them say."""
        unexpected = {kind: count for kind, count in self.statuses.items() if kind[0] >= 500}
        # While it is unloaded there is no model, and what is answered says so.
        assert set(unexpected) <= {(503, "/docs#not-ready"), (503, "")}, unexpected
        ends = [*self.acknowledged[1:], float("inf")]
        seen = set()
        for sent in self.sent:
            said = State(sent.answer["model"]["version"], sent.answer["target_fpr"])
            assert said.version is not None
            possible = {
                state
                for (begins, state), ends_at in zip(self.history, ends, strict=True)
                if begins <= sent.ended and ends_at >= sent.began
            }
            assert said in possible, (said, possible)
            judge = _at(self.folder, said.version, said.target_fpr)
            results = sent.answer["results"]
            assert sent.answer["threshold"] == judge.calibration.threshold
            scores = np.array([result["score"] for result in results])
            expected = judge.score(sent.records).score
            # What was judged together differs, and with it the last places of a float32.
            assert np.all(np.abs(scores - expected) <= 1e-5 * np.maximum(1, np.abs(expected)))
            assert [result["p_value"] for result in results] == judge.calibration.p_values(scores).tolist()
            assert [result["anomaly"] for result in results] == judge.calibration.anomalies(scores).tolist()
            seen.add(said)
        return seen


@cache
def _own(folder: Path, version: int) -> Detector:
    return load(folder / NAME / str(version))


@cache
def _at(folder: Path, version: int, target_fpr: float) -> Detector:
    own = _own(folder, version)
    return own if own.calibration.target_fpr == target_fpr else own.at_rate(target_fpr)
