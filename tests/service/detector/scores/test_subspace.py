"""Tests of `detector.scores.subspace`: the distance to the principal subspace."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from kilter.service.detector.columns import CategoricalColumn
from kilter.service.detector.errors import KilterError
from kilter.service.detector.schema import Schema
from kilter.service.detector.scores.subspace import PrincipalSubspace
from kilter.training.fitting.model import score_rows
from tests.support.shallow import numbers_only, program_of


def test_it_is_the_distance_that_scikit_learn_leaves() -> None:
    """With as many components as hold 95 % of the variance."""
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(3, 9))
    x, new = ((rng.normal(size=(n, 3)) @ weights + 0.2 * rng.normal(size=(n, 9))).astype(np.float32) for n in (400, 90))
    program, _ = program_of("pca", x, numbers_only(9, 400))
    pca = PCA(0.95, svd_solver="full").fit(x)
    assert isinstance(program.score, PrincipalSubspace)
    assert program.score.shape.dimensions == len(pca.components_)
    rest = new - pca.inverse_transform(pca.transform(new))
    assert score_rows(program, new) == pytest.approx(np.linalg.norm(rest, axis=1), abs=1e-4)


def test_one_axis_at_least_is_left_over() -> None:
    """Of independent columns too, so that the distance is not 0 for all."""
    x = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    program, _ = program_of("pca", x, numbers_only(2))
    assert np.ptp(score_rows(program, x)) > 0.5


def test_levels_leave_an_axis_over_too() -> None:
    """Each column's are bound to add up to 1, which no record breaks: that axis is not the one that is left over."""
    rng = np.random.default_rng(0)
    first = rng.integers(3, size=300)
    x = np.column_stack([first, np.where(rng.random(300) < 0.9, first, rng.integers(3, size=300))]).astype(np.float32)
    counts = (100, 100, 100)
    schema = Schema((*(CategoricalColumn(name, ("a", "b", "c"), counts) for name in "kl"),), 300)
    program, _ = program_of("pca", x, schema)
    agree, differ = np.split(score_rows(program, np.array([[0, 0], [1, 1], [0, 1], [2, 0]], np.float32)), 2)
    assert differ.min() > agree.max() + 0.2
    alone = Schema((CategoricalColumn("k", ("a", "b"), (200, 100)),), 300)
    with pytest.raises(KilterError, match="only one feature varies"):
        program_of("pca", (x[:, :1] > 1).astype(np.float32), alone)


def test_where_one_axis_varies_it_is_refused() -> None:
    """With what to take instead."""
    x = np.column_stack([np.arange(300) / 100, np.ones(300)]).astype(np.float32)
    with pytest.raises(KilterError, match="--detector nearest or vae"):
        program_of("pca", x, numbers_only(2))
