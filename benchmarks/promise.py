"""Does a threshold keep the false-positive rate that it was set for, on normal rows that nothing has touched?

For every set that supports the rate: many random halves of its normal rows, each fitted and calibrated by Kilter's own
path with its defaults, and the flags counted among the other half. With n calibration rows and a threshold at the k-th
largest score, the number of flags is beta-binomial with mean rate k / (n + 1). One fit serves every rate: it is
calibrated for the lowest that the set supports, and its calibration scores then for the others.

On the same scores, test anomalies included: the false-discovery proportion of Benjamini and Hochberg's procedure on
the p-values. Under 1 / (n + 1) no p-value can go, so that small sets often discover nothing, which counts as 0.

    python -m benchmarks.promise --data DIR --splits 20 --rates 0.01 0.05 --out results/promise

Writes `measurements.csv` and `promise.md`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks import ours
from benchmarks.figures import FlagCount, Floats, false_discovery_proportion, mean_error
from benchmarks.ledger import Ledger
from benchmarks.machine import described
from benchmarks.markdown import number, table, with_error
from benchmarks.pool import spread
from benchmarks.sets import Sample, frame, load, names
from kilter.service.detector.calibration import Calibration
from kilter.training.config import TrainConfig
from kilter.training.fitting.split import rows_needed


class Count(FlagCount, frozen=True):
    """The flags of one split of one set at one rate."""

    table: str
    seed: int
    rate: float
    discoveries: int
    """Test rows that Benjamini and Hochberg's procedure picks, and the share of normal ones among them."""
    false_share: float


class Task(NamedTuple):
    """One split of one set, at every rate that the set supports, ascending."""

    folder: Path
    table: str
    seed: int
    rates: tuple[float, ...]
    fdr: float

    def __str__(self) -> str:
        return f"{self.table}, split {self.seed}"


def count(task: Task) -> list[Count]:
    """Fit once, and count at each rate."""
    sample = load(task.folder, task.table, task.seed)
    config = TrainConfig(target_fpr=task.rates[0], seed=task.seed, device="cpu")
    model = ours.fit(frame(sample.train), config)
    scores = model.score(frame(sample.test))
    calibrations = [Calibration.of(model.calibration.scores, rate, model.calibration.digits) for rate in task.rates]
    return [_counted(task, sample, calibration, scores) for calibration in calibrations]


def _counted(task: Task, sample: Sample, calibration: Calibration, scores: Floats) -> Count:
    read = ~np.isnan(scores)
    share, found = false_discovery_proportion(calibration.p_values(scores[read]), sample.anomalous[read], task.fdr)
    normal = read & ~sample.anomalous
    return Count(
        size=calibration.size,
        rank=calibration.rank,
        normal=int(normal.sum()),
        flagged=int(calibration.anomalies(scores[normal]).sum()),
        table=task.table,
        seed=task.seed,
        rate=calibration.target_fpr,
        discoveries=found,
        false_share=share,
    )


def report(counts: Sequence[Count], fdr: float) -> str:
    """The figures in Markdown, rate by rate."""
    parts = ["# The promise of a threshold", described()]
    for rate in sorted({c.rate for c in counts}):
        parts += _rate([c for c in counts if c.rate == rate], rate)
    lowest = {(c.table, c.seed): c for c in sorted(counts, key=lambda c: -c.rate)}
    shares = [[c.false_share for c in lowest.values() if c.table == name] for name in {t for t, _ in lowest}]
    found = mean_error([float(np.mean(values)) for values in shares])
    some = float(np.mean([c.discoveries > 0 for c in lowest.values()]))
    parts += [
        f"## False discoveries at {fdr:g}",
        f"False-discovery proportion {with_error(found.mean, found.error)} (standard error over {len(shares)} sets); "
        f"{some:.0%} of the runs discover anything.",
    ]
    return "\n\n".join(parts) + "\n"


def _rate(counts: Sequence[Count], rate: float) -> list[str]:
    tables = list(dict.fromkeys(c.table for c in counts))
    rows = []
    for name in tables:
        mine = [c for c in counts if c.table == name]
        realised = mean_error([c.flagged / c.normal for c in mine])
        rows.append(
            [
                name,
                str(len(mine)),
                str(mine[0].size),
                number(mine[0].expected, 4),
                with_error(realised.mean, realised.error, 4),
                f"{np.mean([c.inside for c in mine]):.0%}",
                number(mean_error([c.false_share for c in mine]).mean),
            ]
        )
    relative = mean_error([_relative([c for c in counts if c.table == name]) for name in tables])
    head = ("set", "splits", "n", "k / (n + 1)", "realised ± s.e.", "inside 95 %", "false discoveries")
    return [
        f"## Target {rate:g}",
        f"Realised rate over k / (n + 1): {with_error(relative.mean, relative.error)}, mean over {len(tables)} sets. "
        f"Counts inside their 95 % beta-binomial interval: {np.mean([c.inside for c in counts]):.1%} of {len(counts)} "
        "runs.",
        table(head, rows),
    ]


def _relative(counts: Sequence[Count]) -> float:
    return float(np.mean([c.flagged / c.normal / c.expected for c in counts]))


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of npz files with X and y")
    parser.add_argument("--sets", nargs="+", metavar="NAME", help="only these sets [default: all in the folder]")
    parser.add_argument("--splits", type=int, default=20, help="random halves of each set [default: 20]")
    parser.add_argument("--rates", nargs="+", type=float, default=[0.01, 0.05], help="[default: 0.01 0.05]")
    parser.add_argument("--fdr", type=float, default=0.1, help="level of false-discovery control [default: 0.1]")
    parser.add_argument("--out", type=Path, default=Path("results/promise"), metavar="FOLDER")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each [default: 1]")
    parser.add_argument("--resume", action="store_true", help="take up an interrupted run in the same folder")
    return parser.parse_args()


def main() -> None:
    """Measure, then sum up."""
    args = arguments()
    ledger = Ledger(args.out / "measurements.csv", Count, resume=args.resume)
    done = {(c.table, c.seed) for c in ledger.rows}
    tasks = []
    for name in args.sets or names(args.data):
        rows = len(load(args.data, name, 0).train)
        rates = tuple(sorted(rate for rate in args.rates if rows >= rows_needed(rate)))
        if rates:
            tasks += [
                Task(args.data, name, seed, rates, args.fdr) for seed in range(args.splits) if (name, seed) not in done
            ]
        else:
            print(f"{name} has {rows} rows to train on, too few for any of the rates")
    tasks.sort(key=lambda task: task.seed)  # so that an interrupted run has seen all sets
    for _, found in spread(count, tasks, args.jobs):
        ledger.add(found)
    text = report(ledger.rows, args.fdr)
    (args.out / "promise.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
