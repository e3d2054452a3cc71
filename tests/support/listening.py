"""Applications behind a real server, and schemathesis against them."""

import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import uvicorn
from starlette.types import ASGIApp

ROOT = Path(__file__).parents[2]


@contextmanager
def listening(app: ASGIApp) -> Iterator[str]:
    """The address at which uvicorn serves an application, on a free port, for as long as it is used."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def run_schemathesis(url: str, folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run all checks of schemathesis in a folder, with examples that are the same every time."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "SCHEMATHESIS_HOOKS": "tests.support.schemathesis_hooks"}
    config = str(ROOT / "tests" / "support" / "schemathesis.toml")
    checks = ["--checks", "all", "--mode", "all", "--max-examples", "15", "--seed", "1", "--no-color"]
    command = [sys.executable, "-m", "schemathesis.cli", "--config-file", config, "run", f"{url}/openapi.json"]
    return subprocess.run(
        [*command, *checks, *options],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
