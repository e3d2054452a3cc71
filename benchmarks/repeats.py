"""Does a threshold keep its false-positive rate on new rows where the rows to train on repeat, or come from entities?

Tables of `--rows` distinct rows, of numbers alone or of numbers and categories by turns, of which a share stands in the
table again, once, five or fifty times, exactly or nearly (numbers differ by a thousandth of a deviation), in random
order; `--few` rows that each stand there fifty times more, of which no promise can come; and 200 customers of 50 rows
each, with `--split-by`. Each is fitted and calibrated by Kilter's own path, and the flags are counted among new rows of
the same source, of which none is in the table, or of new customers. With n calibration rows and a threshold at the k-th
largest score, the number of flags is beta-binomial with mean rate k / (n + 1). A promise has no support if n is more
than half of the distinct rows, or customers.

    python -m benchmarks.repeats --splits 50 --out results/repeats
    python -m benchmarks.repeats --data DIR --sets 11_donors 33_skin 4_breastw

Writes `measurements.csv` and `repeats.md`. With `--data` also tables in which rows recur by nature, by halves.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import polars as pl

from benchmarks import ours, sets
from benchmarks.figures import FlagCount, mean_error
from benchmarks.ledger import Ledger
from benchmarks.machine import described
from benchmarks.markdown import number, table, with_error
from benchmarks.pool import spread
from kilter.service.detector.calibration import DIGITS, Calibration
from kilter.service.detector.errors import KilterError
from kilter.service.detector.modalities import modality_of
from kilter.service.formats.reading import to_table
from kilter.training.config import FitConfig, TrainConfig
from kilter.training.data.source import TrainingSource
from kilter.training.data.tables import prepare
from kilter.training.fitting.copies import without_copies
from kilter.training.fitting.entities import find_entities
from kilter.training.fitting.model import fit_unexported, score_rows

KINDS = ("numbers", "mixed")
SHARES = (0.1, 0.5, 0.8)
TIMES = (1, 5, 50)
NEARNESS = {"exact": 0.0, "near": 1e-3}
NATURAL = ("11_donors", "33_skin", "4_breastw")
NEW = 4_000
NUMBERS, FACTORS = 6, 3
LEVELS = np.array(["red", "green", "blue", "black"])
CUSTOMERS, ROWS_EACH, WITHIN = 200, 50, 0.4


class Flags(FlagCount, frozen=True):
    """The flags of one split of one table; no rows where nothing was promised."""

    case: str
    share: float
    """The share of the distinct rows that stand in the table again, so many `times`."""
    times: int
    seed: int
    distinct: int
    """Distinct rows of the table, or customers."""
    rows: int
    noticed: bool
    """Whether the customers were named where they were not split by."""


class Task(NamedTuple):
    """One split of one table."""

    case: str
    share: float
    times: int
    seed: int
    distinct: int
    steps: int
    data: Path | None

    def __str__(self) -> str:
        return f"{self.case}, {self.share:.0%} {self.times} times, split {self.seed}"


def rows_of(kind: str, count: int, rng: np.random.Generator, loadings: np.ndarray) -> pl.DataFrame:
    """New rows, each with factors of its own."""
    return rows_with(kind, rng.normal(size=(count, FACTORS)), rng, loadings)


def rows_with(kind: str, factors: np.ndarray, rng: np.random.Generator, loadings: np.ndarray) -> pl.DataFrame:
    """New rows: numbers that depend on common factors and, where they are mixed, two categories that depend on them."""
    numbers = factors @ loadings + 0.5 * rng.normal(size=(len(factors), NUMBERS))
    columns = {f"x{i}": numbers[:, i] for i in range(NUMBERS)}
    if kind == "mixed":
        shifted = np.digitize(factors + 0.5 * rng.normal(size=factors.shape), [-1, 0, 1])
        columns |= {f"level{i}": LEVELS[shifted[:, i]] for i in range(2)}
    return pl.DataFrame(columns)


def repeated(task: Task, distinct: pl.DataFrame, rng: np.random.Generator) -> pl.DataFrame:
    """A table of distinct rows with the copies of some, in random order."""
    again = distinct[np.repeat(np.arange(round(task.share * task.distinct)), task.times)]
    noise = NEARNESS[task.case.removeprefix("few ")]
    moved = [
        pl.col(f"x{i}") + noise * float(distinct[f"x{i}"].to_numpy().std()) * pl.Series(rng.normal(size=len(again)))
        for i in range(NUMBERS)
    ]
    both = pl.concat([distinct, again.with_columns(moved)])
    return both[rng.permutation(len(both))]


def by_customers(count: int, rows: int, rng: np.random.Generator) -> np.ndarray:
    """The factors of rows of so many customers, one below the other."""
    own = np.repeat(rng.normal(size=(count, FACTORS)), rows, axis=0)
    factors: np.ndarray = np.sqrt(1 - WITHIN**2) * own + WITHIN * rng.normal(size=own.shape)
    return factors


def count(task: Task) -> Flags:
    """Fit to a table with repeats, and count the flags among new rows."""
    if task.data is not None:
        return count_natural(task, task.data)
    rng = np.random.default_rng(task.seed)
    kind, loadings = KINDS[task.seed % len(KINDS)], rng.normal(size=(FACTORS, NUMBERS))
    source, noticed = TrainingSource(), False
    if task.case == "customers":
        frame = rows_with(kind, by_customers(task.distinct, task.times, rng), rng, loadings)
        who = pl.Series("customer", np.repeat([f"c{i}" for i in rng.permutation(task.distinct)], task.times))
        frame = frame.with_columns(who)[rng.permutation(len(frame))]
        found = find_entities(prepare(frame, source), None)
        source, noticed = TrainingSource(split_by="customer"), found is not None and found.column == "customer"
        new = rows_with(kind, by_customers(NEW, 1, rng), rng, loadings)
    else:
        distinct, new = (rows_of(kind, rows, rng, loadings) for rows in (task.distinct, NEW))
        frame = repeated(task, distinct, rng)
    config = TrainConfig(seed=task.seed, device="cpu", fit=FitConfig(steps=task.steps))
    about = (task.case, task.share, task.times, task.seed, task.distinct, len(frame), noticed)
    data = without_copies(prepare(frame, source))
    try:
        fitted = fit_unexported(data, config)
    except KilterError:
        return Flags(0, 0, 0, 0, *about)
    # In torch, since the export takes several times as long as all the rest.
    calibration = Calibration.of(fitted.calibration_scores().round(DIGITS), fitted.split.rate, DIGITS)
    x = np.concatenate([*modality_of(fitted.schema).encode(to_table(fitted.schema, new))])
    flagged = int(calibration.anomalies(score_rows(fitted.module, x)).sum())
    return Flags(calibration.size, calibration.rank, NEW, flagged, *about)


def count_natural(task: Task, folder: Path) -> Flags:
    """Fit to a half of a table's normal rows, and count the flags among the other half."""
    sample = sets.load(folder, task.case, task.seed)
    model = ours.fit(
        sets.frame(sample.train), TrainConfig(seed=task.seed, device="cpu", fit=FitConfig(steps=task.steps))
    )
    scores = model.score(sets.frame(sample.test[~sample.anomalous]))
    scores = scores[~np.isnan(scores)]
    flagged, rows = int(model.calibration.anomalies(scores).sum()), len(sample.train)
    share = 1 - len(np.unique(sample.train, axis=0)) / rows
    size, rank = model.calibration.size, model.calibration.rank
    return Flags(size, rank, len(scores), flagged, task.case, share, 0, task.seed, rows, rows, noticed=False)


