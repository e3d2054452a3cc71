"""A server as processes of its own: started, waited for, held still while others are measured, weighed, and stopped."""

import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

ROOT = Path(__file__).parents[2]
READY_SECONDS = 90.0
STOP_SECONDS = 10.0


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens on."""
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [one.getsockname()[1] for one in held]
    finally:
        for one in held:
            one.close()


class Process:
    """A server in a process group of its own; a context manager that stops it."""

    def __init__(self, command: Sequence[str | Path], log: Path, environment: dict[str, str] | None = None) -> None:
        threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        self._log = log
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [str(part) for part in command],
                cwd=ROOT,
                env={**_without_settings(), **threads, "PYTHONPATH": str(ROOT), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                start_new_session=True,
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait_for(self, url: str) -> float:
        """Wait until a URL answers 200, and return the seconds that it took. Raises RuntimeError with the log's end."""
        began = time.perf_counter()
        while time.perf_counter() - began < READY_SECONDS:
            if self._process.poll() is not None:
                break
            try:
                with urllib.request.urlopen(url, timeout=1) as answer:  # noqa: S310  # loopback
                    if answer.status == 200:
                        return time.perf_counter() - began
            except (urllib.error.URLError, OSError):
                time.sleep(0.01)
        raise RuntimeError(f"{url} did not answer; its log ends:\n{self._log.read_text(errors='replace')[-2000:]}")

    def hold(self) -> None:
        """Stop it from running, so that it takes nothing from the others."""
        os.killpg(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it run again."""
        os.killpg(self.pid, signal.SIGCONT)

    def resident_mb(self) -> float:
        """Memory that its processes hold together, in MB."""
        return sum(map(_resident, _family(self.pid))) / 1e6

    def cpu_seconds(self) -> float:
        """CPU time that its processes have taken so far."""
        return sum(map(_cpu, _family(self.pid)))

    def stop(self) -> int:
        """End it and return its exit status."""
        self.go_on_quietly()
        self._process.terminate()
        try:
            status = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            status = -signal.SIGKILL
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return status
        self._process.wait()
        return status

    def go_on_quietly(self) -> None:
        """Let it run again, if it is still there."""
        try:
            self.go_on()
        except ProcessLookupError:
            return


def _without_settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("KILTER_")}


def _family(pid: int) -> Iterable[int]:
    """A process and what it started."""
    yield pid
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return
    for child in children:
        yield from _family(int(child))


def _cpu(pid: int) -> float:
    """User and system time of a process, the fields 14 and 15 of proc(5)'s stat."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
