"""Tests of `detector.networks.tabular`: the mathematics of the network's distributions."""

import itertools
import math
from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.distributions import Independent, Normal, kl_divergence

from kilter.service.detector.columns import Feature
from kilter.service.detector.columns.boolean import UNSEEN
from kilter.service.detector.networks.base import Posterior
from kilter.service.detector.networks.tabular import TabularShape, TabularVAE

FEATURES = (
    Feature(0, "level", 3),
    Feature(1, "gaussian"),
    Feature(2, "flag"),
    Feature(3, "gaussian"),
    Feature(4, "level", 2),
    Feature(4, "level", 4),
)
NAN = float("nan")


@pytest.fixture
def network() -> TabularVAE:
    """A network with every kind of feature, its priors away from their defaults."""
    torch.manual_seed(0)
    network = TabularVAE(TabularShape(FEATURES, 5, 2, 16, 3, 3))
    network.flag_floor.fill_(0.01)
    network.unseen.copy_(torch.tensor([0.05, 0.02, 0.001]))
    network.missing.copy_(torch.tensor([0.1, 0.01, 0.2, 0.01, 0.3]))
    return network.eval()


def row(*values: float) -> torch.Tensor:
    """One encoded record."""
    return torch.tensor([values], dtype=torch.float32)


def surprise(network: TabularVAE, x: torch.Tensor, z: torch.Tensor) -> torch.Tensor:
    """-log p(x_j | z) of each feature for the first member, (n, features)."""
    with torch.no_grad():
        return network.surprise(x, network.decode(z.expand(2, len(x), 3)))[0]


def test_the_probabilities_of_a_feature_sum_to_one(network: TabularVAE) -> None:
    """Levels and the unseen one, and both values of a flag, share a probability of one; a density integrates to it."""
    z = torch.randn(2, 1, 3)
    for feature, codes in ((0, 4), (4, 3), (5, 5), (2, 2)):
        x = row(0, 0, 0, 0, 0, 0).repeat(codes, 1)
        x[:, feature] = torch.arange(codes)
        assert torch.exp(-surprise(network, x, z)[:, feature]).sum() == pytest.approx(1, abs=1e-5)
    grid = torch.linspace(-60, 60, 40_001)
    x = row(0, 0, 0, 0, 0, 0).repeat(len(grid), 1)
    x[:, 1] = grid
    density = torch.exp(-surprise(network, x, z)[:, 1])
    assert torch.trapezoid(density, grid) == pytest.approx(1, abs=1e-3)


def test_a_number_that_is_no_flag_costs_the_least_probability_that_a_flag_can_have(network: TabularVAE) -> None:
    """1 / (n + 2) by the rule of succession, whatever the rest of the record is."""
    for z in torch.randn(5, 2, 1, 3):
        cost = surprise(network, row(0, 0, UNSEEN, 0, 0, 0), z)[0, 2]
        assert float(cost) == pytest.approx(-math.log(0.01), rel=1e-6)


def test_an_unseen_level_costs_the_negative_logarithm_of_its_probability(network: TabularVAE) -> None:
    """The amount is principled, and the same whatever the record."""
    x = row(3, 0, 1, 0, 2, 4)
    assert surprise(network, x, torch.randn(2, 1, 3))[0, [0, 4, 5]].tolist() == pytest.approx(
        [-torch.log(u).item() for u in network.unseen], abs=1e-5
    )


def test_the_kl_term_is_that_of_the_textbook() -> None:
    """The closed form agrees with torch's own."""
    posterior = Posterior(torch.randn(2, 7, 3), torch.randn(2, 7, 3))
    q = Independent(Normal(posterior.mean, (0.5 * posterior.log_variance).exp()), 1)
    p = Independent(Normal(torch.zeros(3), torch.ones(3)), 1)
    torch.testing.assert_close(posterior.kl(), kl_divergence(q, p), rtol=1e-4, atol=1e-5)


def test_a_missing_value_costs_its_own_surprise_and_nothing_of_the_feature(network: TabularVAE) -> None:
    """A column's term is -log of the probability that it is missing, once, whatever its number of features."""
    x = row(0, NAN, 1, 0.3, NAN, NAN)
    with torch.no_grad():
        surprised = network.surprise(x, network.decode(torch.zeros(2, 1, 3)))
        terms = network.column_terms(x, surprised)[0, 0]
    assert surprised[:, 0, [1, 4, 5]].abs().max() == 0
    assert terms[1] == pytest.approx(-torch.log(network.missing[1]).item(), rel=1e-5)
    assert terms[4] == pytest.approx(-torch.log(network.missing[4]).item(), rel=1e-5)


def test_what_is_masked_does_not_reach_the_posterior(network: TabularVAE) -> None:
    """A hidden feature changes nothing, whatever its value."""
    x = row(1, 0.5, 1, -0.2, 0, 3)
    other = row(1, 9.0, 0, -0.2, 0, 3)
    shown = torch.tensor([[1.0, 0, 0, 1, 1, 1]])
    seen = network.pick(shown, "dense_feature")
    first, second = (network.encode_masked(network.dense(v) * seen, shown).mean for v in (x, other))
    torch.testing.assert_close(first, second)