def report(flags: Sequence[Flags]) -> str:
    """The figures in Markdown."""
    made = [f for f in flags if f.case not in NATURAL]
    promised = [f for f in made if f.size]
    rows = []
    for case, share, times in dict.fromkeys((f.case, f.share if f.times else 0.0, f.times) for f in flags):
        mine = [f for f in flags if (f.case, f.times) == (case, times) and (f.share == share or not f.times)]
        kept = [f for f in mine if f.size]
        realised = mean_error([f.flagged / f.normal for f in kept])
        expected = float(np.mean([f.expected for f in kept])) if kept else float("nan")
        rows.append(
            [
                case,
                f"{np.mean([f.share for f in mine]):.0%}",
                str(times),
                str(mine[0].rows),
                f"{np.mean([f.size for f in kept]):.0f}" if kept else "none",
                f"{len(kept)} of {len(mine)}",
                number(expected, 4),
                with_error(realised.mean, realised.error, 4),
                f"{np.mean([f.inside for f in kept]):.0%}" if kept else "",
            ]
        )
    head = ("table", "repeated", "times", "rows", "n", "promised", "k / (n + 1)", "realised ± s.e.", "inside 95 %")
    unsupported = sum(2 * f.size > f.distinct for f in promised)
    customers = [f for f in made if f.case == "customers"]
    summary = (
        f"Counts inside their 95 % beta-binomial interval: {np.mean([f.inside for f in promised]):.1%} of "
        f"{len(promised)} promises on tables that were made. Promises without support: {unsupported}. Customers named "
        f"where they were not split by: {sum(f.noticed for f in customers)} of {len(customers)}."
    )
    return "\n\n".join(["# The promise under repetition", described(), summary, table(head, rows)]) + "\n"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=50, help="tables of each kind [default: 50]")
    parser.add_argument("--rows", type=int, default=600, help="distinct rows of a table [default: 600]")
    parser.add_argument("--few", type=int, default=20, help="distinct rows where they are few [default: 20]")
    parser.add_argument("--steps", type=int, default=60, help="steps of a fit [default: 60]")
    parser.add_argument("--data", type=Path, metavar="DIR", help="a folder of npz files, as `promise` takes it")
    parser.add_argument("--sets", nargs="+", default=NATURAL, metavar="NAME", help="tables of it")
    parser.add_argument("--out", type=Path, default=Path("results/repeats"), metavar="FOLDER")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each [default: 1]")
    parser.add_argument("--resume", action="store_true", help="take up an interrupted run in the same folder")
    return parser.parse_args()


def main() -> None:
    """Measure, then sum up."""
    args = arguments()
    ledger = Ledger(args.out / "measurements.csv", Flags, resume=args.resume)
    done = {(f.case, f.times and f.share, f.times, f.seed) for f in ledger.rows}
    cases = [("exact", 0.0, 1, args.rows, None)]
    cases += [(near, share, times, args.rows, None) for near in NEARNESS for share in SHARES for times in TIMES]
    cases += [(f"few {near}", 1.0, TIMES[-1], args.few, None) for near in NEARNESS]
    cases += [("customers", 0.0, ROWS_EACH, CUSTOMERS, None)]
    cases += [(name, 0.0, 0, 0, args.data) for name in args.sets if args.data]
    tasks = [
        Task(case, share, times, seed, distinct, args.steps, data)
        for seed in range(args.splits)  # so that an interrupted run has seen all tables
        for case, share, times, distinct, data in cases
        if (case, share, times, seed) not in done
    ]
    for _, found in spread(count, tasks, args.jobs):
        ledger.add([found])
    order = {case[:3]: place for place, case in enumerate(cases)}
    text = report(sorted(ledger.rows, key=lambda f: order.get((f.case, f.times and f.share, f.times), len(order))))
    (args.out / "repeats.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
