"""How many requests does one worker answer, next to a bare server and to what people serve models with?

Every server is started on loopback with one worker, and serves the same model of 30 numeric fields: `kilter serve` with
tokens, limits, request ids, metrics and a log line for every request; a bare ASGI application on uvicorn with orjson
and the same program under ONNX Runtime; the textbook FastAPI with pydantic and eager torch; LitServe; and MLServer in
its in-process mode. All must give the same scores. `wrk` loads one after the other, in rounds, while the others are
held still; a ratio is between two servers in the same round, and its median over rounds counts.

    python -m benchmarks.serving --rounds 7 --seconds 5
    python -m benchmarks.serving --peers bare --rounds 3 --seconds 2
    python -m benchmarks.serving --overload
    python -m benchmarks.serving --soak 30
    python -m benchmarks.serving --start

Needs wrk (apt-get install wrk). Peers get environments of their own under --cache, where the model is kept as well.
Writes what it prints to `<out>/serving.md` and so on, and each measurement to `<out>/requests.csv` as it is made.
"""

import argparse
import itertools
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec
import numpy as np

from benchmarks.ledger import Ledger
from benchmarks.load import Request, load, write
from benchmarks.machine import described
from benchmarks.markdown import number, table
from benchmarks.overload import overload
from benchmarks.servers import NAME
from benchmarks.servers.contenders import OURS, PEERS, Contender, Place, ask, start
from benchmarks.servers.model import by_hand, expected, prepared, records
from benchmarks.soak import soak
from benchmarks.startup import startup
from kilter.service.detector import load as load_model
from kilter.service.detector.scores import score_names

CASES = ((1, 1), (1, 16), (1, 64), (100, 1), (100, 16))
"""Records in a request, and connections."""
SECONDS = 5
BODIES = 64
"""Different bodies that a load sends in turn."""


class Measured(msgspec.Struct, frozen=True):
    """One load on one server."""

    round: int
    server: str
    records: int
    connections: int
    per_second: float
    cpu_us: float
    """CPU time of the server per request."""
    median_ms: float
    p99_ms: float
    wrong: int
    """Requests that got no answer with 200."""


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="[default: all]")
    parser.add_argument("--rounds", type=int, default=7, help="[default: 7]")
    parser.add_argument("--seconds", type=int, help="of each load [default: 5; 20 for --overload]")
    parser.add_argument("--score", choices=score_names(), default="elbo", help="of the model [default: elbo]")
    parser.add_argument("--cache", type=Path, default=Path("results/serving-cache"), metavar="FOLDER")
    parser.add_argument("--out", type=Path, default=Path("results/serving"), metavar="FOLDER")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--overload", action="store_true", help="512 connections on a model slowed to 50 ms, instead")
    other.add_argument("--soak", type=int, nargs="?", const=30, metavar="MINUTES", help="mixed load, instead [30]")
    other.add_argument("--start", action="store_true", help="time and memory until ready, instead")
    return parser.parse_args()


def compare(args: argparse.Namespace, models: Path, scratch: Path) -> str:
    """Load every server in rounds, and sum up."""
    ledger = Ledger(args.out / "requests.csv", Measured, resume=False)
    place = Place(models, by_hand(args.cache, args.score), scratch, args.cache)
    with ExitStack() as running:
        servers = []
        for name in (OURS, *args.peers):
            servers.append(start(name, place))
            running.enter_context(servers[-1].process)
        for server in servers:
            server.process.wait_for(server.base + server.ready)
        check(servers, models)
        for server in servers:
            server.process.hold()
        for turn, (size, connections) in itertools.product(range(args.rounds), CASES):
            # Each round begins with another server, so that no one always follows the same one.
            for server in servers[turn % len(servers) :] + servers[: turn % len(servers)]:
                ledger.add([measure(server, turn, size, connections, args.seconds or SECONDS, scratch)])
    return report(ledger.rows, args.peers, args)


