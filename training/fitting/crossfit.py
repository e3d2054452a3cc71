"""Cross-fitting: the rows of a table in folds, each judged by a model that was fitted to the rows of all others."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec
import numpy as np
import torch

from kilter.service.detector.arrays import Floats, Matrix, Positions
from kilter.service.detector.columns import NumericColumn
from kilter.service.detector.columns.base import LIMIT
from kilter.service.detector.detector import Scorer
from kilter.service.detector.errors import KilterError
from kilter.service.detector.inputs import Table, take
from kilter.service.detector.modalities import modality_of
from kilter.service.detector.runtime import OUTPUTS, pick_device
from kilter.service.detector.schema import Schema
from kilter.service.detector.scores import kind_of_score
from kilter.service.detector.scores.base import ScoredNetwork
from kilter.training.config import TrainConfig
from kilter.training.fitting.diagnosis import fit_or_remedy
from kilter.training.fitting.fit import FitProgress
from kilter.training.fitting.model import CHUNK, score_around, suspicion
from kilter.training.fitting.split import SMALLEST_TABLE, fit_schema

PARTS = 5
FOREST_ROWS = 30_000  # most rows by which it is decided how numbers are standardised
FEWEST_ROWS = -(-SMALLEST_TABLE * PARTS // (PARTS - 1))
"""Distinct rows of which all parts but one are as many as a model is fitted to at least."""

FoldProgress = Callable[[int, int], FitProgress]
"""Takes the number of a fold, from 1, and of all, and gives what follows the fit of its model."""


class FoldModel(NamedTuple):
    """A model, and the rows of the table that it judges, of which it saw neither one nor a copy."""

    rows: Positions
    scorer: Scorer


class OutOfFit(NamedTuple):
    """The models of all folds, and the scores of the rows, (rows of the table,), NaN where a row was not judged."""

    models: tuple[FoldModel, ...]
    scores: Floats


class TorchModule:
    """A fitted network with its score as a program (`detector.runtime`) that was not exported."""

    device = "cpu"

    def __init__(self, module: ScoredNetwork) -> None:
        self._module = module

    def run(self, x: Matrix, outputs: Sequence[str]) -> list[Floats]:
        parts = []
        with torch.no_grad():
            for rows in torch.split(torch.from_numpy(x), CHUNK):
                result = dict(zip(OUTPUTS, self._module(rows), strict=True))
                parts.append([result[name].double().numpy() for name in outputs])
        return [np.concatenate(part) for part in zip(*parts, strict=True)]


def divide_rows(rows: Positions, groups: Positions, seed: int) -> list[Positions]:
    """The rows, (n,), in folds at random, ascending; those of one of the `groups`, (n,), are in one fold.

    The number of groups is about the same in each. Raises KilterError, which names the number of rows needed, if there
    are too few.
    """
    codes = np.unique(groups, return_inverse=True)[1]
    distinct = int(codes.max(initial=-1)) + 1
    if distinct < FEWEST_ROWS:
        which = f"{len(rows):,} rows" if distinct == len(rows) else f"{distinct:,} distinct rows among {len(rows):,}"
        raise KilterError(
            f"there are {which} to scan, and at least {FEWEST_ROWS} are needed, since each is judged by a model of the "
            "others: give more rows"
        )
    order = np.random.default_rng(seed).permutation(distinct)
    return [np.sort(rows[np.isin(codes, part)]) for part in np.array_split(order, PARTS)]


def cross_fit(
    table: Table, draft: Schema, folds: Sequence[Positions], config: TrainConfig, progress: FoldProgress
) -> OutOfFit:
    """Fit a model for each fold to the rows of the others, and score the rows of the fold by it.

    Nothing that a model consists of, statistics of columns included, depends on the rows that it judges.
    """
    scores = np.full(table.rows, np.nan)
    models = []
    for i, rows in enumerate(folds):
        fitted = np.sort(np.concatenate([part for j, part in enumerate(folds) if j != i]))
        scorer = _fit(table, draft, fitted, config, progress(i + 1, len(folds)))
        scores[rows] = scorer.score(take(table, rows)).score
        models.append(FoldModel(rows, scorer))
    return OutOfFit(tuple(models), scores)


def _fit(table: Table, draft: Schema, rows: Positions, config: TrainConfig, progress: FitProgress) -> Scorer:
    """What scores records, fitted to some rows of a table."""
    schema = steady_schema(draft, table, rows, config.seed)
    modality = modality_of(schema)
    x = np.concatenate([*modality.encode(take(table, rows))])
    network, _, _ = fit_or_remedy(x, schema, config.fit, config.seed, pick_device(config.device), None, progress)
    kind = kind_of_score(config.score, modality.name)
    module, _ = score_around(network.cpu(), kind, x, x[:0], schema, config)
    return Scorer(modality_of(schema, module.score.grid), TorchModule(module))


def steady_schema(draft: Schema, table: Table, rows: Positions, seed: int) -> Schema:
    """The schema of some rows of a table, with numbers standardised by those that an isolation forest finds nothing
    against.

    A few numbers far out make the deviation of a column so large that none of them is far out any more; the forest,
    which knows order alone, is not misled. A column in which the others hardly vary stays as it is.
    """
    schema = fit_schema(draft, table, rows)
    drawn = rows if len(rows) <= FOREST_ROWS else np.random.default_rng(seed).permutation(rows)[:FOREST_ROWS]
    x = np.concatenate([*modality_of(schema).encode(take(table, drawn))])
    points = np.nan_to_num(x)
    usual = x[~suspicion(points, seed)(points)].astype(np.float64)
    columns = list(schema.columns)
    for values, feature in zip(usual.T, schema.features(), strict=True):
        column, present = columns[feature.column], values[~np.isnan(values)]
        if isinstance(column, NumericColumn) and column.affine and len(present) and present.std() * LIMIT > 1:
            center, scale = column.center + column.scale * float(present.mean()), column.scale * float(present.std())
            columns[feature.column] = msgspec.structs.replace(column, center=center, scale=scale)
    return msgspec.structs.replace(schema, columns=tuple(columns))
