"""Load on a server by `wrk`: as many requests as it answers, over a number of connections."""

import subprocess
from collections.abc import Iterable
from pathlib import Path
from shutil import which
from typing import NamedTuple

import msgspec

SCRIPT = Path(__file__).parent / "servers" / "wrk.lua"
TIMEOUT = 60
"""Seconds after which an answer counts as missing."""


class Request(NamedTuple):
    """A request that a load sends."""

    path: str
    body: str
    content_type: str = "application/json"
    method: str = "POST"


class Load(msgspec.Struct, frozen=True):
    """What came of a load."""

    requests: int
    seconds: float
    not_2xx: int
    broken: int
    """Connections that failed to open, to read or to write."""
    timeouts: int
    median_ms: float
    p99_ms: float
    max_ms: float
    accepted: int
    """Of the statuses, where they are counted: 200; 503; others below 500; others from 500 on."""
    turned_away: int
    refused: int
    failed: int

    @property
    def per_second(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def write(path: Path, requests: Iterable[Request]) -> Path:
    """Requests in a file for `wrk`, a line each."""
    lines = ("\t".join((r.method, r.path, r.content_type, r.body.replace("\n", "\1"))) for r in requests)
    path.write_text("\n".join(lines) + "\n")
    return path


def load(
    base: str,
    requests: Path,
    connections: int,
    seconds: int,
    token: str | None = None,
    *,
    deadline: float | None = None,
    statuses: bool = False,
) -> Load:
    """Load a server with a file of requests, over and over, and wait for the end.

    Raises FileNotFoundError if `wrk` is not installed, RuntimeError with all that it printed if it fails.
    """
    found = which("wrk")
    if found is None:
        raise FileNotFoundError("wrk is not installed: apt-get install wrk")
    options = ["-t", "1", "-c", f"{connections}", "-d", f"{seconds}s", "--timeout", f"{TIMEOUT}s", "-s", f"{SCRIPT}"]
    stated = "-" if deadline is None else f"{deadline:g}"
    given = [str(requests), token or "-", stated, "statuses" if statuses else "-"]
    done = subprocess.run([found, *options, base, "--", *given], capture_output=True, text=True, check=False)
    return parse(done.stdout + done.stderr)


def parse(output: str) -> Load:
    """What `wrk` found. Raises RuntimeError with all that it printed if it found nothing."""
    for line in output.splitlines():
        if line.startswith("FOUND "):
            return msgspec.json.decode(line.removeprefix("FOUND "), type=Load)
    raise RuntimeError(f"wrk says:\n{output}")
