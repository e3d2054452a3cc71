"""What would have been normal: does the nearest normal exist, is it right, and what does it take?

Three kinds of flagged records of each table: real anomalies, and normal records one field of which is made wrong, as
`benchmarks.reasons` makes it: pushed beyond the training range by 10 to 50 % of it, or swapped for another normal
record's. Of each kind:

- normal: the share for which a suggestion is scored as normal;
- few: the share that change at most three fields;
- named, of wrong fields: the share in which the wrong field is among the changes;
- restored: the share in which it then lies within the training range, and, of swapped values, in which the p-value of
  its surprise is above the target rate;
- calm: the share in which no field that was left alone has a p-value that falls to the target rate or below. The
  p-value of a field is the rank of its surprise under the network among other normal records. A field may fall since
  the network sees another record; so the same share stands beside it for records whose wrong field gets its true value.

    python -m benchmarks.nearest_normal --data ADBENCH KEEL NSL_KDD --records 100 --out results/nearest_normal

Models are fitted at a target rate of 0.05 to half of the normal rows. Prints and writes Markdown.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np
from sklearn.datasets import load_breast_cancer

from benchmarks import ours
from benchmarks.corruption import BEYOND
from benchmarks.figures import Floats
from benchmarks.ledger import Ledger
from benchmarks.machine import described
from benchmarks.markdown import number, table
from benchmarks.pool import spread
from benchmarks.problems import Problem, ProblemSource, problem_sources, read_problem
from benchmarks.sets import divide, frame
from kilter.service.detector.arrays import Mask
from kilter.service.detector.calibration import TOLERANCE
from kilter.service.detector.columns import Column, NumericColumn
from kilter.service.detector.inputs import Table, take
from kilter.service.detector.nearest_normal import NearestNormal, NormalFinder
from kilter.service.detector.thresholds import Thresholds
from kilter.training.config import TrainConfig

RATE = 0.05
FEW = 3
REAL, BEYOND_RANGE, SWAPPED = "real anomalies", "out of range", "swapped"
SKLEARN = Path("breast-cancer")  # that of scikit-learn, which has no file


class Figures(msgspec.Struct, frozen=True):
    """The shares of one kind of record of one table; None where there is none."""

    table: str
    kind: str
    records: int
    """Flagged ones that were looked into."""
    normal: float | None = None
    fields: float | None = None
    """Mean number of changes of those that have one."""
    few: float | None = None
    named: float | None = None
    restored: float | None = None
    calm: float | None = None
    calm_if_true: float | None = None
    ms: float | None = None
    """CPU milliseconds a record, on one core."""


class Task(NamedTuple):
    """One table."""

    source: ProblemSource
    records: int

    def __str__(self) -> str:
        return str(self.source)


class Wrong(NamedTuple):
    """Records with a wrong field each."""

    table: Table
    field: list[int]
    """The column that is wrong."""
    true: Table
    """The records as they were."""


def read(source: ProblemSource) -> Problem:
    """The table of a source."""
    if source.path != SKLEARN:
        return read_problem(source)
    data = load_breast_cancer()
    sample = divide(source.table, data.data, data.target == 0, source.seed)
    place = (source.collection, source.table, source.task, source.seed)
    return Problem(*place, frame(sample.train), frame(sample.test), sample.anomalous, 0)


def measure(task: Task) -> list[Figures]:
    """Fit, corrupt, and ask for the nearest normals."""
    problem = read(task.source)
    config = TrainConfig(target_fpr=RATE, seed=task.source.seed, device="cpu")
    model = ours.fit(problem.train, config)
    scorer, thresholds = model.scorer, Thresholds(model.calibration)
    finder = NormalFinder(scorer.modality, scorer.program, thresholds, TOLERANCE, "this", model.exemplars)
    rng = np.random.default_rng([task.source.seed, 5])
    test = model.table(problem.test)
    readable = np.ones(test.rows, bool)
    readable[[problem.row for problem in test.problems if problem.row is not None]] = False
    normal = rng.permutation(np.flatnonzero(readable & ~problem.anomalous))
    reference, clean = (take(test, part) for part in np.array_split(normal, 2))
    kinds = [
        _figures(task, REAL, model, finder, take(test, rng.permutation(np.flatnonzero(problem.anomalous & readable))))
    ]
    for kind in (BEYOND_RANGE, SWAPPED):
        wrong = corrupt(finder.columns, clean, rng, beyond=kind == BEYOND_RANGE)
        if wrong.field:
            kinds.append(_figures(task, kind, model, finder, wrong.table, wrong, reference))
    return kinds


def corrupt(columns: Sequence[Column], clean: Table, rng: np.random.Generator, *, beyond: bool) -> Wrong:
    """Make one field of each of some normal records wrong; those that cannot be are left out."""
    if beyond:
        eligible = [i for i, c in enumerate(columns) if isinstance(c, NumericColumn) and c.constant is None]
    else:
        eligible = [i for i, c in enumerate(columns) if len({*map(str, clean.columns[c.name])}) > 1]
    changed = {name: values.copy() for name, values in clean.columns.items()}
    rows, field = [], []
    for row in range(clean.rows if eligible else 0):
        i = int(rng.choice(eligible))
        column = columns[i]
        values = clean.columns[column.name]
        new: Any = None
        if isinstance(column, NumericColumn) and beyond:
            more = rng.uniform(*BEYOND) * (column.maximum - column.minimum)
            more = np.ceil(more) if column.integer else more
            new = column.maximum + more if rng.random() < 0.5 else column.minimum - more
        else:
            others = [value for value in values if str(value) != str(values[row])]
            new = others[rng.integers(len(others))]
        changed[column.name][row] = new
        rows.append(row)
        field.append(i)
    return Wrong(Table(changed, clean.rows, []), field, clean)


def _figures(
    task: Task,
    kind: str,
    model: ours.Ours,
    finder: NormalFinder,
    records: Table,
    wrong: Wrong | None = None,
    reference: Table | None = None,
) -> Figures:
    flagged = np.flatnonzero(model.calibration.anomalies(model.scorer.score(records).score))[: task.records]
    line = Figures(task.source.table, kind, len(flagged))
    if not len(flagged):
        return line
    began = time.process_time()
    nearest = [finder.find(take(records, np.array([row]))) for row in flagged]
    ms = 1e3 * (time.process_time() - began) / len(flagged)
    fields = np.array([len(one.changes) for one in nearest])
    normal = np.array([one.normal for one in nearest])
    line = msgspec.structs.replace(
        line,
        normal=float(normal.mean()),
        fields=float(fields[normal].mean()) if normal.any() else None,
        few=float((normal & (fields <= FEW)).mean()),
        ms=ms,
    )
    if wrong is None or reference is None:
        return line
    before, mended, true = (
        take(records, flagged),
        _mended(finder, take(records, flagged), nearest),
        take(wrong.true, flagged),
    )
    usual = np.sort(model.scorer.outputs(reference, ("terms",))[0], axis=0)
    was, now, ideal = (
        _field_p_values(usual, model.scorer.outputs(one, ("terms",))[0]) for one in (before, mended, true)
    )
    places = {column.name: i for i, column in enumerate(finder.columns)}
    changed = np.zeros(was.shape, bool)
    for row, one in enumerate(nearest):
        changed[row, [places[change.field] for change in one.changes]] = True
    own = np.zeros(was.shape, bool)
    own[np.arange(len(flagged)), [wrong.field[row] for row in flagged]] = True
    named = (changed & own).any(1)
    right = _within(finder, mended) if kind == BEYOND_RANGE else now > RATE
    return msgspec.structs.replace(
        line,
        named=float(named.mean()),
        restored=float((named & right[own]).mean()),
        calm=_calm(was, now, changed),
        calm_if_true=_calm(was, ideal, own),
    )


def _mended(finder: NormalFinder, records: Table, nearest: Sequence[NearestNormal]) -> Table:
    """The records with their changes."""
    columns = {name: values.copy() for name, values in records.columns.items()}
    by_name = {column.name: column for column in finder.columns}
    for row, one in enumerate(nearest):
        for change in one.changes:
            columns[change.field][row] = by_name[change.field].read(change.after)
    return Table(columns, records.rows, [])


def _within(finder: NormalFinder, records: Table) -> Mask:
    """Which values lie within the range of training: (n, columns)."""
    inside = [
        (column.minimum <= values) & (values <= column.maximum)
        if isinstance(column, NumericColumn)
        else values == values
        for column, values in ((column, records.columns[column.name]) for column in finder.columns)
    ]
    return np.stack(inside, axis=1).astype(bool)


def _field_p_values(usual: Floats, terms: Floats) -> Floats:
    """The p-values of the surprise of fields, (n, columns), among those of normal records, ascending by column."""
    counts = [len(own) - own.searchsorted(new) for own, new in zip(usual.T, terms.T, strict=True)]
    p_values: Floats = (1 + np.stack(counts, axis=1)) / (len(usual) + 1)
    return p_values


def _calm(before: Floats, after: Floats, changed: Mask) -> float:
    """The share of records in which no other field's p-value falls to the target rate or below."""
    return float(1 - ((before > RATE) & (after <= RATE) & ~changed).any(1).mean())


