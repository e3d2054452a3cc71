"""Tests of `detector.scores.mixture`: against scikit-learn's mixture of Gaussians."""

import numpy as np
import pytest
import torch
from sklearn.mixture import GaussianMixture

from kilter.service.detector.columns import Column, NumericColumn
from kilter.service.detector.networks.tabular import TabularShape, TabularVAE
from kilter.service.detector.schema import Schema
from kilter.service.detector.scores.mixture import RawMixture, build_raw_mixture
from kilter.training.fitting.shallow import fit_gaussians

ROWS = 400


def built(columns: tuple[Column, ...], dense: torch.Tensor) -> RawMixture:
    """A mixture of the dense features of numbers."""
    schema = Schema(columns, rows=len(dense))
    network = TabularVAE(TabularShape(schema.features(), len(columns), members=1, hidden=4, latent=2, components=1))
    return build_raw_mixture(network, schema, dense, fit_gaussians, 0)


def correlated(count: int) -> torch.Tensor:
    """Rows of four related numbers with means and scales of their own."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(count, 2))
    x = np.column_stack([z, z @ [[1, 0.5], [0.5, -1]] + 0.1 * rng.normal(size=(count, 2))])
    return torch.from_numpy(x * [1, 5, 0.2, 1] + [0, 3, 0, -8]).float()


def test_it_is_the_density_of_the_mixture_that_was_fitted() -> None:
    """Of standardised numbers, up to one constant."""
    x = correlated(ROWS)
    mixture = built(tuple(NumericColumn(f"n{i}", 0, 1, -3, 3) for i in range(4)), x)
    standard = ((x - x.mean(0)) / x.std(0, correction=0)).double().numpy()
    peer = GaussianMixture(5, reg_covar=1e-3, random_state=0).fit(standard)
    new = correlated(50) + torch.randn(50, 4, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = mixture(new).numpy()
    want = -peer.score_samples(((new - x.mean(0)) / x.std(0, correction=0)).double().numpy())
    assert found - found[0] == pytest.approx(want - want[0], rel=1e-3, abs=1e-2)


def test_a_tamed_number_is_seen_as_it_came() -> None:
    """The encoding is asinh; the mixture of its features is that of the numbers themselves."""
    x = correlated(ROWS)
    amounts = 50 * x[:, :1].abs() ** 3
    plain = (NumericColumn("a", 0, 1, 0, 1e4), NumericColumn("n", 0, 1, -3, 3))
    tame = (NumericColumn("a", 1.5, 0.7, 0, 1e4, "asinh", 2.0, 3.0), plain[1])
    encoded = (torch.asinh((amounts - 2.0) / 3.0) - 1.5) / 0.7
    pair = [built(plain, torch.cat([amounts, x[:, 1:2]], 1)), built(tame, torch.cat([encoded, x[:, 1:2]], 1))]
    with torch.no_grad():
        one = pair[0](torch.cat([amounts, x[:, 1:2]], 1))
        other = pair[1](torch.cat([encoded, x[:, 1:2]], 1))
    torch.testing.assert_close(one - one[0], other - other[0], rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("value", [1e3, -1e3, 1e30])
def test_nothing_is_too_far_away(value: float) -> None:
    """Whatever a feature is, the density is finite."""
    mixture = built(
        tuple(NumericColumn(f"n{i}", 1.5, 0.7, 0, 9, "asinh", 2.0, 3.0) for i in range(4)), correlated(ROWS)
    )
    with torch.no_grad():
        assert torch.isfinite(mixture(torch.full((1, 4), value))).all()


@pytest.mark.parametrize("rows", [1, 3, 20])
def test_few_rows_and_constant_ones_have_a_mixture(rows: int) -> None:
    """Fewer rows than components, and copies: a ridge keeps the covariances positive definite."""
    for x in (correlated(rows), torch.zeros(rows, 4)):
        if rows > 1:
            mixture = built(tuple(NumericColumn(f"n{i}", 0, 1, -3, 3) for i in range(4)), x)
            with torch.no_grad():
                assert torch.isfinite(mixture(x)).all()
