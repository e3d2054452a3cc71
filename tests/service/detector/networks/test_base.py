"""Tests of `detector.networks.base`: encoded values, robust units, posteriors, and what a network need not give."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.networks.base import (
    Evidence,
    Network,
    PointPosterior,
    Posterior,
    View,
    clean,
    finite,
    latent_size,
    observed,
    robust,
)

FLOATS = st.floats(width=32, min_value=-(2.0**127), max_value=2.0**127)


@given(st.lists(FLOATS | st.sampled_from([float("nan"), float("inf"), float("-inf")]), min_size=1))
def test_a_value_is_kept_and_a_gap_is_nothing(values: list[float]) -> None:
    """Missing and hidden values are not observed, and 0 once they are cleaned; all others stay as they are."""
    x = torch.tensor(values, dtype=torch.float32)
    there = torch.isfinite(x)
    assert torch.equal(finite(x), there)
    assert torch.equal(observed(x), there.float())
    assert torch.equal(clean(x)[there], x[there])
    assert not clean(x)[~there].any()


@given(st.floats(-100, 100), st.floats(0.1, 100))
def test_robust_units_follow_shift_and_scale(shift: float, scale: float) -> None:
    """0 is the median, and 1 the 95 % quantile, whatever a few values far out are."""
    values = torch.linspace(-1, 1, 201)
    values[-3:] = 1e6
    center, unit = robust(values * scale + shift)
    assert center.item() == pytest.approx(shift, abs=1e-3)
    assert unit.item() == pytest.approx(max(0.9 * scale, 0.05), rel=1e-3, abs=1e-3)


def test_the_scale_of_values_that_are_all_equal_has_a_floor() -> None:
    assert [float(part) for part in robust(torch.full((9,), 3.0))] == pytest.approx([3.0, 0.05])


@given(st.integers(1, 100_000))
def test_the_latent_space_grows_with_the_record_within_bounds(values: int) -> None:
    assert 3 <= latent_size(values) <= latent_size(values + 1) <= 32


def test_draws_have_the_moments_of_the_posterior() -> None:
    """And the seed decides them."""
    posterior = Posterior(torch.tensor([[[1.0, -2.0]]]), torch.tensor([[[0.0, 2.0]]]))
    wide = Posterior(*(part.expand(1, 50_000, 2) for part in posterior))
    draws, again = (wide.draw(torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(draws, again)
    torch.testing.assert_close(draws.mean(1), posterior.mean[:, 0], atol=0.05, rtol=0)
    torch.testing.assert_close(draws.var(1).log(), posterior.log_variance[:, 0], atol=0.05, rtol=0)


def test_the_prior_has_no_divergence_from_itself_and_all_else_has() -> None:
    zero = torch.zeros(2, 3, 4)
    assert not Posterior(zero, zero).kl().any()
    assert (Posterior(zero + 0.5, zero - 1).kl_by_dimension() > 0).all()


def test_a_network_that_gives_nothing_says_so() -> None:
    """Records are seen as they are, columns are values, and training shows a batch whole unless a network says else."""
    network, x = Network(), torch.zeros(2, 3)
    assert network.inputs(x) is x
    assert network.column_terms(x, x) is x
    generator = torch.Generator()
    for call in (
        lambda: network.encode(x),
        lambda: network.decode(x),
        lambda: network.surprise(x, None),
        lambda: network.expected(x, None),
        network.evidence,
        lambda: network.shown(x, generator),
    ):
        with pytest.raises(NotImplementedError):
            call()
    posterior = Posterior(x, x)
    with pytest.raises(NotImplementedError):
        Evidence()(network, x, View(x, posterior, None, x, x, x))


@given(st.integers(1, 5), st.integers(0, 99))
def test_a_point_is_drawn_as_it_is_and_costs_nothing(points: int, seed: int) -> None:
    """Dimensions beside it are drawn and cost as of any posterior."""
    generator = torch.Generator().manual_seed(seed)
    mean, log_variance = torch.randn(2, 2, 3, points + 2, generator=generator)
    free = Posterior(mean[..., points:], log_variance[..., points:])
    mixed = PointPosterior(mean, torch.cat([torch.full((2, 3, points), -torch.inf), free.log_variance], dim=-1))
    z = mixed.draw(generator)
    assert torch.equal(z[..., :points], mean[..., :points])
    assert torch.allclose(mixed.kl(), free.kl())
    assert torch.allclose(mixed.excess(z), free.excess(z[..., points:]))
