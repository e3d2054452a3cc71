"""A real Prometheus, a real Alertmanager, a receiver of their webhooks and the service, on free ports of 127.0.0.1.

They run what deploy/ ships, except that addresses are theirs and every duration (ranges, offsets, `for`, intervals,
group waits) is `HASTE` times shorter: five minutes pass in five seconds. Levels, counts and expressions stay as they
are.
"""

import json
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import pytest

from tests.support.data import records

T = TypeVar("T")
DEPLOY = Path(__file__).parents[2] / "deploy"
HASTE = 60
UNITS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000}
_DURATION = re.compile(
    r"(?P<before>\[|offset |(?:for|interval|_interval|_wait|_timeout): )(?P<number>\d+)(?P<unit>[smhdw])(?!\w)"
)


def hastened(text: str) -> str:
    """Rules or a configuration with every duration `HASTE` times shorter, in milliseconds."""

    def shorter(match: re.Match[str]) -> str:
        return f"{match['before']}{int(match['number']) * UNITS[match['unit']] // HASTE}ms"

    return _DURATION.sub(shorter, text)


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        port: int = found.getsockname()[1]
        return port


def fetch(url: str, body: Any = None) -> Any:
    """The JSON that a URL answers, a body being posted to it. Raises httpx.HTTPError."""
    method = "GET" if body is None else "POST"
    return httpx.request(method, url, json=body, timeout=20).raise_for_status().json()


def wait_for(what: str, look: Callable[[], T | None], seconds: float = 60.0) -> T:
    """What `look` gives once it gives something; a failure that names `what` if that takes too long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            found = look()
        except httpx.HTTPError:
            found = None
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"no {what} within {seconds:g} s")


class Receiver:
    """Takes webhooks of Alertmanager and keeps them: the path, and the alerts."""

    def __init__(self) -> None:
        self.got: list[tuple[str, dict[str, Any]]] = []
        got = self.got

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                got.append((self.path, json.loads(content)))
                self.send_response(200)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def find(self, path: str, alert: str, status: str, since: int = 0) -> dict[str, Any] | None:
        """The first alert of that name that came to a path with that status, after `since` webhooks."""
        return next(
            (
                found
                for where, group in self.got[since:]
                for found in group["alerts"]
                if where == path and found["labels"]["alertname"] == alert and found["status"] == status
            ),
            None,
        )

    def open(self) -> bool:
        """Whether something that was told has not been told to be over."""
        last = {(path, group["groupKey"]): group["status"] for path, group in self.got}
        return "firing" in last.values()

    def resolved(self, path: str, alert: str, since: int) -> bool:
        """Whether the last webhook about an alert says that all of it is over."""
        last = [g for where, g in self.got[since:] if where == path and g["groupLabels"]["alertname"] == alert]
        return bool(last) and last[-1]["status"] == "resolved"


@contextmanager
def process(log: Path, *command: str | Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process that is ended with the block, its output in a file."""
    with log.open("ab") as output, subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT) as running:
        try:
            yield running
        finally:
            running.kill()


class Service:
    """`kilter serve`, which can be killed and started again on its port."""

    def __init__(self, models: Path, log: Path, **settings: str) -> None:
        self.models = models
        self._environment = os.environ | {f"KILTER_{name.upper()}": value for name, value in settings.items()}
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._log = log
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it is ready."""
        code = "from kilter.service.cli import main; main()"
        options = ("--models", str(self.models), "--port", str(self.port), "--device", "cpu")
        with self._log.open("ab") as output:
            self._running = subprocess.Popen(
                (sys.executable, "-c", code, "serve", *options),
                env=self._environment,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        wait_for("service", lambda: fetch(f"{self.url}/readyz"))

    def kill(self) -> None:
        """End it at once, as a lack of memory would."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()
            self._running = None


class Traffic:
    """Requests to the service from a thread: `BATCH` records ten times a second, drawn from `pool`."""

    BATCH = 20
    MOST = 500

    def __init__(self, url: str, pool: list[dict[str, Any]]) -> None:
        self.pool = pool
        self._url = url
        self._rng = np.random.default_rng(7)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def send(self, pool: list[dict[str, Any]], count: int) -> None:
        """Have records judged, drawn from a pool; a service that is not there is no matter."""
        drawn = [pool[i] for i in self._rng.integers(len(pool), size=count)]
        try:
            for first in range(0, count, self.MOST):
                fetch(self._url, {"records": drawn[first : first + self.MOST]})
        except httpx.HTTPError:
            return

    def _run(self) -> None:
        while not self._stop.wait(0.1):
            self.send(self.pool, self.BATCH)

    def __enter__(self) -> "Traffic":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()


class Stack:
    """All of it, running."""

    def __init__(self, service: Service, receiver: Receiver, prometheus: str) -> None:
        self.service = service
        self.receiver = receiver
        self.prometheus = prometheus
        self.normal = records(np.random.default_rng(11), 4_000)
        self.score = f"{service.url}/v1/models/plant/score"

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series of an instant query."""
        url = httpx.URL(f"{self.prometheus}/api/v1/query", params={"query": expression})
        found: list[dict[str, Any]] = fetch(str(url))["data"]["result"]
        return found

    def alerts(self) -> set[str]:
        """The names of the alerts that fire."""
        return {one["metric"]["alertname"] for one in self.query('ALERTS{alertstate="firing"}')}


@contextmanager
def stack(models: Path, folder: Path, **settings: str) -> Iterator[Stack]:
    """Service with some settings, Prometheus, Alertmanager and receiver, with what deploy/ ships, in a folder."""
    for tool in ("prometheus", "prometheus-alertmanager"):
        if shutil.which(tool) is None:
            pytest.fail(f"{tool} is not installed: apt-get install prometheus prometheus-alertmanager")
    service, receiver = Service(models, folder / "service.log", **settings), Receiver()
    prometheus, alertmanager = free_port(), free_port()
    (folder / "rules").mkdir()
    for path in (DEPLOY / "prometheus" / "rules").glob("*.yml"):
        (folder / "rules" / path.name).write_text(hastened(path.read_text()))
    text = hastened((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    text = text.replace("kilter:8000", f"127.0.0.1:{service.port}")
    (folder / "prometheus.yml").write_text(text.replace("alertmanager:9093", f"127.0.0.1:{alertmanager}"))
    text = hastened((DEPLOY / "alertmanager" / "alertmanager.yml").read_text())
    (folder / "alertmanager.yml").write_text(re.sub(r"url: http://[^/]+", f"url: {receiver.url}", text))
    threading.Thread(target=receiver.server.serve_forever, daemon=True).start()
    with (
        process(
            folder / "alertmanager.log",
            "prometheus-alertmanager",
            f"--config.file={folder / 'alertmanager.yml'}",
            f"--storage.path={folder / 'alertmanager'}",
            f"--web.listen-address=127.0.0.1:{alertmanager}",
            "--cluster.listen-address=",
        ),
        process(
            folder / "prometheus.log",
            "prometheus",
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'prometheus'}",
            f"--web.listen-address=127.0.0.1:{prometheus}",
            "--rules.alert.resend-delay=1s",
        ),
    ):
        try:
            service.start()
            found = Stack(service, receiver, f"http://127.0.0.1:{prometheus}")
            wait_for("scrape", lambda: found.query('up{job="kilter"} == 1'))
            # Prometheus takes five seconds to find its targets, in haste or not, and till then says there are none.
            wait_for("end of the start", lambda: not found.alerts() and not receiver.open())
            yield found
        finally:
            service.kill()
            receiver.server.shutdown()
            receiver.server.server_close()
