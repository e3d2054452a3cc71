"""What does it cost to watch every field for drift, missing values and new levels?

CPU time of what the service counts per field, against that of the verdicts alone: the reading of a request is left out,
so that its real share of the throughput is smaller. A model of 30 numeric fields judges batches of one, a hundred and a
thousand records.

    python -m benchmarks.drift_cost

Prints a table in Markdown.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.clock import timed
from benchmarks.machine import described
from benchmarks.markdown import number, table
from benchmarks.servers import NAME
from benchmarks.servers.model import FIELDS, prepared, records
from service.detector import Detector, load
from service.detector.inputs import Table
from service.detector.reference import first_features
from service.drift import FieldTally

SIZES = (1, 100, 1000)
RECORDS = 20_000
"""Judged in each round, so that what is counted only now and then is counted often enough."""
ROUNDS = 7


class Cost(NamedTuple):
    """CPU microseconds per record."""

    verdict: float
    fields: float


def measure(detector: Detector, size: int, count: int = RECORDS) -> Cost:
    """The medians over rounds, in batches of `size` records."""
    given = detector.table(records(size))
    features = detector.score(given).features
    batches = max(1, count // size)
    pairs = [(_verdicts(detector, given, batches), _fields(detector, features, batches)) for _ in range(ROUNDS)]
    verdict, fields = 1e6 * np.median(pairs, axis=0) / (batches * size)
    return Cost(float(verdict), float(fields))


def _verdicts(detector: Detector, given: Table, batches: int) -> float:
    """CPU seconds."""

    def work() -> None:
        for _ in range(batches):
            detector.score(given)

    return timed(work)[1]


def _fields(detector: Detector, features: np.ndarray[tuple[int, ...], np.dtype[np.float32]], batches: int) -> float:
    """CPU seconds, a look of Prometheus included."""
    tally = FieldTally(detector.reference, list(first_features(detector.schema)))

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
    args = parser.parse_args()
    detector = load(prepared(args.cache, args.score) / NAME, device="cpu")
    found = map(partial(measure, detector), SIZES)
    rows = [
        [
            f"{size:,}",
            number(cost.verdict, 2),
            number(cost.fields, 2),
            f"{cost.fields / (cost.verdict + cost.fields):.2%}",
        ]
        for size, cost in zip(SIZES, found, strict=True)
    ]
    head = ("records in a batch", "µs to a verdict", "µs to count its fields", "share")
    title = f"# Drift of {FIELDS} fields, score {args.score}"
    print("\n\n".join([title, described(), table(head, rows)]))


if __name__ == "__main__":
    main()