def report(lines: Sequence[Figures]) -> str:
    """The figures in Markdown: means over tables, then table by table."""
    parts = ["# Nearest normals", described()]
    head = ("", "tables", "records", "normal", "changes", "few", "named", "restored", "calm", "calm if true", "ms")
    fields = ("normal", "fields", "few", "named", "restored", "calm", "calm_if_true", "ms")
    rows = []
    for kind in (REAL, BEYOND_RANGE, SWAPPED):
        own = [line for line in lines if line.kind == kind and line.records]
        weights = [line.records for line in own]
        means = [_mean([getattr(line, name) for line in own], weights) for name in fields]
        rows.append(
            [kind, str(len(own)), f"{sum(weights):,}", *(_shown(*pair) for pair in zip(fields, means, strict=True))]
        )
    parts += ["Means over all records:", table(head, rows)]
    for kind in (REAL, BEYOND_RANGE, SWAPPED):
        rows = [
            [line.table, str(line.records), *(_shown(name, getattr(line, name)) for name in fields)]
            for line in lines
            if line.kind == kind
        ]
        parts += [f"## {kind.capitalize()}", table(("table", *head[2:]), rows)]
    return "\n\n".join(parts) + "\n"


def _mean(values: Sequence[float | None], weights: Sequence[int]) -> float | None:
    pairs = [(value, weight) for value, weight in zip(values, weights, strict=True) if value is not None]
    return sum(value * weight for value, weight in pairs) / sum(weight for _, weight in pairs) if pairs else None


