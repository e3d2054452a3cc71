"""Do the reasons name the field that is wrong?

One field of each held-out normal record is made wrong, and the record scored: is that field the first reason (hit@1),
or one of the first three (hit@3)? The baseline names the fields with the largest |value - mean| / standard deviation
over the training rows. Two regimes:

- out of range: a numeric field is pushed beyond the training range by 10 to 50 % of that range;
- swapped: a field gets another normal record's value, so that it is in range and wrong in its context. Only records
  that are flagged count, since nobody asks for the reasons of the others.

    python -m benchmarks.reasons --data DIR --seeds 0 1 2 --out results/reasons

Writes `measurements.csv` and `reasons.md`. Fields that are constant in the training rows, or that the model leaves
out, are not touched; flags are only swapped, as they have no range.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from benchmarks import ours
from benchmarks.corruption import REGIMES, Columns
from benchmarks.figures import Floats, mean_error, paired
from benchmarks.ledger import Ledger
from benchmarks.machine import described
from benchmarks.markdown import number, table, with_error
from benchmarks.peers import Scaling
from benchmarks.pool import spread
from benchmarks.sets import frame, load, names
from kilter.service.detector import Reason
from kilter.service.detector.columns import NumericColumn
from kilter.service.detector.schema import Schema
from kilter.training.config import TrainConfig

SHOWN = 3
ALL, FLAGGED = "all records", "flagged records"
CLAIMS = (("out of range", ALL), ("swapped", FLAGGED))
"""The regimes, each with the records that its claim is about."""


class Hits(msgspec.Struct, frozen=True):
    """How often the wrong field was named, among some records of one split of one set; shares are None without any."""

    table: str
    seed: int
    regime: str
    among: str
    records: int
    hit1: float | None = None
    hit3: float | None = None
    baseline1: float | None = None
    baseline3: float | None = None


class Task(NamedTuple):
    """One split of one set."""

    folder: Path
    table: str
    seed: int
    records: int

    def __str__(self) -> str:
        return f"{self.table}, seed {self.seed}"


def measure(task: Task) -> list[Hits]:
    """Fit, corrupt and ask for reasons, in both regimes."""
    sample = load(task.folder, task.table, task.seed)
    model = ours.fit(frame(sample.train), TrainConfig(target_fpr=sample.target_fpr, seed=task.seed, device="cpu"))
    rng = np.random.default_rng([task.seed, 3])
    normal = rng.permutation(sample.test[~sample.anomalous])[: task.records]
    scaling = Scaling.of(sample.train)
    found = []
    for regime, corrupt in REGIMES.items():
        columns = eligible(model.scorer.modality.schema, sample.train, numeric=regime == "out of range")
        if not len(columns):
            continue
        rows, field = corrupt(normal, sample.train, columns, rng)
        scores = model.scorer.score(model.table(frame(rows)), reasons=SHOWN, errors="mark")
        assert scores.reasons is not None
        named = [[reason.feature for reason in reasons if isinstance(reason, Reason)] for reasons in scores.reasons]
        place = np.array([n.index(f"x{f}") if f"x{f}" in n else SHOWN for n, f in zip(named, field, strict=True)])
        order = np.argsort(-np.abs(scaling(rows)), axis=1, kind="stable")
        baseline = (order == field[:, None]).argmax(1)
        flagged = model.calibration.anomalies(scores.score)
        for among, mask in ((ALL, np.ones(len(rows), bool)), (FLAGGED, flagged)):
            found.append(_hits(task, regime, among, place[mask], baseline[mask]))
    return found


def eligible(schema: Schema, train: Floats, *, numeric: bool) -> Columns:
    """Columns of the matrix that the model looks at and that vary in training; only those with a range if `numeric`."""
    used = {
        column.name
        for column in schema.columns
        if not numeric or (isinstance(column, NumericColumn) and column.constant is None)
    }
    return np.flatnonzero([f"x{i}" in used and np.ptp(values) > 0 for i, values in enumerate(train.T)])


def _hits(task: Task, regime: str, among: str, place: npt.NDArray[np.int64], baseline: npt.NDArray[np.int64]) -> Hits:
    line = Hits(task.table, task.seed, regime, among, len(place))
    if not len(place):
        return line
    shares = [float((where < limit).mean()) for where in (place, baseline) for limit in (1, SHOWN)]
    return msgspec.structs.replace(line, **dict(zip(("hit1", "hit3", "baseline1", "baseline3"), shares, strict=True)))


def report(lines: Sequence[Hits]) -> str:
    """The figures in Markdown: means over sets, seeds averaged within each."""
    parts = ["# Reasons", described(), "Means over sets, each of which counts once; ± is the standard error over sets."]
    rows = []
    for regime in REGIMES:
        for among in (ALL, FLAGGED):
            by = {field: _by_table(lines, regime, among, field) for field in ("hit1", "hit3", "baseline1", "baseline3")}
            gain = paired(by["hit1"], by["baseline1"])
            means = [number(mean_error(list(values.values())).mean) for values in by.values()]
            records = sum(line.records for line in lines if (line.regime, line.among) == (regime, among))
            gained = with_error(gain.gain, gain.error, sign=True)
            rows.append([f"{regime}, {among}", *means, gained, str(gain.tables), f"{records:,}"])
    fields = ("hit@1", "hit@3", "baseline hit@1", "baseline hit@3", "hit@1 less baseline", "sets", "records")
    parts.append(table(("regime", *fields), rows))
    for regime, among in CLAIMS:
        parts += [f"## {regime.capitalize()}, {among}", _sets(lines, regime, among)]
    return "\n\n".join(parts) + "\n"


def _sets(lines: Sequence[Hits], regime: str, among: str) -> str:
    by = [_by_table(lines, regime, among, field) for field in ("records", "hit1", "baseline1", "hit3", "baseline3")]
    rows = [
        [name, *[number(values.get(name), 3 if i else 0) for i, values in enumerate(by)]]
        for name in dict.fromkeys(line.table for line in lines)
    ]
    return table(("set", "records a seed", "hit@1", "baseline", "hit@3", "baseline"), rows)


def _by_table(lines: Sequence[Hits], regime: str, among: str, field: str) -> dict[str, float]:
    found: dict[str, list[float]] = {}
    for line in lines:
        value = getattr(line, field)
        if (line.regime, line.among) == (regime, among) and value is not None:
            found.setdefault(line.table, []).append(value)
    return {name: float(np.mean(values)) for name, values in found.items()}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of npz files with X and y")
    parser.add_argument("--sets", nargs="+", metavar="NAME", help="only these sets [default: all in the folder]")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="one split each [default: 0 1 2]")
    parser.add_argument("--records", type=int, default=1_000, help="most records of a set [default: 1000]")
    parser.add_argument("--out", type=Path, default=Path("results/reasons"), metavar="FOLDER")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each [default: 1]")
    parser.add_argument("--resume", action="store_true", help="take up an interrupted run in the same folder")
    return parser.parse_args()


def main() -> None:
    """Measure, then sum up."""
    args = arguments()
    ledger = Ledger(args.out / "measurements.csv", Hits, resume=args.resume)
    done = {(line.table, line.seed) for line in ledger.rows}
    tasks = [
        Task(args.data, name, seed, args.records)
        for seed in args.seeds
        for name in args.sets or names(args.data)
        if (name, seed) not in done
    ]
    for _, found in spread(measure, tasks, args.jobs):
        ledger.add(found)
    text = report(ledger.rows)
    (args.out / "reasons.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
