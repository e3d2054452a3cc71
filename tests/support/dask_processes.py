"""A scheduler of Dask and workers, each a process of its own on 127.0.0.1, which may be killed."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]
SECONDS = 60.0
"""Within which everything that is waited for happens."""


@dataclass
class DaskProcesses:
    """They are ended by whoever began them."""

    address: str
    scheduler: "subprocess.Popen[bytes]"
    workers: "list[subprocess.Popen[bytes]]"
    folder: Path

    def start_worker(self, before: Sequence[str] = ()) -> None:
        """One more, by a command that is put before its own."""
        place = self.folder / f"worker-{len(self.workers)}"
        place.mkdir()
        options = ("--nthreads", "1", "--no-nanny", "--no-dashboard", "--local-directory", str(place))
        self.workers.append(_started([*before, *DASK, "worker", self.address, *options], place))


DASK = (sys.executable, "-m", "dask")


@contextmanager
def dask_processes(folder: Path, workers: int = 2) -> Iterator[DaskProcesses]:
    """Begin them on free ports, with their own files in a folder, and end them."""
    folder.mkdir(parents=True, exist_ok=True)
    said = folder / "scheduler.json"
    options = ("--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--no-show", "--scheduler-file", str(said))
    scheduler = _started([*DASK, "scheduler", *options], folder)
    processes = DaskProcesses("", scheduler, [], folder)
    try:
        wait_until(lambda: said.exists() and said.stat().st_size > 0)
        processes.address = msgspec.json.decode(said.read_bytes())["address"]
        for _ in range(workers):
            processes.start_worker()
        yield processes
    finally:
        for process in (*processes.workers, scheduler):
            process.kill()
            process.wait()


def environment() -> dict[str, str]:
    """That of a process that uses this checkout."""
    path = os.pathsep.join([*filter(None, [os.environ.get("PYTHONPATH")]), str(ROOT)])
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}


def _started(command: Sequence[str], folder: Path) -> "subprocess.Popen[bytes]":
    with (folder / "log").open("ab") as log:
        return subprocess.Popen(command, cwd=folder, env=environment(), stdout=log, stderr=log)


@contextmanager
def score_process(*arguments: str | Path, first: str = "") -> Iterator["subprocess.Popen[str]"]:
    """`kilter score` in a process group of its own, which is killed at the end if it is still there.

    `first` is what Python does before that.
    """
    program = f"{first}\nfrom kilter.service.cli import main\nif __name__ == '__main__': main()"
    script = Path(arguments[-1]).parent / "score_process.py"
    script.write_text(program)
    command = [sys.executable, str(script), "score", *map(str, arguments)]
    with subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def living_of_group(group: int) -> list[int]:
    """The processes of a group that have not ended, whether or not anybody has asked how they ended."""
    living = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, own, *_ = place.read_text().rpartition(") ")[2].split()
            living += [int(place.parent.name)] if int(own) == group and state != "Z" else []
    return living


def wait_until(ready: Callable[[], bool]) -> None:
    """Wait until a function says so. Raises TimeoutError."""
    end = time.monotonic() + SECONDS
    while not ready():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(0.02)
