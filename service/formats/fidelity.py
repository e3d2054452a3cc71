"""How much synthetic records are like real ones, and how much like those that the generator was fitted to.

Columns and pairs of columns are compared by SDMetrics, everything else by scikit-learn: both come with the extra
`synthetic`. All of it is evidence, and none of it a guarantee of privacy.
"""

import math
from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from kilter.service.detector import Detector, KilterError
from kilter.service.detector.arrays import Array, Floats, Mask, Matrix, Positions
from kilter.service.detector.columns import Column
from kilter.service.detector.inputs import Table, take
from kilter.service.detector.schema import Schema
from kilter.service.formats.writers import check_output, writing

NOTE = "This is evidence, and no guarantee of privacy."
LEAST = 30  # rows of a kind, below which nothing is said of them
MOST = 5_000  # rows of a kind that are compared by their distances, and told apart by boosting
MOST_PAIRS = 1_000
DECILES = np.linspace(0, 1, 11)[1:-1]
FOLDS = 3


class ColumnLikeness(msgspec.Struct, frozen=True):
    """How alike the values of a column are: 1 less the distance of their distributions (SDMetrics)."""

    column: str
    likeness: float


class PairLikeness(msgspec.Struct, frozen=True):
    """How alike two columns depend on each other, from 0 to 1 (SDMetrics)."""

    columns: tuple[str, str]
    likeness: float


class Nearness(msgspec.Struct, frozen=True):
    """How near synthetic records lie to those that the generator was fitted to, and to as many others."""

    rows: int
    """Of either kind."""
    nearer_to_fitted: float
    """Share of the synthetic records whose nearest is one of the former: 0.5 if the generator remembers none."""
    membership_auroc: float
    """How well the distance to the nearest synthetic record tells the former from the latter: 0.5 if not at all."""
    copies: float
    """Share of the synthetic records that are equal to a record of the fit ..."""
    copies_by_nature: float
    """... and of those others that are."""


class Fidelity(msgspec.Struct, frozen=True):
    """A report on synthetic records."""

    note: str
    synthetic: int
    real: int
    unseen: bool
    """Whether the real records that they are compared with are others than those of the fit."""
    invalid: int
    """Synthetic records that the model could not read."""
    column_likeness: float
    pair_likeness: float
    detection_auroc: float
    """How well gradient boosting tells synthetic from real ones: 0.5 if not at all."""
    nearness: Nearness | None
    """None where too few real records are known to be of the fit, or of the others."""
    columns: tuple[ColumnLikeness, ...]
    pairs: tuple[PairLikeness, ...]

    @property
    def detection_score(self) -> float:
        """2 - 2 AUROC, at most 1: SDMetrics' measure of the same."""
        return min(1.0, 2 - 2 * self.detection_auroc)

    def lines(self) -> Iterator[str]:
        """A short table."""
        other = "that the generator was not fitted to" if self.unseen else "some of which the generator was fitted to"
        yield f"{self.synthetic:,} synthetic records beside {self.real:,} real ones, {other}"
        yield f"  columns alike                {self.column_likeness:6.3f}   1 is best"
        yield f"  pairs of columns alike       {self.pair_likeness:6.3f}   1 is best"
        yield f"  told apart by boosting       {self.detection_auroc:6.3f}   AUROC: 0.5 is best"
        if self.nearness is None:
            yield "  nearness to fitting rows          -   too few rows of either kind in the file"
        else:
            yield f"  nearer to rows of the fit    {self.nearness.nearer_to_fitted:6.3f}   0.5 is best"
            yield f"  membership attack            {self.nearness.membership_auroc:6.3f}   AUROC: 0.5 is best"
            natural = f"{self.nearness.copies_by_nature:.3f} among new rows"
            yield f"  copies of rows of the fit    {self.nearness.copies:6.3f}   {natural}"
        yield NOTE


class Libraries(NamedTuple):
    """What the extra `synthetic` brings."""

    columns: Any
    pairs: Any
    ensemble: Any
    selection: Any
    metrics: Any
    neighbors: Any
    pandas: Any


def synthetic_libraries() -> Libraries:
    """The libraries of the extra. Raises KilterError if one is not installed."""
    names = ("sdmetrics.single_column", "sdmetrics.column_pairs")
    learning = (f"sklearn.{name}" for name in ("ensemble", "model_selection", "metrics", "neighbors"))
    try:
        return Libraries(*map(import_module, (*names, *learning, "pandas")))
    except ImportError as error:
        raise KilterError(
            f"a report on synthetic records needs {error.name}: pip install 'kilter[synthetic]', or leave it out"
        ) from None


