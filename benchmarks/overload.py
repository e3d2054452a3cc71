"""Kilter under a flood: many more connections than a slow model can answer."""

import http.client
import sys
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError

from benchmarks.load import Load, Request, load, write
from benchmarks.markdown import number, table
from benchmarks.servers.contenders import Contender, Records, ask, kilter
from benchmarks.servers.model import records

MILLISECONDS = 50
FEW, MANY = 16, 512
DEADLINE = 5.0
"""Seconds that each request gives the service."""
POLL_SECONDS = 0.02
CASES: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("a batch", "batch", {}),
    ("a record", "record", {}),
    ("a record, at most 64 in flight", "record", {"KILTER_MAX_INFLIGHT_RECORDS": "64"}),
)
"""What takes 50 ms, and the settings beside the defaults."""


class Watched(NamedTuple):
    """What was seen beside a load."""

    load: Load
    slowest_ready: float
    """Seconds of the slowest answer to /readyz, infinite if one was not 200."""
    resident_mb: list[float]


class Flood(NamedTuple):
    """A case, measured."""

    few: Load
    many: Watched
    first_after: float
    """Seconds until the first request after the load was answered."""
    before_mb: float


def overload(models: Path, scratch: Path, seconds: int) -> str:
    """Measure every case, and say what the figures are."""
    rows = []
    for what, per, settings in CASES:
        command = (sys.executable, "-m", "benchmarks.servers.slowed", f"{MILLISECONDS}", per)
        server = kilter(models, scratch, *command, **settings)
        with server.process:
            server.process.wait_for(server.base + server.ready)
            rows.append(_row(what, flood(server, scratch, seconds)))
            print(f"{what}: done", flush=True)
    head = (
        f"{MILLISECONDS} ms for",
        f"200 per s at {FEW}",
        f"200 per s at {MANY}",
        "kept",
        "503 per s",
        "slowest 200 or 503, s",
        "slowest /readyz, s",
        "first request after, s",
        "MB before, most, after",
        "other answers",
    )
    note = (
        f"`kilter` around a model that sleeps; each request states a deadline of {DEADLINE:g} s; {seconds} s of load "
        f"with {FEW} connections, then with {MANY}, one record a request. To hold: kept 85 % or more, /readyz within "
        "0.25 s, the first request after the load within 2 s, no answer after its deadline, memory flat."
    )
    return "\n\n".join(["# Overload", note, table(head, rows)])


def flood(server: Contender, scratch: Path, seconds: int) -> Flood:
    """Load a server with few connections and then with many, and see how it is during the latter and after."""
    sent = records(64)
    requests = write(scratch / "flood.txt", (Request(server.path, server.body([record])) for record in sent))

    def run(connections: int) -> Load:
        return load(server.base, requests, connections, seconds, server.token, deadline=DEADLINE, statuses=True)

    few = run(FEW)
    before = server.process.resident_mb()
    many = watched(server, lambda: run(MANY))
    return Flood(few, many, answered_after(server, sent[:1]), before)


def answered_after(server: Contender, sent: Records) -> float:
    """Seconds until records are answered, asked again where the load before is still in flight. Raises OSError."""
    began = time.perf_counter()
    while True:
        try:
            ask(server, sent)
        except HTTPError as error:
            if error.code != HTTPStatus.SERVICE_UNAVAILABLE or time.perf_counter() - began > DEADLINE:
                raise
            time.sleep(POLL_SECONDS)
        else:
            return time.perf_counter() - began


def watched(server: Contender, work: Callable[[], Load]) -> Watched:
    """Do some work while asking a server again and again, on new connections, whether it is ready."""
    slowest, weights = 0.0, [server.process.resident_mb()]
    over = threading.Event()

    def look() -> None:
        nonlocal slowest
        while not over.wait(POLL_SECONDS):
            slowest = max(slowest, ready_seconds(server))
            weights.append(server.process.resident_mb())

    looking = threading.Thread(target=look)
    looking.start()
    try:
        found = work()
    finally:
        over.set()
        looking.join()
    return Watched(found, slowest, [*weights, server.process.resident_mb()])


def ready_seconds(server: Contender) -> float:
    """How long /readyz takes to answer 200; infinite if it does not."""
    began = time.perf_counter()
    connection = http.client.HTTPConnection(server.base.removeprefix("http://"), timeout=10)
    try:
        connection.request("GET", server.ready)
        return time.perf_counter() - began if connection.getresponse().status == 200 else float("inf")
    except OSError:
        return float("inf")
    finally:
        connection.close()


def _row(what: str, found: Flood) -> list[str]:
    few, many = found.few, found.many.load
    good = few.accepted / few.seconds, many.accepted / many.seconds
    return [
        what,
        number(good[0], 1),
        number(good[1], 1),
        f"{good[1] / good[0]:.0%}" if good[0] else "–",
        number(many.turned_away / many.seconds, 1),
        number(many.max_ms / 1000, 2),
        number(found.many.slowest_ready, 3),
        number(found.first_after, 3),
        f"{found.before_mb:.0f}, {max(found.many.resident_mb):.0f}, {found.many.resident_mb[-1]:.0f}",
        str(many.refused + many.failed + many.broken + many.timeouts),
    ]
