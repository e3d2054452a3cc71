"""Tests of `detector.scores.density`: the density of a mixture of Gaussians."""

import math

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

from kilter.service.detector.networks.linear import LEAST_NOISE
from kilter.service.detector.scores import density
from kilter.service.detector.scores.base import Material
from kilter.service.detector.scores.density import MixtureDensity
from kilter.training.fitting.model import score_rows
from tests.support.shallow import MIXED, ROWS, linear, mixed_rows, numbers_only, outputs_of, program_of


def clusters(rows: int, columns: int, seed: int) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Numbers in three clusters."""
    rng = np.random.default_rng(seed)
    centers = 2 * np.random.default_rng(9).normal(size=(3, columns))
    return (centers[rng.integers(3, size=rows)] + 0.3 * rng.normal(size=(rows, columns))).astype(np.float32)


def test_it_is_the_density_that_scikit_learn_has() -> None:
    """Of a mixture of as many components, which the criterion finds to be more than one."""
    x, new = clusters(600, 4, 0), clusters(100, 4, 1)
    program, _ = program_of("gmm", x, numbers_only(4, 600))
    assert isinstance(program.score, MixtureDensity)
    components = program.score.shape.components
    assert components > 1
    fitted = GaussianMixture(components, reg_covar=LEAST_NOISE, random_state=0).fit(x.astype(np.float64))
    assert score_rows(program, new) == pytest.approx(-fitted.score_samples(new), abs=1e-3)


def test_of_many_axes_the_density_is_that_of_principal_ones_and_noise(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Gaussian in two of six axes, with equal noise in the others, has the covariance of the six, and its density."""
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(500, 2)) @ rng.normal(size=(2, 6)) + 0.3 * rng.normal(size=(500, 6))).astype(np.float32)
    whole, _ = program_of("gmm", x, numbers_only(6, 500))
    monkeypatch.setattr(density, "MOST_AXES", 2)
    part, _ = program_of("gmm", x, numbers_only(6, 500))
    assert isinstance(part.score, MixtureDensity)
    assert part.score.root.shape == (2, 2 * part.score.shape.components)
    assert np.abs(score_rows(part, x) - score_rows(whole, x)).mean() < 0.3
    assert np.corrcoef(score_rows(part, x), score_rows(whole, x))[0, 1] > 0.97


def test_what_no_row_has_costs_its_probability() -> None:
    """An unseen level makes of the record one without any level, and adds log(n + 2) nats."""
    program, _ = program_of("gmm", mixed_rows(ROWS))
    assert isinstance(program.score, MixtureDensity)
    points, once = torch.zeros(1, 9), torch.ones(1, 1)
    with torch.no_grad():
        added = program.score.value(points, once, None) - program.score.value(points, 0 * once, None)
    assert added.item() == pytest.approx(math.log(ROWS + 2), rel=1e-5)
    odd = mixed_rows(5, seed=1)
    odd[:, 6] = 3
    assert (outputs_of(program, odd)[0] > outputs_of(program, mixed_rows(5, seed=1))[0]).all()


def test_it_needs_what_fits_a_mixture() -> None:
    x = torch.from_numpy(mixed_rows(ROWS))
    parts = [torch.arange(ROWS)]
    with pytest.raises(TypeError, match="mixtures"):
        MixtureDensity.fit(linear(x.numpy()), Material(MIXED, x, parts, parts, x[:0], seed=0))
