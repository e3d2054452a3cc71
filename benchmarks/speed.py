"""How fast does a model score in the serving runtime, on one core?

A table of 30 correlated columns is made up, large enough that everything a model can hold is full, and fitted by
Kilter's own path with its defaults. Measured in CPU microseconds: encoded rows to scores, in batches of 1,024 and one
row alone; and the whole way from one record, a dict, to its verdict.

    python -m benchmarks.speed --columns 30 --rows 20000

Prints a table in Markdown.
"""

import argparse
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import ours
from benchmarks.clock import Speed, speed, timed
from benchmarks.figures import Floats
from benchmarks.machine import described
from benchmarks.markdown import number, table
from benchmarks.pool import spread
from training.config import read_config

RECORDS = 200


class Task(NamedTuple):
    """A table's size, and the settings if they are not the defaults."""

    rows: int
    columns: int
    config: Path | None


class Found(NamedTuple):
    """What was measured."""

    fit_cpu_s: float
    runtime: Speed
    record_us: float
    """Median of one record, from a dict to its verdict."""


def made_up(rows: int, columns: int) -> Floats:
    """Rows whose columns follow a few hidden causes, bent and noisy."""
    rng = np.random.default_rng(0)
    causes = rng.normal(size=(rows, 6)) @ rng.normal(size=(6, columns))
    return np.asarray(np.tanh(causes) + 0.5 * causes + 0.1 * rng.normal(size=(rows, columns)), np.float64)


def measure(task: Task) -> Found:
    """Fit, then score."""
    ours.warm_up()
    x = made_up(task.rows, task.columns)
    model = ours.fit(x, read_config(task.config, device="cpu"))
    records = [{f"x{i}": float(value) for i, value in enumerate(row)} for row in x[:RECORDS]]

    def judge(record: dict[str, float]) -> None:
        model.calibration.anomalies(model.scorer.score([record]).score)

    seconds = [timed(partial(judge, record))[1] for record in records]
    return Found(model.fit_cpu_s, speed(model.runtime(), model.encoded(x[:1024])), 1e6 * float(np.median(seconds[10:])))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000, help="[default: 20000]")
    parser.add_argument("--columns", type=int, nargs="+", default=[30], help="[default: 30]")
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="settings for Kilter other than its defaults")
    args = parser.parse_args()
    found = dict(spread(measure, [Task(args.rows, columns, args.config) for columns in args.columns], 1))
    rows = [
        [
            f"{task.columns}",
            number(f.fit_cpu_s, 1),
            number(f.runtime.batch_us, 2),
            number(f.runtime.record_us, 1),
            number(f.record_us, 0),
        ]
        for task, f in found.items()
    ]
    head = ("columns", "CPU s to fit", "µs/row of 1,024", "µs for one", "µs from a dict to its verdict")
    print("\n\n".join([f"# Speed, {args.rows:,} rows fitted", described(), table(head, rows)]))


if __name__ == "__main__":
    main()
