"""Tests of `detector.scores.forest`: an isolation forest as tensors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.ensemble import IsolationForest

from kilter.service.detector.arrays import Matrix
from kilter.service.detector.scores.base import Material
from kilter.service.detector.scores.forest import PathLength
from kilter.training.fitting.model import score_rows
from kilter.training.fitting.shallow import TREES
from tests.support.shallow import MIXED, ROWS, linear, mixed_rows, numbers_only, program_of


@given(st.integers(20, 700), st.integers(1, 6), st.integers(0, 2**32 - 1), st.booleans())
@settings(max_examples=6)
def test_it_is_the_score_that_scikit_learn_has(rows: int, columns: int, seed: int, whole: bool) -> None:
    """Of few rows and of more than a tree takes, of values that are all different and of some that repeat, and at the
    very values where trees split."""
    rng = np.random.default_rng(seed)
    drawn = rng.normal(size=(rows, columns))
    x: Matrix = (np.round(drawn) if whole else drawn).astype(np.float32)
    x[0] += 1  # so that no column is constant
    program, _ = program_of("iforest", x, numbers_only(columns, rows))
    forest = IsolationForest(n_estimators=TREES, random_state=0).fit(x)
    splits: Matrix = forest.estimators_[0].tree_.threshold.astype(np.float32)[:200, None].repeat(columns, 1)
    for new in (x, 3 * rng.normal(size=(100, columns)).astype(np.float32), splits):
        assert score_rows(program, new) == pytest.approx(-forest.score_samples(new), abs=1e-5)


def test_a_novelty_isolates_as_an_axis_of_its_own_would() -> None:
    """The path ends at the first split that draws it, of axes that are as likely: a mean over draws agrees."""
    program, _ = program_of("iforest", mixed_rows(ROWS))
    score = program.score
    assert isinstance(score, PathLength)
    points = torch.zeros(1, score.vectors.axes)
    with torch.no_grad():
        plain, novel, many = (
            -torch.log2(score.value(points, torch.tensor([[count]]), None)).item() * float(score.usual)
            for count in (0.0, 2.0, 50.0)
        )
    drawn = np.random.default_rng(0).geometric(2 / (2 + score.vectors.axes), 200_000)
    ends = np.where(drawn <= plain, drawn, plain)
    assert novel == pytest.approx(ends.mean(), abs=0.15)
    assert 1 <= many < novel < plain


def test_what_is_missing_lies_at_the_mean() -> None:
    """So that a score is the same to the last bit in every batch: no rounding error decides a split."""
    x = mixed_rows(ROWS)
    program, _ = program_of("iforest", x)
    holed, filled = mixed_rows(50, seed=1), mixed_rows(50, seed=1)
    holed[:, 2], filled[:, 2] = np.inf, np.float32(x[:, 2].astype(np.float64).mean())
    assert score_rows(program, holed) == pytest.approx(score_rows(program, filled), abs=1e-6)


def test_it_needs_what_grows_a_forest() -> None:
    x = torch.from_numpy(mixed_rows(ROWS))
    parts = [torch.arange(ROWS)]
    with pytest.raises(TypeError, match="forest"):
        PathLength.fit(linear(x.numpy()), Material(MIXED, x, parts, parts, x[:0], seed=0))
