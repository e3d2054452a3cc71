"""What does it cost to watch every field for drift, missing values and new levels?

CPU time of what the service counts per field, against that of whole requests: from a JSON body to the answer's, by the
application itself, without the HTTP parser and the network. A model of 30 numeric fields; requests of one, a hundred
and a thousand records, one after another.

    python -m benchmarks.drift_cost

Prints a table in Markdown.
"""

import argparse
import asyncio
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from starlette.types import ASGIApp, Message

from benchmarks.clock import timed
from benchmarks.machine import described
from benchmarks.markdown import number, table
from benchmarks.servers import NAME
from benchmarks.servers.model import FIELDS, prepared, records, row_body
from kilter.service.detector import Detector, load
from kilter.service.models.registry import Registry
from kilter.service.monitoring.drift import FieldTally
from kilter.service.monitoring.metrics import Metrics
from kilter.service.settings import Settings
from kilter.service.web.app import create_app

SIZES = (1, 100, 1000)
ROUNDS = 5


class Cost(NamedTuple):
    """CPU microseconds per record."""

    request: float
    """All of it, the counting included."""
    fields: float


def measure(detector: Detector, size: int, count: int) -> Cost:
    """The medians over rounds, in requests of `size` records."""
    sent = records(size)
    body = row_body(sent).encode()
    features = detector.score(sent).features
    metrics = Metrics()
    app = create_app(Settings(), Registry(metrics, [detector]), metrics)
    requests = max(1, count // size)
    # The first ones only warm up.
    asyncio.run(_requests(app, detector.name, body, max(1, requests // 10)))
    seconds = [
        (
            timed(lambda: asyncio.run(_requests(app, detector.name, body, requests)))[1],
            _fields(detector, features, requests),
        )
        for _ in range(ROUNDS)
    ]
    request, fields = 1e6 * np.median(seconds, axis=0) / (requests * size)
    return Cost(float(request), float(fields))


async def _requests(app: ASGIApp, name: str, body: bytes, count: int) -> None:
    """Ask for verdicts, one request after another. Raises RuntimeError for an answer that is none."""
    path = f"/v1/models/{name}/score"
    told: list[int] = []
    sent: list[bytes] = []

    async def receive() -> Message:
        if sent:
            await asyncio.get_running_loop().create_future()  # nobody leaves
        sent.append(body)
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            told.append(message["status"])

    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    for _ in range(count):
        sent.clear()
        scope = {
            "type": "http",
            "asgi": {"version": "3.0"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "root_path": "",
            "query_string": b"",
            "headers": headers,
            "client": ("127.0.0.1", 1),
            "server": ("127.0.0.1", 8000),
        }
        await app(scope, receive, send)
    if told != [200] * count:
        raise RuntimeError(f"of {count} requests {told.count(200)} were answered with 200")


def _fields(detector: Detector, features: npt.NDArray[np.float32], batches: int) -> float:
    """CPU seconds to count batches field by field, a look of Prometheus included."""
    tally = FieldTally(detector.reference, detector.modality.watched)

    def work() -> None:
        for _ in range(batches):
            tally.add(features)
        tally.settle()
        tally.drift()

    return timed(work)[1]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cache", type=Path, default=Path("results/serving-cache"), metavar="FOLDER", help="of the model"
    )
    parser.add_argument("--score", choices=("neighbours", "elbo", "reconstruction"), default="neighbours")
    parser.add_argument("--records", type=int, default=20_000, help="in each round  [default: 20000]")
    args = parser.parse_args()
    detector = load(prepared(args.cache, args.score) / NAME, device="cpu")
    rows = []
    for size in SIZES:
        cost = measure(detector, size, args.records)
        share = f"{cost.fields / cost.request:.2%}"
        rows.append([f"{size:,}", number(cost.request, 2), number(cost.fields, 2), share])
    head = ("records in a request", "µs of CPU a record", "of it to count its fields", "share")
    print("\n\n".join([f"# Drift of {FIELDS} fields, score {args.score}", described(), table(head, rows)]))


if __name__ == "__main__":
    main()
