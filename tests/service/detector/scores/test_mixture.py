"""Tests of `detector.scores.mixture`: against scikit-learn's mixture of Gaussians."""

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

from kilter.service.detector.scores.mixture import build_mixture
from kilter.training.fitting.shallow import fit_gaussians


def correlated(count: int) -> torch.Tensor:
    """Rows of four related numbers."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(count, 2))
    return torch.from_numpy(np.column_stack([z, z @ [[1, 0.5], [0.5, -1]] + 0.1 * rng.normal(size=(count, 2))])).float()


def test_it_is_the_density_of_the_mixture_that_was_fitted() -> None:
    """Up to one constant."""
    x = correlated(400)
    mixture = build_mixture(x, fit_gaussians, 0)
    peer = GaussianMixture(5, reg_covar=1e-3, random_state=0).fit(x.double().numpy())
    new = correlated(50) + torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = mixture(new).numpy()
    want = -peer.score_samples(new.double().numpy())
    assert found - found[0] == pytest.approx(want - want[0], rel=1e-3, abs=1e-2)


@pytest.mark.parametrize("rows", [1, 3, 20])
def test_few_rows_and_constant_ones_have_a_mixture(rows: int) -> None:
    """Fewer rows than components, and copies: a ridge keeps the covariances positive definite."""
    for x in (correlated(rows), torch.zeros(rows, 4)):
        if rows > 1:
            with torch.no_grad():
                assert torch.isfinite(build_mixture(x, fit_gaussians, 0)(x)).all()
