"""Detectors without a fitted VAE, around encoded rows of a table with every kind of feature."""

import numpy as np
import torch
from torch import Tensor

from kilter.service.detector.arrays import Matrix
from kilter.service.detector.columns import BooleanColumn, CategoricalColumn, Column, NumericColumn
from kilter.service.detector.networks.linear import LinearVAE
from kilter.service.detector.schema import Schema
from kilter.service.detector.scores.base import ScoredNetwork
from kilter.training.config import TrainConfig, with_detector
from kilter.training.fitting.fit import fit
from kilter.training.fitting.model import score_around

SIMPLE = ("nearest", "pca", "iforest", "gmm")
ROWS = 300
COLUMNS: tuple[Column, ...] = (
    *(NumericColumn(f"n{i}", 0, 1, -3, 3, missing=20 * (i == 1)) for i in range(4)),
    NumericColumn("constant", 0, 1, 7, 7, constant=7.0),
    BooleanColumn("flag", ("1",), ("0",)),
    CategoricalColumn("level", ("a", "b", "c"), (200, 60, 40)),
)
MIXED = Schema(COLUMNS, ROWS)


def mixed_rows(count: int, seed: int = 0) -> Matrix:
    """Encoded normal rows of `MIXED`: four numbers of two causes, the second missing now and then, one constant, a flag
    and a level that go with them."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(count, 2))
    numbers = np.column_stack([z, z @ [[1, 0.5], [0.5, -1]] + 0.1 * rng.normal(size=(count, 2))])
    numbers[rng.random(count) < 0.07, 1] = np.nan
    level = (z[:, 1] > 0.5) + 1.0 * (z[:, 1] > 1)
    return np.column_stack([numbers, np.zeros(count), z[:, 0] > 0, level]).astype(np.float32)


def numbers_only(columns: int, rows: int = ROWS) -> Schema:
    """The schema of so many columns of standardised numbers."""
    return Schema(tuple(NumericColumn(f"n{i}", 0, 1, -3, 3) for i in range(columns)), rows)


def linear(x: Matrix, schema: Schema = MIXED) -> LinearVAE:
    """The network fitted to encoded rows."""
    network, history = fit(x, schema, with_detector(TrainConfig(), "pca").fit, seed=0)
    assert isinstance(network, LinearVAE)
    assert history == []
    return network


def program_of(
    detector: str, x: Matrix, schema: Schema = MIXED, calibration: Matrix | None = None, memory: int | None = None
) -> tuple[ScoredNetwork, Tensor | None]:
    """A detector fitted to encoded rows, and the row of its memory that each calibration row is."""
    others = x[:0] if calibration is None else calibration
    return score_around(linear(x, schema), detector, x, others, schema, TrainConfig(memory_rows=memory))


def outputs_of(program: ScoredNetwork, x: Matrix) -> list[Matrix]:
    """All outputs for encoded rows."""
    with torch.no_grad():
        return [output.numpy() for output in program(torch.from_numpy(x))]
