"""Autoencoders: a code is a point, and draws come from the Gaussian of the codes."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from kilter.service.detector.columns import BooleanColumn, NumericColumn
from kilter.service.detector.networks.autoencoder import PictureAutoencoder, TabularAutoencoder
from kilter.service.detector.networks.pictures import PictureShape
from kilter.service.detector.schema import Schema
from kilter.training.config import FitConfig
from kilter.training.fitting.fit import fit

SCHEMA = Schema(
    (*(NumericColumn(f"n{i}", 0, 1, -3, 3) for i in range(4)), BooleanColumn("b", ("1",), ("0",))), rows=300
)


@pytest.fixture(scope="module")
def x() -> npt.NDArray[np.float32]:
    """300 encoded rows on a plane, with a flag."""
    rng = np.random.default_rng(0)
    z = rng.normal(size=(300, 2))
    return np.column_stack([z, z @ [[1, 0.5], [0.5, -1]], z[:, 0] > 0]).astype(np.float32)


def test_a_fitted_autoencoder_gives_rows_back_and_draws_codes_like_theirs(x: npt.NDArray[np.float32]) -> None:
    """Draws have the mean and covariance of the codes of the fitting rows."""
    network, history = fit(x, SCHEMA, FitConfig(model="ae", steps=300, hidden=32, latent=2), seed=0)
    assert isinstance(network, TabularAutoencoder)
    assert {epoch.kl for epoch in history} == {0.0}
    with torch.no_grad():
        rows = torch.from_numpy(x)
        view = network.see(rows)
        left = network.expected(rows, view.likelihood)[:, :4] - rows[:, :4]
    assert left.square().mean() < 0.1
    assert torch.equal(view.kl, torch.zeros(300))
    drawn = network.sample(20_000, torch.Generator().manual_seed(0))
    for member in range(2):
        codes = view.posterior.mean[member]
        deviation = codes.std(0, correction=0)
        assert torch.allclose(drawn[member].mean(0), codes.mean(0), atol=0.05 * float(deviation.max()))
        wanted, made = (torch.cov(part.T, correction=0) for part in (codes, drawn[member]))
        assert torch.allclose(made, wanted, atol=0.05 * float(deviation.max()) ** 2)


def test_pictures_have_points_too() -> None:
    """The encoder gives one number for each dimension; a constant code still has a root to draw by."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = PictureAutoencoder(PictureShape(12, 12, 1, 8, 3)).eval()
    x = torch.rand(1, 144).repeat(5, 1)
    with torch.no_grad():
        assert network.posterior(x).mean.shape == (1, 5, 3)
        network.finish(x)
    assert torch.allclose(
        network.sample(4, torch.Generator().manual_seed(0)), network.posterior(x).mean[:, :1], atol=1e-5
    )
