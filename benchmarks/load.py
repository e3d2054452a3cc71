"""Load on a server by `wrk`: as many requests as it answers, over a number of connections."""

import subprocess
from pathlib import Path
from shutil import which

import msgspec

SCRIPT = Path(__file__).parent / "servers" / "wrk.lua"
TIMEOUT = 20
"""Seconds after which an answer counts as missing."""


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
    """Of the statuses, where they are counted: 200, 503, and any other."""
    turned_away: int
    failed: int

    @property
    def per_second(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def command(
    url: str, bodies: Path, connections: int, seconds: int, token: str | None = None, *, statuses: bool = False
) -> list[str]:
    """The command of a load; `bodies` has a body in each line."""
    found = which("wrk")
    if found is None:
        raise FileNotFoundError("wrk is not installed: apt-get install wrk")
    options = ["-t", "1", "-c", f"{connections}", "-d", f"{seconds}s", "--timeout", f"{TIMEOUT}s", "-s", f"{SCRIPT}"]
    return [found, *options, url, "--", str(bodies), token or "-", *(["statuses"] if statuses else [])]


def parse(output: str) -> Load:
    """What `wrk` found. Raises RuntimeError with all that it printed if it found nothing."""
    for line in output.splitlines():
        if line.startswith("FOUND "):
            return msgspec.json.decode(line.removeprefix("FOUND "), type=Load)
    raise RuntimeError(f"wrk says:\n{output}")


def load(
    url: str, bodies: Path, connections: int, seconds: int, token: str | None = None, *, statuses: bool = False
) -> Load:
    """Load a server and wait for the end. Raises RuntimeError if `wrk` fails."""
    arguments = command(url, bodies, connections, seconds, token, statuses=statuses)
    done = subprocess.run(arguments, capture_output=True, text=True, check=False)
    return parse(done.stdout + done.stderr)
