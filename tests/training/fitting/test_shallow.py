"""Tests of `fitting.shallow`: shallow models that scikit-learn fits."""

import numpy as np
import pytest

from kilter.training.fitting.shallow import fit_density, grow_forest, usual_path


def test_the_usual_path_is_that_of_a_search_that_fails() -> None:
    """c(n) of Liu, Ting and Zhou: 0 and 1 of one and two rows, and 10.24 of 256."""
    assert usual_path(np.array([1, 2, 256])).tolist() == pytest.approx([0, 1, 10.2448], abs=1e-4)


def test_the_usual_path_is_the_mean_of_random_trees() -> None:
    """Of rows that are split at random until each is alone."""
    rng = np.random.default_rng(0)

    def path(rows: int) -> float:
        """The length of the path of a random row."""
        length = 0
        while rows > 1:
            lower = int(rng.integers(1, rows))
            rows, length = (lower if rng.random() < lower / rows else rows - lower), length + 1
        return length

    assert np.mean([path(64) for _ in range(4_000)]) == pytest.approx(usual_path(np.array([64]))[0], abs=0.15)


def test_leaves_go_on_at_themselves() -> None:
    """So that all trees are walked with as many steps; every other node goes further down."""
    trees = grow_forest(np.random.default_rng(0).normal(size=(100, 3)).astype(np.float32), 0)
    here = np.arange(len(trees.length))
    leaf = trees.lower == here
    assert (trees.higher[leaf] == here[leaf]).all()
    assert (trees.lower[~leaf] > here[~leaf]).all()
    assert (trees.length[leaf] > 0).all()
    assert trees.length[leaf].max() <= trees.depth + usual_path(np.array([100]))[0]


def test_few_rows_get_more_noise() -> None:
    """So that new rows are not far out for their number of axes alone: 25 rows of 40 axes, and 2,000."""
    rng = np.random.default_rng(0)
    points, new = rng.normal(size=(2, 2_000, 40))
    surprise = []
    for rows in (25, 2_000):
        _, means, roots = fit_density(points[:rows], 0.01, 0)
        assert len(means) == 1
        standard = ((new - means[0]) @ roots[0]) ** 2
        surprise.append(0.5 * standard.sum(1).mean() - np.log(np.diag(roots[0])).sum())
    assert surprise[1] == pytest.approx(20, abs=1)
    assert surprise[0] < 40


@pytest.mark.parametrize("clusters", [1, 2, 8])
def test_a_mixture_has_as_many_components_as_it_needs(clusters: int) -> None:
    """Of clusters that lie far apart, and no more than rows allow."""
    rng = np.random.default_rng(0)
    points = 20.0 * rng.integers(clusters, size=(2_000, 1)) + rng.normal(size=(2_000, 3))
    weights, means, roots = fit_density(points, 0.01, 0)
    assert len(weights) == clusters
    assert weights.sum() == pytest.approx(1)
    assert means.shape == (clusters, 3)
    assert roots.shape == (clusters, 3, 3)
    assert len(fit_density(points[:15], 0.01, 0)[0]) == 1
