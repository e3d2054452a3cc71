"""Is the precision that training tells of labelled rows that of new rows of the same source?

Three tables of numbers and categories, with 0.5 % anomalies: in `shifted` some numbers of an anomaly are far off, in
`mixed up` some fields are those of another row, in `rare` its categories hardly ever go together and a number is off.
Each draw trains on a file with labels by Kilter's own path with its defaults, and reads the precision, its interval and
the false-positive rate off the evaluation. Then `--new` rows of the same source, of which as large a share are
anomalies, are judged, and their precision and rate are held against what was told.

    python -m benchmarks.labels --draws 20 --out results/labels

Writes `measurements.csv` and `labels.md`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import polars as pl

from benchmarks.figures import mean_error
from benchmarks.ledger import Ledger
from benchmarks.machine import described
from benchmarks.markdown import number, table
from benchmarks.pool import spread
from benchmarks.repeats import FACTORS, LEVELS, NUMBERS, rows_of
from kilter.service.detector.detector import Judge
from kilter.service.formats.reading import to_table
from kilter.training.config import FitConfig, TrainConfig
from kilter.training.data.source import TrainingSource
from kilter.training.evaluation.evaluate import evaluate_rows
from kilter.training.pipeline import learn

KINDS = ("shifted", "mixed up", "rare")
SHARE = 0.005
LABEL, NORMAL, ODD = "state", "ok", "fault"


class Told(msgspec.Struct, frozen=True):
    """What one training told of its labels, and what new rows say."""

    kind: str
    seed: int
    rows: int
    anomalies: int
    precision: float
    low: float
    high: float
    new_precision: float
    new_flags: int
    enriched: float
    """The precision on the rows that were judged, as they come, without weights."""
    average_precision: float
    ap_low: float
    ap_high: float
    new_average_precision: float
    rate: float
    rate_low: float
    rate_high: float
    new_rate: float

    @property
    def inside(self) -> bool:
        """Whether the precision on new rows lies in the interval that was told."""
        return self.low <= self.new_precision <= self.high


class Task(NamedTuple):
    """One draw of one table."""

    kind: str
    seed: int
    rows: int
    new: int
    steps: int

    def __str__(self) -> str:
        return f"{self.kind}, {self.rows} rows, draw {self.seed}"


def labelled_rows(kind: str, count: int, rng: np.random.Generator, loadings: np.ndarray) -> pl.DataFrame:
    """Rows of a source, each an anomaly with the probability SHARE."""
    frame = rows_of("mixed", count, rng, loadings)
    odd = np.flatnonzero(rng.random(count) < SHARE)
    columns = {name: frame[name].to_numpy().copy() for name in frame.columns}
    numbers = [name for name in columns if name.startswith("x")]
    for row in odd:
        if kind == "shifted":
            for name in rng.choice(numbers, 2, replace=False):
                columns[name][row] += rng.choice([-1, 1]) * rng.uniform(1, 6)
        elif kind == "mixed up":
            other = rng.integers(count)
            for name in rng.choice([*columns], 4, replace=False):
                columns[name][row] = frame[str(name)][int(other)]
        else:
            columns["level0"][row], columns["level1"][row] = rng.permutation(LEVELS)[:2]
            columns[str(rng.choice(numbers))][row] += rng.normal(0, 3)
    state = np.full(count, NORMAL, object)
    state[odd] = ODD
    return pl.DataFrame(columns | {LABEL: state.astype(str)})


def told(task: Task) -> Told:
    """Train, read what is told, and judge new rows."""
    rng = np.random.default_rng([KINDS.index(task.kind), task.rows, task.seed])
    loadings = rng.normal(size=(FACTORS, NUMBERS))
    frame, new = (labelled_rows(task.kind, rows, rng, loadings) for rows in (task.rows, task.new))
    config = TrainConfig(seed=task.seed, device="cpu", baselines=False, fit=FitConfig(steps=task.steps))
    trained = learn(TrainingSource(frame=frame, label=LABEL, normal=NORMAL), config)
    evaluation = trained.run.evaluation
    judge = Judge(trained.fitted.scorer, trained.calibrated.thresholds)
    found = evaluate_rows(judge, to_table(trained.fitted.schema, new), (new[LABEL] == ODD).to_numpy(), seed=0)
    own, other = evaluation.labelled, found.labelled
    if own is None or other is None:
        raise ValueError(f"{task}: no row is labelled as an anomaly, so bring more --rows")
    judged = evaluation.false_positive_rate
    return Told(
        kind=task.kind,
        seed=task.seed,
        rows=task.rows,
        anomalies=own.counts.tp + own.counts.fn,
        precision=known(own.precision.value),
        low=known(own.precision.low),
        high=known(own.precision.high),
        new_precision=known(other.precision.value),
        new_flags=other.counts.tp + other.counts.fp,
        enriched=own.counts.tp / max(1, own.counts.tp + own.counts.fp),
        average_precision=known(own.average_precision.value),
        ap_low=known(own.average_precision.low),
        ap_high=known(own.average_precision.high),
        new_average_precision=known(other.average_precision.value),
        rate=known(judged.value),
        rate_low=known(judged.low),
        rate_high=known(judged.high),
        new_rate=known(found.false_positive_rate.value),
    )


def known(value: float | None) -> float:
    """A figure; NaN where it is not defined."""
    return float("nan") if value is None else value


def report(draws: Sequence[Told]) -> str:
    """The figures in Markdown."""
    rows = []
    for kind, size in dict.fromkeys((d.kind, d.rows) for d in draws):
        mine = [d for d in draws if (d.kind, d.rows) == (kind, size)]
        rows.append(
            [
                kind,
                f"{size:,}",
                str(len(mine)),
                number(float(np.mean([d.anomalies for d in mine])), 0),
                *(number(mean_error([getattr(d, name) for d in mine]).mean) for name in FIGURES),
                f"{np.mean([d.inside for d in mine]):.0%}",
                f"{np.mean([d.ap_low <= d.new_average_precision <= d.ap_high for d in mine]):.0%}",
                f"{np.mean([d.rate_low <= d.new_rate <= d.rate_high for d in mine]):.0%}",
            ]
        )
    head = (
        "table", "rows", "draws", "anomalies", "precision told", "from", "to", "on new rows", "without weights",
        "new precision inside", "new average precision inside", "new false-positive rate inside",
    )  # fmt: skip
    inside = float(np.mean([d.inside for d in draws]))
    summary = f"The precision on new rows lies in the interval that was told: {inside:.1%} of {len(draws)} draws."
    return "\n\n".join(["# Figures at the true rate", described(), summary, table(head, rows)]) + "\n"


FIGURES = ("precision", "low", "high", "new_precision", "enriched")


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=20, help="files of each table [default: 20]")
    parser.add_argument("--rows", type=int, nargs="+", default=[6_000, 16_000], help="[default: 6000 16000]")
    parser.add_argument("--new", type=int, default=100_000, help="new rows of each draw [default: 100000]")
    parser.add_argument("--steps", type=int, default=900, help="steps of each fit [default: 900]")
    parser.add_argument("--out", type=Path, default=Path("results/labels"), metavar="FOLDER")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each [default: 1]")
    parser.add_argument("--resume", action="store_true", help="take up an interrupted run in the same folder")
    return parser.parse_args()


def main() -> None:
    """Measure, then sum up."""
    args = arguments()
    ledger = Ledger(args.out / "measurements.csv", Told, resume=args.resume)
    done = {(d.kind, d.seed, d.rows) for d in ledger.rows}
    tasks = [
        Task(kind, seed, rows, args.new, args.steps)
        for seed in range(args.draws)  # so that an interrupted run has seen all tables
        for kind in KINDS
        for rows in args.rows
        if (kind, seed, rows) not in done
    ]
    for _, draw in spread(told, tasks, args.jobs):
        ledger.add([draw])
    text = report(sorted(ledger.rows, key=lambda d: (KINDS.index(d.kind), d.rows)))
    (args.out / "labels.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
