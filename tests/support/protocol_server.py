"""A real server of two models for the clients of the Open Inference Protocol, in a process of its own."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn

from kilter.service.detector import Detector, Schema
from kilter.service.detector.columns import BooleanColumn, NumericColumn
from kilter.service.models.registry import Registry
from kilter.service.monitoring.metrics import Metrics
from kilter.service.settings import Settings
from kilter.service.web.app import create_app
from tests.support.serving import detector

ROOT = Path(__file__).parents[2]
MAX_RECORDS = 5000
METER = Schema(
    columns=(
        *(NumericColumn(f"x{i}", center=float(i), scale=2.0, minimum=-9.0, maximum=9.0) for i in range(4)),
        BooleanColumn("open", true=("true",), false=("false",)),
    ),
    rows=100,
)
"""The columns of the model `meter`: numbers and a flag, so that a matrix holds them."""


def meter() -> Detector:
    """The model `meter`."""
    made = detector("meter", METER)
    made.probes.records[:] = [{"x0": 0.5, "x1": 1.5, "x2": 2.0, "x3": None, "open": True}]
    return made


@contextmanager
def running() -> Iterator[str]:
    """The address, host:port, of a server of the models `shop` and `meter` that runs in another process."""
    command = [sys.executable, "-m", "tests.support.protocol_server"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip()
        finally:
            process.terminate()


def main() -> None:
    """Serve until SIGTERM; the first line of the output is the address."""
    metrics = Metrics()
    registry = Registry(metrics, [detector(), meter()])
    app = create_app(Settings(max_records=MAX_RECORDS), registry, metrics)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        sys.stdout.write(f"127.0.0.1:{listener.getsockname()[1]}\n")
        sys.stdout.flush()
        uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False)).run(sockets=[listener])


if __name__ == "__main__":
    main()