def test_the_forward_pass_adds_up(network: TabularVAE) -> None:
    """Column terms sum to the reconstruction, and every output is finite, even far out and with all missing."""
    x = torch.cat([torch.randn(4, 1).sign() * 0, torch.randn(4, 1), torch.ones(4, 1), torch.randn(4, 1)], 1)
    x = torch.cat([x, torch.zeros(4, 2)], 1)
    x = torch.cat([x, torch.full((1, 6), NAN), row(0, 1e6, 1, -1e6, 0, 0)])
    with torch.no_grad():
        view = network.see(x)
        expected = network.expected(x, view.likelihood)
    torch.testing.assert_close(view.terms.sum(-1), view.reconstruction)
    for output in (view.reconstruction, view.kl, view.terms, expected):
        assert torch.isfinite(output).all()
    assert expected.shape == (6, 6)
    assert (view.kl >= 0).all()


@pytest.mark.parametrize("kinds", [k for n in (1, 2) for k in itertools.combinations(("gaussian", "flag", "level"), n)])
def test_a_network_may_lack_any_kind_of_feature(kinds: tuple[str, ...]) -> None:
    """Tables of flags alone, of levels alone, and so on, are ordinary."""
    features = tuple(Feature(i, kind, 2 if kind == "level" else 0) for i, kind in enumerate(kinds))  # type: ignore[arg-type]
    network = TabularVAE(TabularShape(features, len(features), 1, 8, 2, 2)).eval()
    with torch.no_grad():
        view = network.see(torch.zeros(3, len(features)))
    assert all(torch.isfinite(output).all() for output in (view.reconstruction, view.kl, view.terms))


def test_a_code_decodes_to_what_the_network_expects(network: TabularVAE) -> None:
    """All members of a record are in its code, so that nothing is lost between the two programs."""
    x = torch.tensor([[0.0, 0.5, 1.0, NAN, 1.0, 3.0], [2.0, NAN, 0.0, -0.7, 0.0, 1.0]])
    with torch.no_grad():
        code = network.code(x)
        decoded, _ = network.decoded(code, torch.zeros(2, network.noise_size))
        wanted = network.expected(x, network.infer(x)[2])
    assert code.shape == (2, network.code_size)
    assert torch.equal(decoded, wanted)


def test_what_is_drawn_follows_the_likelihood(network: TabularVAE) -> None:
    """Levels, flags, numbers and missing values come as often as a mixture of the members says."""
    draws = 40_000
    torch.manual_seed(1)
    code = torch.randn(1, network.code_size).expand(draws, -1)
    with torch.no_grad():
        drawn = network.decoded(code, torch.randn(draws, network.noise_size))[1]
        likelihood = network.decode(code[:1].reshape(1, 2, 3).transpose(0, 1))
    present = ~drawn.isnan()
    columns = torch.tensor([feature.column for feature in FEATURES])
    close = partial(torch.testing.assert_close, atol=4 * 0.5 / math.sqrt(0.6 * draws), rtol=0.0)
    close(1 - present.float().mean(0), network.missing[columns])
    start = 0
    for i in (0, 4, 5):
        levels = FEATURES[i].levels
        chances = likelihood.level[:, 0, start : start + levels].exp()
        wanted = (chances / chances.sum(-1, keepdim=True)).mean(0)
        codes = drawn[present[:, i], i]
        shares = torch.stack([(codes == code).float().mean() for code in range(levels)])
        close(shares, wanted)
        start += levels
    flags = drawn[present[:, 2], 2]
    close(flags.mean(), likelihood.flag[:, 0, 0].mean())
    for place, i in enumerate((1, 3)):
        numbers = drawn[present[:, i], i]
        mean = likelihood.expected_number()[:, 0, place].mean()
        assert abs(numbers.mean() - mean) < 4 * numbers.std() / math.sqrt(len(numbers))
    assert torch.equal(drawn[:, 4].isnan(), drawn[:, 5].isnan())  # the features of a column are missing together


def test_the_members_of_a_drawn_record_are_one(network: TabularVAE) -> None:
    """Two values that differ between the members are never drawn from one member each."""
    with torch.no_grad():
        network.decoder.biases[-1].zero_()
        for weight in network.decoder.weights:
            weight.zero_()
        numbers = 3 * 2
        for member, mean in enumerate((-40.0, 40.0)):
            network.decoder.biases[-1][member, :, numbers : 2 * numbers] = mean
        network.missing.fill_(0.0)
        noise = torch.randn(500, network.noise_size)
        drawn = network.decoded(torch.zeros(500, network.code_size), noise)[1]
    assert torch.equal(drawn[:, 1] > 0, drawn[:, 3] > 0)
    assert 0.3 < (drawn[:, 1] > 0).float().mean() < 0.7


@given(st.floats(0.1, 3), st.integers(0, 99))
def test_a_deviation_that_is_fixed_makes_the_surprise_a_squared_error(sigma: float, seed: int) -> None:
    """In units of the deviation, and above that of a value that is just as expected."""
    features = tuple(Feature(i, "gaussian") for i in range(3))
    network = TabularVAE(TabularShape(features, 3, 1, 8, 2, 1, sigma)).eval()
    generator = torch.Generator().manual_seed(seed)
    x, z = torch.randn(5, 3, generator=generator), torch.randn(1, 5, 2, generator=generator)
    likelihood = network.decode(z)
    square = (x - network.expected(x, likelihood)).square() / (2 * sigma**2)
    constant = math.log(sigma) + 0.5 * math.log(2 * math.pi)
    assert torch.allclose(network.surprise(x, likelihood)[0], square + constant, atol=1e-4, rtol=1e-4)
