"""Kilter and those it is compared with: how each is started, asked and read."""

import json
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.servers import NAME, environments
from benchmarks.servers.model import matrix_body, row_body
from benchmarks.servers.process import Process, free_ports
from kilter.service.protection.auth import new_secret, token_line
from kilter.service.routing import Scope

OURS = "kilter"
PEERS = ("bare", "textbook", "litserve", "mlserver")
KILTER = (sys.executable, "-c", "from kilter.service.cli import main; main()")
Records = list[dict[str, float]]


class Contender(NamedTuple):
    """A server that runs, and how it is asked."""

    name: str
    process: Process
    base: str
    ready: str
    """The path that answers 200 once it is ready."""
    path: str
    """Where records are POSTed."""
    token: str | None
    body: Callable[[Records], str]
    scores: Callable[[Any], list[float]]
    """From an answer, decoded, to the scores."""


class Place(NamedTuple):
    """The folders that servers are started from."""

    models: Path
    by_hand: Path
    """The model's parts for servers without Kilter."""
    scratch: Path
    environments: Path


def start(name: str, place: Place) -> Contender:
    """Start a server on free ports of loopback."""
    if name == OURS:
        return kilter(place.models, place.scratch)
    port, *others = free_ports(3)
    python = environments.python(name, place.environments)
    modules = {"bare": "bare", "textbook": "textbook", "litserve": "lit", "mlserver": "mlserver_start"}
    extra = {"textbook": [str(place.models / NAME)], "mlserver": [str(other) for other in others]}.get(name, [])
    command: list[str | Path] = [python, "-m", f"benchmarks.servers.{modules[name]}", place.by_hand, str(port), *extra]
    process = Process(command, place.scratch / f"{name}.log")
    base = f"http://127.0.0.1:{port}"
    ready = {"textbook": "/ready", "litserve": "/health", "mlserver": f"/v2/models/{NAME}/ready"}.get(name, "/")
    path = {"litserve": "/predict", "mlserver": f"/v2/models/{NAME}/infer"}.get(name, "/score")
    if name == "mlserver":
        return Contender(name, process, base, ready, path, None, matrix_body, _first_output)
    return Contender(name, process, base, ready, path, None, row_body, _results)


def kilter(models: Path, scratch: Path, *command: str, **settings: str) -> Contender:
    """`kilter serve` as one would run it: tokens, limits, request ids, metrics, and a log line for every request.

    `command` starts another program in its place.
    """
    secret = new_secret()
    tokens = scratch / "tokens"
    tokens.write_text(token_line("bench", list(Scope), secret))
    (port,) = free_ports(1)
    environment = {
        "KILTER_MODELS": str(models),
        "KILTER_PORT": str(port),
        "KILTER_DEVICE": "cpu",
        "KILTER_TOKENS_FILE": str(tokens),
        "KILTER_LOG_LEVEL": "info",
        **settings,
    }
    process = Process(command or (*KILTER, "serve"), scratch / "kilter.log", environment)
    base = f"http://127.0.0.1:{port}"
    return Contender(OURS, process, base, "/readyz", f"/v1/models/{NAME}/score", secret, row_body, _results)


def _results(answer: Any) -> list[float]:
    return [result["score"] for result in answer["results"]]


def _first_output(answer: Any) -> list[float]:
    return [float(score) for score in answer["outputs"][0]["data"]]


def ask(contender: Contender, sent: Records) -> list[float]:
    """The scores that a server gives. Raises OSError if it gives none."""
    headers = {"Content-Type": "application/json"}
    if contender.token:
        headers["Authorization"] = f"Bearer {contender.token}"
    request = urllib.request.Request(contender.base + contender.path, contender.body(sent).encode(), headers)  # noqa: S310  # loopback
    with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310
        return contender.scores(json.load(answer))
