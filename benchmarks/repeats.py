"""Does a threshold keep its false-positive rate on new rows where the rows to train on repeat each other?

Tables of `--rows` distinct rows, of numbers alone or of numbers and categories, of which a share stands in the table
again, once, five or fifty times, in random order. Each is fitted and calibrated by Kilter's own path with its defaults,
and the flags are counted among new rows of the same source, of which none is in the table. With n distinct calibration
rows and a threshold at the k-th largest score, the number of flags is beta-binomial with mean rate k / (n + 1).

    python -m benchmarks.repeats --splits 50 --out results/repeats

Writes `measurements.csv` and `repeats.md`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from benchmarks.figures import FlagCount, mean_error
from benchmarks.ledger import Ledger
from benchmarks.machine import described
from benchmarks.markdown import number, table, with_error
from benchmarks.pool import spread
from kilter.service.formats.reading import to_table
from kilter.training.config import TrainConfig
from kilter.training.data.source import TrainingSource
from kilter.training.data.tables import prepare
from kilter.training.evaluation.thresholds import thresholds_of_fit
from kilter.training.fitting.model import fit_model

KINDS = ("numbers", "mixed")
SHARES = (0.1, 0.5, 0.8)
TIMES = (1, 5, 50)
NEW = 4_000
NUMBERS, FACTORS = 6, 3
LEVELS = np.array(["red", "green", "blue", "black"])


class Flags(FlagCount, frozen=True):
    """The flags of one split of one table."""

    kind: str
    share: float
    """The share of the distinct rows that stand in the table again, so many `times`."""
    times: int
    seed: int
    rows: int


class Task(NamedTuple):
    """One split of one table."""

    kind: str
    share: float
    times: int
    seed: int
    rows: int

    def __str__(self) -> str:
        return f"{self.kind}, {self.share:.0%} {self.times} times, split {self.seed}"


def rows_of(kind: str, count: int, rng: np.random.Generator, loadings: np.ndarray) -> pl.DataFrame:
    """New rows: numbers that depend on common factors and, where they are mixed, two categories that depend on them."""
    factors = rng.normal(size=(count, FACTORS))
    numbers = factors @ loadings + 0.5 * rng.normal(size=(count, NUMBERS))
    columns = {f"x{i}": numbers[:, i] for i in range(NUMBERS)}
    if kind == "mixed":
        shifted = np.digitize(factors + 0.5 * rng.normal(size=factors.shape), [-1, 0, 1])
        columns |= {f"level{i}": LEVELS[shifted[:, i]] for i in range(2)}
    return pl.DataFrame(columns)


def count(task: Task) -> Flags:
    """Fit to a table with repeats, and count the flags among new rows."""
    rng = np.random.default_rng([KINDS.index(task.kind), task.seed])
    loadings = rng.normal(size=(FACTORS, NUMBERS))
    distinct, new = (rows_of(task.kind, rows, rng, loadings) for rows in (task.rows, NEW))
    again = np.repeat(np.arange(round(task.share * task.rows)), task.times)
    data = prepare(distinct[rng.permutation(np.concatenate([np.arange(task.rows), again]))], TrainingSource())
    config = TrainConfig(seed=task.seed, device="cpu")
    fitted = fit_model(data, config)
    calibration = thresholds_of_fit(data, config, fitted).thresholds.common
    scores = fitted.scorer.score(to_table(fitted.schema, new), errors="mark").score
    scores = scores[~np.isnan(scores)]
    flagged = int(calibration.anomalies(scores).sum())
    return Flags(calibration.size, calibration.rank, len(scores), flagged, *task[:4], data.table.rows)


def report(flags: Sequence[Flags]) -> str:
    """The figures in Markdown."""
    rows = []
    for kind, share, times in dict.fromkeys((f.kind, f.share, f.times) for f in flags):
        mine = [f for f in flags if (f.kind, f.share, f.times) == (kind, share, times)]
        realised = mean_error([f.flagged / f.normal for f in mine])
        rows.append(
            [
                kind,
                f"{share:.0%}",
                str(times),
                str(mine[0].rows),
                str(mine[0].size),
                str(len(mine)),
                number(mine[0].expected, 4),
                with_error(realised.mean, realised.error, 4),
                f"{np.mean([f.inside for f in mine]):.0%}",
            ]
        )
    head = ("table", "repeated", "times", "rows", "n", "splits", "k / (n + 1)", "realised ± s.e.", "inside 95 %")
    inside = float(np.mean([f.inside for f in flags]))
    summary = f"Counts inside their 95 % beta-binomial interval: {inside:.1%} of {len(flags)} runs."
    return "\n\n".join(["# The promise under repetition", described(), summary, table(head, rows)]) + "\n"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=50, help="tables of each kind [default: 50]")
    parser.add_argument("--rows", type=int, default=1_000, help="distinct rows of a table [default: 1000]")
    parser.add_argument("--out", type=Path, default=Path("results/repeats"), metavar="FOLDER")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each [default: 1]")
    parser.add_argument("--resume", action="store_true", help="take up an interrupted run in the same folder")
    return parser.parse_args()


def main() -> None:
    """Measure, then sum up."""
    args = arguments()
    ledger = Ledger(args.out / "measurements.csv", Flags, resume=args.resume)
    done = {(f.kind, f.share, f.times, f.seed) for f in ledger.rows}
    cases = [(0.0, 0), *((share, times) for share in SHARES for times in TIMES)]
    tasks = [
        Task(kind, share, times, seed, args.rows)
        for seed in range(args.splits)  # so that an interrupted run has seen all tables
        for kind in KINDS
        for share, times in cases
        if (kind, share, times, seed) not in done
    ]
    for _, found in spread(count, tasks, args.jobs):
        ledger.add([found])
    text = report(sorted(ledger.rows, key=lambda f: (f.kind, f.share, f.times)))
    (args.out / "repeats.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
