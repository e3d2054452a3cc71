"""Does `kilter scan` rank the anomalies of a table above its other rows, and are its flags what they promise?

The protocol that the literature calls unsupervised: every row of a table, anomalies included, is ranked without labels,
and labels are looked at afterwards. Tables of more than `--most` rows are sampled down, at the share of anomalies that
they have. Kilter runs its own path with its defaults; what people fall back on is fitted to the standardised rows and
ranks these same rows, neighbours without the row itself. The false-discovery proportion is the share of rows labelled
as normal among those that are flagged at `--fdr`, and 0 where none is.

    python -m benchmarks.scan --data DIR --out results/scan
    python -m benchmarks.scan --data DIR --tables 4_breastw 45_wine --out results/scan --resume

Writes `measurements.csv` (a line for each table and method, as it goes) and `scan.md`.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
from scipy.stats import rankdata
from sklearn.ensemble import IsolationForest
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.neighbors import LocalOutlierFactor, NearestNeighbors

from benchmarks.clock import Matrix, timed
from benchmarks.figures import Floats, mean_error, mean_ranks, paired, ranked_last
from benchmarks.ledger import Ledger
from benchmarks.machine import described
from benchmarks.markdown import number, table, with_error
from benchmarks.peers import Scaling
from benchmarks.pool import spread
from benchmarks.sets import frame, load_whole, names
from kilter.training.config import TrainConfig
from kilter.training.data.source import TrainingSource
from kilter.training.scan import ScanResult, scan_source

OURS = "kilter"


class Ranked(msgspec.Struct, frozen=True):
    """One method on one table."""

    table: str
    method: str
    seed: int
    columns: int
    rows: int
    anomalies: int
    auroc: float
    ap: float
    cpu_s: float
    fdr: float | None = None
    flagged: int | None = None
    false_share: float | None = None
    """The share of normal rows among the flagged ones."""


class Task(NamedTuple):
    """Some methods on one table."""

    folder: Path
    table: str
    methods: tuple[str, ...]
    most: int
    seed: int
    fdr: float

    def __str__(self) -> str:
        return f"{self.table}: {', '.join(self.methods)}"


def neighbours(rows: Matrix, seed: int) -> Floats:  # noqa: ARG001
    """The distance to the fifth nearest other row."""
    model = NearestNeighbors(n_neighbors=min(5, len(rows) - 1)).fit(rows)
    return np.asarray(model.kneighbors()[0][:, -1], np.float64)


def local_outlier_factors(rows: Matrix, seed: int) -> Floats:  # noqa: ARG001
    """LOF of 20 neighbours; rows that repeat are told apart by a billionth, which scikit-learn asks for."""
    apart = rows.astype(np.float64) + 1e-9 * np.random.default_rng(0).normal(size=rows.shape)
    model = LocalOutlierFactor(n_neighbors=min(20, len(rows) - 1)).fit(apart)
    return -np.asarray(model.negative_outlier_factor_, np.float64)


def isolation(rows: Matrix, seed: int) -> Floats:
    """An isolation forest of 100 trees."""
    return -np.asarray(IsolationForest(random_state=seed).fit(rows).score_samples(rows), np.float64)


def empirical_tails(rows: Matrix, seed: int) -> Floats:  # noqa: ARG001
    """ECOD (Li et al., 2022) as PyOD computes it: the sum over columns of -log of the smaller tail's share."""
    shares = [rankdata(sign * rows, "max", axis=0) / len(rows) for sign in (1, -1)]
    return np.asarray(-np.log(np.minimum(*shares)).sum(1), np.float64)


PEERS: dict[str, Callable[[Matrix, int], Floats]] = {
    "iforest": isolation,
    "knn5": neighbours,
    "ecod": empirical_tails,
    "lof": local_outlier_factors,
}