def check(servers: Sequence[Contender], models: Path) -> None:
    """Raise RuntimeError unless every server gives the scores of the model, within the tolerance of its manifest."""
    sent = records(100)
    detector = load_model(models / NAME)
    right = np.array(expected(detector, sent))
    for server in servers:
        off = np.abs(np.array(ask(server, sent)) - right) / np.maximum(1, np.abs(right))
        if off.max() > detector.manifest.score.tolerance:
            worst = int(off.argmax())
            raise RuntimeError(f"{server.name} scores record {worst} {off[worst]:.3g} off {right[worst]:.6f}")


def measure(server: Contender, turn: int, size: int, connections: int, seconds: int, scratch: Path) -> Measured:
    """Load one server while the others stand still."""
    bodies = scratch / f"{server.name}-{size}.txt"
    if not bodies.exists():
        sent = records(size * BODIES)
        write(bodies, (Request(server.path, server.body(sent[i : i + size])) for i in range(0, len(sent), size)))
    server.process.go_on()
    try:
        load(server.base, bodies, connections, 1, server.token)  # to wake it up
        before = server.process.cpu_seconds()
        found = load(server.base, bodies, connections, seconds, server.token)
        cpu_us = 1e6 * (server.process.cpu_seconds() - before) / max(found.requests, 1)
    finally:
        server.process.hold()
    wrong = found.not_2xx + found.broken + found.timeouts
    case = Measured(
        turn, server.name, size, connections, found.per_second, cpu_us, found.median_ms, found.p99_ms, wrong
    )
    print(
        f"round {turn + 1}: {case.server:9} {size:4} records, {connections:3} connections: "
        f"{case.per_second:9,.1f} requests/s, {case.cpu_us:7,.0f} µs of CPU each, "
        f"p99 {case.p99_ms:.2f} ms{f', {wrong} WRONG' if wrong else ''}",
        flush=True,
    )
    return case


def report(rows: Sequence[Measured], peers: Sequence[str], args: argparse.Namespace) -> str:
    """Medians of requests per second, of Kilter's ratio to each peer in the same round, and of CPU time a request."""
    found = {(row.round, row.server, row.records, row.connections): row for row in rows}
    rounds = sorted({row.round for row in rows})
    lines, ratios, costs = [], [], []
    for size, connections in CASES:
        case = f"{size} record{'s' if size > 1 else ''}, {connections} connection{'s' if connections > 1 else ''}"
        speeds = {
            name: np.array([found[turn, name, size, connections].per_second for turn in rounds])
            for name in (OURS, *peers)
        }
        lines.append([case, *(number(float(np.median(speed)), 0) for speed in speeds.values())])
        cpu = (np.median([found[turn, name, size, connections].cpu_us for turn in rounds]) for name in speeds)
        costs.append([case, *(number(float(one), 0) for one in cpu)])
        ratios.append([case, *(_ratio(speeds[OURS] / speeds[peer]) for peer in peers)])
    wrong = [f"{row.server}: {row.wrong} in round {row.round + 1}" for row in rows if row.wrong]
    parts = [
        "# Serving",
        f"One worker each, 30 numeric fields, {args.rounds} rounds of {args.seconds or SECONDS} s; all gave the same "
        "scores.",
        "## Requests per second, median",
        table(("", OURS, *peers), lines),
    ]
    if peers:
        head = ("", *(f"kilter / {peer}" for peer in peers))
        parts += ["## Ratios in the same round, median (lowest to highest)", table(head, ratios)]
    parts += ["## CPU microseconds of the server per request, median", table(("", OURS, *peers), costs)]
    parts.append(f"Answers other than 200: {'; '.join(wrong) or 'none'}.")
    return "\n\n".join(parts)


def _ratio(ratios: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> str:
    return f"{np.median(ratios):.2f} ({ratios.min():.2f} to {ratios.max():.2f})"


def main() -> None:
    """Measure, print and write."""
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    models = prepared(args.cache.resolve(), args.score)
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        if args.overload:
            name, text = "overload", overload(models, scratch, args.seconds or 20)
        elif args.soak:
            name, text = "soak", soak(models, scratch, args.soak)
        elif args.start:
            name, text = "start", startup(models, scratch, args.rounds)
        else:
            name, text = "serving", compare(args, models, scratch)
    text = f"{text}\n\n{described()}; score `{args.score}`.\n"
    (args.out / f"{name}.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
