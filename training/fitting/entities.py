"""Columns whose values look like entities: customers, machines or patients, whose rows are more alike than others.

Where rows are split without regard to them, a calibration row has others of its entity among the fitting rows, and
records of new entities have none: they are flagged more often than promised. `--split-by` sees to it.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from scipy import stats
from sklearn.neighbors import NearestNeighbors

from kilter.service.detector.arrays import Array, Floats, Matrix, Positions
from kilter.service.detector.beta import CONFIDENCE
from kilter.service.detector.calibration import Calibration, fewest
from kilter.service.detector.inputs import take
from kilter.service.detector.modalities import modality_of
from kilter.service.detector.schema import Schema
from kilter.training.data.source import TrainingData
from kilter.training.fitting.split import RATES, SHARE, SMALLEST_TABLE, fit_schema, supported_rate

SAMPLE = 1_000  # rows whose nearest neighbour is looked at
ROWS = 10_000  # most rows by which an inflation is measured, those of an entity together
LIKELIEST = 8  # columns whose inflation is measured: those whose rows are most alike
MOST_LEVELS = 50
EVIDENT_RATE = RATES[-1]
SIGNIFICANCE = 1e-3
DIGITS = 9


class Inflation(NamedTuple):
    """The rate at which rows of new entities are flagged by nearest neighbours where rows were split one by one."""

    column: str
    entities: int
    target: float
    realised: float


def with_entity_notice(data: TrainingData, target_fpr: float | None) -> TrainingData:
    """The data with a note on the column that looks most like an entity, if one does."""
    inflation = find_entities(data, target_fpr)
    if inflation is None:
        return data
    note = (
        f"{inflation.column!r} looks like an entity: its {inflation.entities:,} values repeat, and rows of one value "
        f"lie close together. Of rows of new values {100 * inflation.realised:.2g} % are flagged where "
        f"{100 * inflation.target:.2g} % are meant, measured with nearest neighbours. If records to come are of new "
        f"values, train with --split-by {inflation.column}."
    )
    return replace(data, notes=(*data.notes, note))


def find_entities(data: TrainingData, target_fpr: float | None) -> Inflation | None:
    """The column by whose values the false-positive rate is inflated most; None if it is by none.

    A row's nearest neighbour has its value more often than chance lets it, and rows of values that are neither fitted
    nor calibrated on are flagged more often than the promise allows.
    """
    normal = data.normal
    candidates = {name: np.unique(codes[normal], return_inverse=True)[1] for name, codes in data.candidates.items()}
    # Of values one of which has most rows, a half says nothing about the other.
    candidates = {name: codes for name, codes in candidates.items() if _effective(codes) >= SMALLEST_TABLE}
    if not candidates:
        return None
    schema = fit_schema(data.draft, data.table, normal)
    points, columns = _design(np.concatenate([*modality_of(schema).encode(take(data.table, normal))]), schema)
    rate = supported_rate(len(normal)) if target_fpr is None else target_fpr
    alike = _alikeness(points, candidates)
    inflations = []
    for name in sorted(alike, key=lambda name: -alike[name])[:LIKELIEST]:
        others = points[:, columns != name]
        column = schema.field(name)
        quantity = column is not None and column.is_number
        if others.shape[1] and _alikeness(others, {name: candidates[name]}, ordered=quantity):
            inflations.append(measure_inflation(name, others, candidates[name], rate))
    return max(filter(None, inflations), key=lambda inflation: inflation.realised, default=None)


def measure_inflation(column: str, points: Floats, entities: Positions, rate: float) -> Inflation | None:
    """The rate at which rows of new entities are flagged, where those of others were split row by row.

    `points`, (n, axes), are the rows, whose numbers in `entities`, (n,), count from 0. Each half of the entities is new
    to the other; None if rows are too few, or at a rate of 10 %, where it shows best, no more of both are flagged
    than the 95 % beta-binomial intervals allow.
    """
    rng = np.random.default_rng(0)
    order = rng.permutation(int(entities.max()) + 1)
    rank = np.argsort(order)[entities]
    picked = np.flatnonzero(np.bincount(rank).cumsum()[rank] <= max(ROWS, np.bincount(rank)[:2].sum()))
    flagged, total, surplus = 0, 0, 0.0
    for half in (0, 1):
        new = picked[rank[picked] % 2 == half]
        known = rng.permutation(picked[rank[picked] % 2 != half])
        size = max(int(SHARE * len(known)), fewest(rate))
        if not len(new) or len(known) < 2 * size:
            return None
        search = NearestNeighbors(n_neighbors=1, algorithm="brute").fit(points[known[size:]])
        scores, others = (search.kneighbors(points[rows])[0][:, 0].round(DIGITS) for rows in (known[:size], new))
        high, own = (Calibration.of(scores, level, DIGITS) for level in (max(rate, EVIDENT_RATE), rate))
        expected = stats.betabinom(len(new), high.rank, high.size + 1 - high.rank)
        surplus += high.anomalies(others).sum() - expected.ppf((1 + CONFIDENCE) / 2)
        flagged, total = flagged + int(own.anomalies(others).sum()), total + len(new)
    return Inflation(column, len(order), rate, flagged / total) if surplus > 0 and flagged > rate * total else None


def _alikeness(points: Floats, candidates: Mapping[str, Positions], *, ordered: bool = False) -> dict[str, float]:
    """For each candidate how much oftener than by chance a row's nearest neighbour has its value, where it does.

    Candidates that are `ordered` are left out where neighbours of other values have similar ones, as of a quantity.
    """
    rows = np.random.default_rng(0).permutation(len(points))[:SAMPLE]
    near = NearestNeighbors(n_neighbors=2, algorithm="brute").fit(points).kneighbors(points[rows])[1]
    nearest = np.where(near[:, 0] == rows, near[:, 1], near[:, 0])
    alike = {}
    for name, codes in candidates.items():
        counts = np.bincount(codes)
        chance = float((counts * (counts - 1.0)).sum() / (len(codes) * (len(codes) - 1.0)))
        same = int((codes[rows] == codes[nearest]).sum())
        apart = codes[rows] != codes[nearest]
        if (
            ordered
            and apart.sum() > 2
            and stats.kendalltau(codes[rows][apart], codes[nearest][apart])[1] < SIGNIFICANCE
        ):
            continue
        if stats.binom.sf(same - 1, len(rows), chance) < SIGNIFICANCE:
            alike[name] = same / len(rows) - chance
    return alike


def _effective(codes: Positions) -> float:
    """The number of values of equal frequency among which two rows agree as often as among these, (n,)."""
    counts = np.bincount(codes)
    return float(counts.sum() ** 2 / max((counts.astype(np.float64) ** 2).sum(), 1))


def _design(x: Matrix, schema: Schema) -> tuple[Floats, Array]:
    """Encoded rows, (n, features), as points, (n, axes), and the column of each axis.

    What is missing is 0, the mean, and levels that differ are at a distance of 1; columns of many levels say nothing.
    """
    axes: list[Floats] = []
    columns: list[str] = []
    for feature, values in zip(schema.features(), x.astype(np.float64).T, strict=True):
        if feature.kind == "level":
            levels = np.unique(np.nan_to_num(values, nan=-1))
            parts = [(values == level) / np.sqrt(2) for level in levels[levels >= 0]][: MOST_LEVELS + 1]
            parts = parts if len(parts) <= MOST_LEVELS else []
        else:
            parts = [np.nan_to_num(values)]
        axes += parts
        columns += [schema.columns[feature.column].name] * len(parts)
    return (np.stack(axes, axis=1) if axes else np.zeros((len(x), 0))), np.array(columns, str)
