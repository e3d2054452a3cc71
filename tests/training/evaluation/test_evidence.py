"""Tests of `evaluation.evidence`: bounds on log p(x), held against a network of which it is known."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import MultivariateNormal

from kilter.service.detector import Detector, load
from kilter.service.detector.columns import Feature
from kilter.training.evaluation.evidence import bound_likelihood, bound_rows, network_of
from tests.support.artifacts import ARTIFACTS
from tests.support.data import records
from tests.support.linear import LinearShape, LinearVAE

FEATURES, LATENT = 6, 3


def linear(seed: int = 0, off: float = 0.0) -> tuple[LinearVAE, MultivariateNormal]:
    """Probabilistic principal components: x = W z + b + noise, and p(x) = N(b, W W' + s² I) in closed form.

    The encoder gives the exact posterior, whose covariance is diagonal as the columns of W are orthogonal; or one that
    is `off` in its means and deviations.
    """
    generator = torch.Generator().manual_seed(seed)
    network = LinearVAE(LinearShape(tuple(Feature(i, "gaussian") for i in range(FEATURES)), FEATURES, LATENT))
    axes = torch.linalg.qr(torch.randn(FEATURES, LATENT, generator=generator))[0]
    weight = axes * torch.tensor([2.0, 1.0, 0.5])
    center, deviation = torch.randn(FEATURES, generator=generator), 0.6
    precision = weight.square().sum(0) / deviation**2 + 1
    with torch.no_grad():
        network.decoder.weight.copy_(weight)
        network.decoder.bias.copy_(center)
        network.log_sigma.fill_(float(np.log(deviation)))
        network.encoder.weight.copy_((weight / deviation**2 / precision).T * (1 - off))
        network.encoder.bias.copy_(-network.encoder.weight @ center + off)
        network.log_variance.copy_(-precision.log() + off)
    covariance = weight @ weight.T + deviation**2 * torch.eye(FEATURES)
    return network.eval(), MultivariateNormal(center, covariance)


def rows(count: int, true: MultivariateNormal) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the distribution, and their log p(x)."""
    torch.manual_seed(1)
    x = true.sample((count,))
    return x.numpy(), true.log_prob(x).double().numpy()  # type: ignore[no-untyped-call]


def test_with_the_exact_posterior_every_draw_gives_log_p() -> None:
    """The bound is tight from the first draw on, and the ELBO is log p(x)."""
    network, true = linear()
    x, log_p = rows(50, true)
    one = bound_rows(network, x, 1, 0)
    np.testing.assert_allclose(one.bound, log_p, atol=1e-4)
    np.testing.assert_allclose(one.elbo, log_p, atol=1e-4)


def test_the_bound_tightens_to_within_1_percent_of_log_p() -> None:
    """From the ELBO, which a wrong posterior keeps far below, over k = 1, 10, 100 and 1,000."""
    network, true = linear(off=0.4)
    x, log_p = rows(300, true)
    bounds = [bound_rows(network, x, samples, 0) for samples in (1, 10, 100, 1000)]
    means = [float(part.bound.mean()) for part in bounds]
    assert means == sorted(means)
    elbo, optimum = float(bounds[-1].elbo.mean()), float(log_p.mean())
    assert elbo < 1.05 * optimum  # more than 5 % below: both are negative
    assert means[-1] == pytest.approx(optimum, rel=0.01)
    assert means[-1] < optimum + 0.01
    kl = network.posterior(torch.from_numpy(x)).kl()[0].detach().numpy()
    np.testing.assert_allclose(bounds[-1].kl.mean(), kl.mean(), rtol=0.02)


@settings(max_examples=25)
@given(st.integers(0, 2**31), st.integers(1, 40), st.floats(0, 0.8))
def test_the_bound_is_never_below_the_elbo_of_the_same_draws(seed: int, samples: int, off: float) -> None:
    """For no row, by no more than rounding; the ELBO is minus its two parts."""
    network, true = linear(seed, off)
    x, _ = rows(20, true)
    made = bound_rows(network, x, samples, seed)
    assert (made.bound >= made.elbo - 1e-9).all()
    np.testing.assert_allclose(made.elbo, -made.reconstruction - made.kl)
    np.testing.assert_array_equal(bound_rows(network, x, samples, seed).bound, made.bound)


def test_a_model_is_bounded_as_the_mixture_of_its_members(detector: Detector, model_folder: Path) -> None:
    """Rebuilt from its artifact; by a random part of the rows where these are many."""
    network = network_of(model_folder)
    assert network.members > 1
    table = detector.table(records(np.random.default_rng(2), 60))
    few, many = (bound_likelihood(network, detector.modality, table, samples, 0) for samples in (1, 50))
    assert (few.samples, few.rows, many.samples) == (1, 60, 50)
    assert few.elbo.value is not None
    assert few.bound.value is not None
    assert many.bound.value is not None
    assert few.elbo.value < few.bound.value < many.bound.value
    assert bound_likelihood(network, detector.modality, table, 1, 0, most=10).rows == 10


@pytest.mark.parametrize("name", ["format-1", "format-2", "format-1-pictures"])
def test_old_models_have_evidence_too(name: str) -> None:
    """Whatever score is around their network, which alone is rebuilt."""
    old = load(ARTIFACTS / name)
    bound = bound_likelihood(network_of(ARTIFACTS / name), old.modality, old.table(old.probes.records), 3, 0)
    assert bound.bound.value is not None
    assert bound.elbo.value is not None
    assert bound.elbo.value <= bound.bound.value