def measure(task: Task) -> list[Ranked]:
    """Rank the rows of a table by every method of a task."""
    x, anomalous = load_whole(task.folder, task.table, task.most, task.seed)
    lines = []
    for method in task.methods:
        flags: tuple[float, int, float] | tuple[()] = ()
        if method == OURS:
            result, seconds = timed(lambda: _scanned(x, task))
            scores, flagged = ranked_last(result.verdicts.score, anomalous), result.verdicts.anomaly
            share = float((flagged & ~anomalous).sum() / max(int(flagged.sum()), 1))
            flags = task.fdr, int(flagged.sum()), share
        else:
            rank = PEERS[method]
            scores, seconds = timed(lambda: rank(Scaling.of(x)(x), task.seed))  # noqa: B023 (called at once)
        figures = float(roc_auc_score(anomalous, scores)), float(average_precision_score(anomalous, scores))
        about = task.table, method, task.seed, x.shape[1], len(x), int(anomalous.sum())
        lines.append(Ranked(*about, *figures, seconds, *flags))
    return lines


def _scanned(x: Floats, task: Task) -> ScanResult:
    config = TrainConfig(seed=task.seed, device="cpu")
    return scan_source(TrainingSource(frame=frame(x)), config, fdr=task.fdr, explained="none")


def report(lines: Sequence[Ranked]) -> str:
    """The figures in Markdown: means over tables, Kilter against each peer, flags, and each table."""
    methods = list(dict.fromkeys(line.method for line in sorted(lines, key=lambda line: line.method != OURS)))
    aurocs, aps = (
        {m: {line.table: getattr(line, figure) for line in lines if line.method == m} for m in methods}
        for figure in ("auroc", "ap")
    )
    ranks, rows = mean_ranks(aurocs), []
    for method in methods:
        gains = [paired(by_method[OURS], by_method[method]) for by_method in (aurocs, aps) if OURS in by_method]
        means = [mean_error([*by_method[method].values()]).mean for by_method in (aurocs, aps)]
        shown = [with_error(gain.gain, gain.error, sign=True) if method != OURS else "" for gain in gains]
        seconds = sum(line.cpu_s for line in lines if line.method == method)
        rows.append([method, *map(number, means), *shown, number(ranks[method], 2), number(seconds, 0)])
    head = ("method", "AUROC", "AP", "Kilter's gain in AUROC ± s.e.", "in AP ± s.e.", "mean rank", "CPU s")
    ours = [line for line in lines if line.method == OURS]
    shares = mean_error([line.false_share for line in ours if line.false_share is not None])
    some = sum(bool(line.flagged) for line in ours)
    by_table = [
        [
            line.table,
            str(line.rows),
            number(line.anomalies / line.rows),
            *(number(aurocs[method].get(line.table)) for method in methods),
            number(line.ap),
            str(line.flagged),
            number(line.false_share),
        ]
        for line in ours
    ]
    parts = [
        "# The strange rows of tables themselves",
        described(),
        f"Means over {len(ours)} tables, every row ranked, anomalies included.",
        table(head, rows),
        f"False-discovery proportion at {ours[0].fdr if ours else 0.1:g}: {with_error(shares.mean, shares.error)} "
        f"(mean over tables, 0 where nothing is flagged); {some} of {len(ours)} tables have flags.",
        table(("table", "rows", "anomalies", *methods, "Kilter's AP", "flagged", "of them normal"), by_table),
    ]
    return "\n\n".join(parts) + "\n"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of npz files with X and y")
    parser.add_argument("--tables", nargs="+", metavar="NAME", help="only these tables [default: all in the folder]")
    parser.add_argument("--most", type=int, default=2_000, help="rows to which a table is sampled [default: 2000]")
    parser.add_argument("--seed", type=int, default=0, help="of samples, folds and fits [default: 0]")
    parser.add_argument("--fdr", type=float, default=0.1, help="false-discovery rate of the flags [default: 0.1]")
    parser.add_argument("--out", type=Path, default=Path("results/scan"), metavar="FOLDER")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each [default: 1]")
    parser.add_argument("--resume", action="store_true", help="take up an interrupted run in the same folder")
    return parser.parse_args()


def main() -> None:
    """Measure, then sum up."""
    args = arguments()
    ledger = Ledger(args.out / "measurements.csv", Ranked, resume=args.resume)
    done = {(line.table, line.method) for line in ledger.rows}
    tasks = []
    for name in args.tables or names(args.data):
        methods = tuple(method for method in (OURS, *PEERS) if (name, method) not in done)
        if methods:
            tasks.append(Task(args.data, name, methods, args.most, args.seed, args.fdr))
    for _, lines in spread(measure, tasks, args.jobs):
        ledger.add(lines)
    text = report(ledger.rows)
    (args.out / "scan.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