def check_report(detector: Detector, path: Path, *, force: bool) -> None:
    """Raise KilterError if no report can be made, or it must not be written to a file."""
    if detector.modality.decodes:
        raise KilterError("a report compares columns, and pictures have none: leave it out")
    check_output(path, "-", force=force)


def write_report(detector: Detector, synthetic: Table, real: Table, path: Path, libraries: Libraries) -> Fidelity:
    """Write the report of `report_fidelity` as JSON, whole or not at all."""
    fidelity = report_fidelity(detector, synthetic, real, libraries)
    with writing(path) as output:
        output.file.write(msgspec.json.format(msgspec.json.encode(fidelity), indent=2) + b"\n")
    return fidelity


def report_fidelity(detector: Detector, synthetic: Table, real: Table, libraries: Libraries) -> Fidelity:
    """A report on synthetic records beside real ones of the same model. Raises KilterError if either are too few."""
    figures = detector.scorer.figures(real)
    tested = fitted = np.zeros(real.rows, bool)
    if detector.generator is not None:
        tested, fitted = detector.generator.were_fitted(figures)
    return compare_tables(detector.schema, synthetic, real, tested, fitted, libraries)


def compare_tables(
    schema: Schema, synthetic: Table, real: Table, tested: Mask, fitted: Mask, libraries: Libraries, seed: int = 0
) -> Fidelity:
    """A report on synthetic records of whatever origin; which of the real ones, (n,), are `tested` and `fitted`."""
    wrong = [problem.row for problem in synthetic.problems if problem.row is not None]
    made = take(synthetic, ~np.isin(np.arange(synthetic.rows), wrong))
    if min(made.rows, real.rows) < LEAST:
        raise KilterError(f"a report needs {LEAST} synthetic and {LEAST} real records: give more")
    rng = np.random.default_rng(seed)
    new, old = np.flatnonzero(tested & ~fitted), np.flatnonzero(tested & fitted)
    unseen = len(new) >= LEAST
    beside = take(real, new) if unseen else real
    fields = schema.fields
    columns = tuple(_columns(libraries, fields, beside, made))
    pairs = tuple(_pairs(libraries, fields, beside, made, rng))
    nearness = None
    if unseen and len(old) >= LEAST:
        size = min(len(new), len(old), MOST)
        parts = (take(real, rng.permutation(part)[:size]) for part in (old, new))
        nearness = measure_nearness(libraries, fields, _some(made, MOST, rng), *parts)
    return Fidelity(
        note=NOTE,
        synthetic=synthetic.rows,
        real=beside.rows,
        unseen=unseen,
        invalid=synthetic.rows - made.rows,
        column_likeness=_mean([column.likeness for column in columns]),
        pair_likeness=_mean([pair.likeness for pair in pairs]),
        detection_auroc=detect(libraries, fields, made, beside, rng, seed),
        nearness=nearness,
        columns=columns,
        pairs=pairs,
    )


def detect(
    libraries: Libraries, fields: Sequence[Column], made: Table, real: Table, rng: np.random.Generator, seed: int
) -> float:
    """The AUROC of gradient boosting that tells as many synthetic from real records, over folds."""
    size = min(made.rows, real.rows, MOST)
    x = _numbers(fields, _some(made, size, rng), _some(real, size, rng))
    y = np.arange(2 * size) < size
    model = libraries.ensemble.HistGradientBoostingClassifier(random_state=seed % 2**32)
    folds = libraries.selection.StratifiedKFold(FOLDS, shuffle=True, random_state=seed % 2**32)
    chances = libraries.selection.cross_val_predict(model, x, y, cv=folds, method="predict_proba")[:, 1]
    return round(float(libraries.metrics.roc_auc_score(y, chances)), 4)


def measure_nearness(
    libraries: Libraries, fields: Sequence[Column], made: Table, fitted: Table, others: Table
) -> Nearness:
    """See `Nearness`; `fitted` and `others` are as many."""
    places = _places(fields, made, fitted, others)
    parts = np.split(places, [made.rows, made.rows + fitted.rows])

    def nearest(points: Matrix, beside: Matrix) -> Floats:
        search = libraries.neighbors.NearestNeighbors(n_neighbors=1, algorithm="brute").fit(beside)
        distances: Floats = search.kneighbors(points)[0][:, 0].astype(np.float64)
        return distances

    to_fitted, to_others = nearest(parts[0], parts[1]), nearest(parts[0], parts[2])
    shares = np.where(to_fitted == to_others, 0.5, to_fitted < to_others)
    distances = np.concatenate([nearest(parts[1], parts[0]), nearest(parts[2], parts[0])])
    was_fitted = np.arange(2 * fitted.rows) < fitted.rows
    rows = [_rows(fields, table) for table in (made, fitted, others)]
    known = set(rows[1])
    return Nearness(
        fitted.rows,
        round(float(shares.mean()), 4),
        round(float(libraries.metrics.roc_auc_score(was_fitted, -distances)), 4),
        *(round(sum(row in known for row in part) / len(part), 4) for part in (rows[0], rows[2])),
    )