def _shown(name: str, value: float | None) -> str:
    return number(value, 1 if name in ("fields", "ms") else 3)


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR", help="collections of tables")
    parser.add_argument("--tables", nargs="+", metavar="NAME", help="only these tables [default: all]")
    parser.add_argument("--records", type=int, default=200, help="most records of a kind of a table [default: 200]")
    parser.add_argument("--seed", type=int, default=0, help="of the splits [default: 0]")
    parser.add_argument("--out", type=Path, default=Path("results/nearest_normal"), metavar="FOLDER")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each [default: 1]")
    parser.add_argument("--resume", action="store_true", help="take up an interrupted run in the same folder")
    return parser.parse_args()


def main() -> None:
    """Measure, then sum up."""
    args = arguments()
    ledger = Ledger(args.out / "measurements.csv", Figures, resume=args.resume)
    sources = [ProblemSource("scikit-learn", SKLEARN, "labels", args.seed)]
    sources += [source for folder in args.data for source in problem_sources(folder, [args.seed])]
    done = {line.table for line in ledger.rows}
    tasks = [
        Task(source, args.records)
        for source in sources
        if source.task != "rare" and source.table not in done and (not args.tables or source.table in args.tables)
    ]
    for _, figures in spread(measure, tasks, args.jobs):
        ledger.add(figures)
    text = report(ledger.rows)
    (args.out / "nearest_normal.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
