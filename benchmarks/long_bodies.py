"""What a long body costs the service: memory, rows per second, and how long small requests take meanwhile.

A service in a process of its own is sent CSV over HTTP, a table again and again, and the answer is read while it is
sent. Its memory is read ten times a second, and compared with what it was after a short stream, when all that it needs
is loaded. The answers to single records are timed on another connection, before the body and while it is sent.

    python -m benchmarks.long_bodies --megabytes 2000

Prints a table in Markdown.
"""

import argparse
import http.client
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from benchmarks.files import BLOCK, FITTED, fit
from benchmarks.machine import described
from benchmarks.markdown import number, table
from benchmarks.speed import made_up

SERVE = "from kilter.service.cli import main; main()"
PIECE = 1 << 16
PAUSE = 0.02  # seconds between two small requests


class Served(NamedTuple):
    """A service that listens."""

    pid: int
    port: int

    def connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)

    @property
    def megabytes(self) -> float:
        """Memory that it holds now."""
        with open(f"/proc/{self.pid}/statm") as file:  # noqa: PTH123
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    @property
    def seconds(self) -> float:
        """CPU seconds that it took so far."""
        with open(f"/proc/{self.pid}/stat") as file:  # noqa: PTH123
            fields = file.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextmanager
def serving(models: Path) -> Iterator[Served]:
    """A service of a folder of models."""
    command = [sys.executable, "-c", SERVE, "serve", "--models", str(models), "--port", "0"]
    environment = {**os.environ, "KILTER_LOG_LEVEL": "warning", "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=environment) as process:
        assert process.stdout is not None
        try:
            for line in process.stdout:
                listens = re.search(rb"listens on http://127\.0\.0\.1:(\d+)", line)
                if listens:
                    yield Served(process.pid, int(listens[1]))
                    break
            else:
                raise RuntimeError("the service did not start")
        finally:
            process.terminate()


class Watcher(threading.Thread):
    """Reads the memory of a service until it is stopped."""

    def __init__(self, served: Served) -> None:
        super().__init__(daemon=True)
        self.peak = served.megabytes
        self.stopped = threading.Event()
        self._served = served

    def run(self) -> None:
        while not self.stopped.wait(0.1):
            self.peak = max(self.peak, self._served.megabytes)


class SmallRequests(threading.Thread):
    """Sends single records, one after the other, until it is stopped."""

    def __init__(self, served: Served, record: str) -> None:
        super().__init__(daemon=True)
        self.seconds: list[float] = []
        self.stopped = threading.Event()
        self._served, self._record = served, record

    def run(self) -> None:
        connection = self._served.connect()
        while not self.stopped.wait(PAUSE):
            began = time.perf_counter()
            connection.request("POST", "/v1/models/rows/score", self._record, {"Content-Type": "application/json"})
            response = connection.getresponse()
            response.read()
            if response.status != 200:
                raise RuntimeError(f"a small request got {response.status}")
            self.seconds.append(time.perf_counter() - began)

    def quantiles(self) -> list[float]:
        """Milliseconds: the median, 90 % and 99 %."""
        return [1000 * float(x) for x in np.quantile(self.seconds, (0.5, 0.9, 0.99))]


def send_stream(served: Served, header: bytes, lines: bytes, times: int) -> tuple[int, int]:
    """Send a table of so many times the same lines; bytes that were sent and that came back."""
    connection = served.connect()
    size = len(header) + times * len(lines)
    connection.putrequest("POST", "/v1/models/rows/score/stream")
    connection.putheader("Content-Type", "text/csv")
    connection.putheader("Content-Length", str(size))
    connection.endheaders()

    def send() -> None:
        connection.send(header)
        for _ in range(times):
            for start in range(0, len(lines), PIECE):
                connection.send(lines[start : start + PIECE])

    sending = threading.Thread(target=send, daemon=True)
    sending.start()
    response = connection.getresponse()
    received = 0
    while part := response.read(1 << 18):  # raises IncompleteRead if the answer is cut off
        received += len(part)
    sending.join()
    if response.status != 200:
        raise RuntimeError(f"the stream got {response.status}")
    return size, received


def measure(megabytes: int, columns: int, score: str) -> str:
    """A table of what a body of that size took."""
    x = made_up(FITTED + BLOCK, columns).round(4)
    names = [f"x{i}" for i in range(columns)]
    with tempfile.TemporaryDirectory(prefix="kilter-") as name:
        folder = Path(name)
        pl.DataFrame(x[:FITTED], schema=names).write_csv(folder / "train.csv")
        fit(folder / "train.csv", score, folder / "models")
        rows = pl.DataFrame(x[FITTED:], schema=names)
        header, _, lines = rows.write_csv().encode().partition(b"\n")
        record = json.dumps(rows.row(0, named=True))
        times = max(1, round(megabytes * 1e6 / len(lines)))
        with serving(folder / "models") as served:
            before = SmallRequests(served, record)
            before.start()
            time.sleep(10)
            before.stopped.set()
            before.join()
            idle = served.megabytes
            send_stream(served, header + b"\n", lines[: len(lines) // 200], 1)
            warm, cpu, began = served.megabytes, served.seconds, time.perf_counter()
            watcher, beside = Watcher(served), SmallRequests(served, record)
            watcher.start()
            beside.start()
            sent, received = send_stream(served, header + b"\n", lines, times)
            seconds, cpu = time.perf_counter() - began, served.seconds - cpu
            for thread in (watcher, beside):
                thread.stopped.set()
                thread.join()
    count = times * BLOCK
    head = ("rows", "MB sent", "MB answered", "s", "rows/s", "CPU s", "idle MB", "after a short stream", "peak MB")
    cells = [f"{count:,}", number(sent / 1e6, 0), number(received / 1e6, 0), number(seconds, 0)]
    cells += [f"{count / seconds:,.0f}", number(cpu, 0), number(idle, 0), number(warm, 0)]
    latency = [["before", *(number(q, 1) for q in before.quantiles())]]
    latency.append(["meanwhile", *(number(q, 1) for q in beside.quantiles())])
    return "\n\n".join(
        [
            f"# A long body: {columns} numbers, {score}",
            described(),
            table(head, [[*cells, number(watcher.peak, 0)]]),
            f"Growth: {watcher.peak - warm:.0f} MB beyond a service that has answered a short stream, "
            f"{watcher.peak - idle:.0f} MB beyond one that has answered single records alone.",
            table(("single records", "median ms", "90 %", "99 %"), latency),
        ]
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=2000, help="[default: 2000]")
    parser.add_argument("--columns", type=int, default=30, help="[default: 30]")
    parser.add_argument("--score", default="elbo", help="[default: elbo]")
    options = parser.parse_args()
    print(measure(options.megabytes, options.columns, options.score))


if __name__ == "__main__":
    main()