def _columns(libraries: Libraries, fields: Sequence[Column], real: Table, made: Table) -> Iterator[ColumnLikeness]:
    for column in fields:
        first, second = (libraries.pandas.Series(_values(column, table)) for table in (real, made))
        metric = libraries.columns.TVComplement if column.dtype.kind == "O" else libraries.columns.KSComplement
        alike = float(metric.compute(first, second)) if first.notna().any() and second.notna().any() else math.nan
        absent = 1 - abs(float(first.isna().mean()) - float(second.isna().mean()))
        yield ColumnLikeness(column.name, round(absent if math.isnan(alike) else min(alike, absent), 4))


def _pairs(
    libraries: Libraries, fields: Sequence[Column], real: Table, made: Table, rng: np.random.Generator
) -> Iterator[PairLikeness]:
    """Pairs of columns as tables of counts, numbers by their deciles; of very many pairs some at random."""
    levels = [[_levels(column, real, table) for column in fields] for table in (real, made)]
    pairs = list(combinations(range(len(fields)), 2))
    picked = sorted(rng.permutation(len(pairs))[:MOST_PAIRS].tolist())
    for i, j in (pairs[place] for place in picked):
        frames = (libraries.pandas.DataFrame({"a": part[i], "b": part[j]}) for part in levels)
        likeness = float(libraries.pairs.ContingencySimilarity.compute(*frames))
        yield PairLikeness((fields[i].name, fields[j].name), round(likeness, 4))


def _levels(column: Column, real: Table, table: Table) -> Array:
    values, known = (_values(column, part) for part in (table, real))
    if column.dtype.kind == "O":
        return np.array(["" if value is None else f"={value}" for value in values])
    known = known[~np.isnan(known)]
    edges = np.unique(np.quantile(known, DECILES)) if len(known) else np.empty(0)
    places = np.where(np.isnan(values), -1, np.searchsorted(edges, values))
    return places.astype(str)


def _numbers(fields: Sequence[Column], *tables: Table) -> Floats:
    """Records as numbers, one table after the other: levels in the order of their names, NaN where missing."""
    columns = []
    for column in fields:
        values = np.concatenate([_values(column, table) for table in tables])
        columns.append(_ranks(values) if column.dtype.kind == "O" else values)
    return np.stack(columns, axis=1).astype(np.float64)


def _values(column: Column, table: Table) -> Array:
    """Levels as they are, and all else as float64: times as microseconds."""
    values = table.columns[column.name]
    if values.dtype.kind != "M":
        return values
    return np.where(np.isnat(values), np.nan, values.astype("datetime64[us]").astype(np.int64))


def _ranks(values: Array) -> Floats:
    known = {value: rank for rank, value in enumerate(sorted({value for value in values if value is not None}))}
    return np.array([known.get(value, math.nan) for value in values], np.float64)


def _places(fields: Sequence[Column], *tables: Table) -> Matrix:
    """Records as points: numbers in units of their deviation, levels as 0 and 1 over the root of two."""
    numbers = _numbers(fields, *tables)
    parts: list[Floats] = []
    for i, column in enumerate(fields):
        values = numbers[:, i]
        absent = np.isnan(values)
        if column.dtype.kind == "O":
            parts.append((np.where(absent, -1, values)[:, None] == np.unique(values[~absent])) / math.sqrt(2))
            continue
        centre, scale = (
            (float(figure(values[~absent])) for figure in (np.median, np.std)) if (~absent).any() else (0, 0)
        )
        parts.append(np.where(absent, 0, (values - centre) / (scale or 1.0))[:, None])
        parts.append(absent[:, None].astype(np.float64))
    return np.concatenate(parts, axis=1).astype(np.float32)


def _rows(fields: Sequence[Column], table: Table) -> list[tuple[Any, ...]]:
    """Records to be compared for equality; a missing number is equal to another."""
    cells = [[None if value != value else value for value in _values(column, table).tolist()] for column in fields]
    return list(zip(*cells, strict=True))


def _some(table: Table, most: int, rng: np.random.Generator) -> Table:
    rows: Positions = rng.permutation(table.rows)[:most]
    return take(table, rows)


def _mean(figures: Sequence[float]) -> float:
    return round(float(np.mean(figures)), 4) if figures else 1.0
