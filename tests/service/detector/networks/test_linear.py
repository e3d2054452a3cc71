"""Tests of `detector.networks.linear`: a linear-Gaussian VAE in closed form."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.decomposition import PCA

from kilter.service.detector.arrays import Matrix
from kilter.service.detector.columns import CategoricalColumn
from kilter.service.detector.networks.linear import LEAST_NOISE, LinearVAE, moments, subspace_size
from kilter.service.detector.schema import Schema
from kilter.service.detector.scores import kind_of_score
from kilter.training.config import FitConfig, TrainConfig
from kilter.training.fitting.fit import fit
from kilter.training.fitting.model import score_around
from tests.support.shallow import MIXED, ROWS, linear, mixed_rows, numbers_only, outputs_of

NAN, INF = float("nan"), float("inf")


def factors(columns: int, causes: int, count: int = ROWS, seed: int = 0) -> Matrix:
    """Standard numbers that follow a few causes."""
    rng = np.random.default_rng(seed)
    weights = np.random.default_rng(1).normal(size=(causes, columns))
    x = rng.normal(size=(count, causes)) @ weights + 0.3 * rng.normal(size=(count, columns))
    standard: Matrix = ((x - x.mean(0)) / x.std(0)).astype(np.float32)
    return standard


def covariance_of(network: LinearVAE) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
    """That of the numbers under the network."""
    loading = network.loading.double().numpy()
    return np.asarray(loading @ loading.T + float(network.noise) * np.eye(len(loading)))


def test_it_is_the_model_of_greatest_likelihood() -> None:
    """scikit-learn's PCA has the same components, noise and likelihood (Tipping and Bishop, 1999)."""
    x = factors(8, 3)
    network = linear(x, numbers_only(8))
    pca = PCA(network.latent, svd_solver="full").fit(x)
    assert network.latent == len(PCA(0.95, svd_solver="full").fit(x).components_)
    assert float(network.noise) == pytest.approx(pca.noise_variance_, rel=1e-5)
    assert covariance_of(network) == pytest.approx(pca.get_covariance(), abs=1e-5)


def test_the_elbo_is_the_likelihood() -> None:
    """Of a linear-Gaussian model the bound is tight: its mean over draws of z is log p(x), each draw being noisy."""
    x = factors(5, 2)
    network = linear(x, numbers_only(5))
    rows = torch.from_numpy(x[:20])
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        posterior = network.posterior(rows)
        draws = [network.negative_elbo(rows, posterior, posterior.draw(generator))[0] for _ in range(4_000)]
        absent = -torch.log1p(-network.missing).sum()  # of the five values none is missing
    exact = stats.multivariate_normal(network.mean.numpy(), covariance_of(network)).logpdf(x[:20])
    assert -(torch.stack(draws).mean(0) - absent).numpy() == pytest.approx(exact, abs=0.1)


@given(st.sets(st.integers(0, 9), min_size=1, max_size=6), st.sampled_from([NAN, INF]))
@settings(max_examples=20)
def test_what_is_missing_is_expected_at_its_conditional_mean(gone: set[int], value: float) -> None:
    """Of up to six of ten numbers together, whether they are missing or hidden."""
    x = factors(10, 3)
    network = linear(x, numbers_only(10))
    lacking, there = sorted(gone), sorted(set(range(10)) - gone)
    rows = x[:30].copy()
    rows[:, lacking] = value
    covariance, mean = covariance_of(network), network.mean.double().numpy()
    slope = np.linalg.solve(covariance[np.ix_(there, there)], covariance[np.ix_(there, lacking)])
    wanted = mean[lacking] + (x[:30, there] - mean[there]) @ slope
    with torch.no_grad():
        inputs = torch.from_numpy(rows)
        found = network.expected(inputs, network.see(inputs).likelihood).numpy()
    assert found[:, lacking] == pytest.approx(wanted, abs=2e-3)


def test_covariances_are_those_of_the_values_that_are_there() -> None:
    """Values that are missing at random move them by no more than fewer rows would."""
    x = factors(6, 2, 4_000)
    holed = np.where(np.random.default_rng(2).random(x.shape) < 0.2, np.float32(NAN), x)
    network = linear(x, numbers_only(6))
    for rows, tolerance in ((x, 1e-5), (holed, 0.06)):
        mean, covariance = moments(network, torch.from_numpy(rows))
        assert covariance.numpy() == pytest.approx(np.cov(x.T), abs=tolerance)
        assert mean.numpy() == pytest.approx(x.mean(0), abs=tolerance)


def test_a_column_is_surprising_given_the_others() -> None:
    """The evidence is half the square of its distance from its conditional mean, less the median."""
    x = factors(6, 2)
    network = linear(x, numbers_only(6))
    precision = np.linalg.inv(covariance_of(network))
    pulled = (x - network.mean.numpy()) @ precision
    wanted = 0.5 * pulled**2 / np.diag(precision)
    rows = torch.from_numpy(x)
    evidence = network.evidence()
    with torch.no_grad():
        evidence.fit(network, rows, torch.arange(10))
        found = evidence(network, rows, network.see(rows)).numpy()
    assert found == pytest.approx(wanted - np.quantile(wanted, 0.5, axis=0, method="lower"), abs=1e-3)


def test_a_broken_relation_has_its_column_as_reason() -> None:
    """Each value is usual on its own."""
    rng = np.random.default_rng(0)
    first = rng.normal(size=ROWS)
    x = np.column_stack([first, first + 0.1 * rng.normal(size=ROWS), rng.normal(size=(ROWS, 2))]).astype(np.float32)
    network = linear(x, numbers_only(4))
    rows = torch.tensor([[1.5, -1.5, 0.0, 0.0]])
    evidence = network.evidence()
    with torch.no_grad():
        evidence.fit(network, torch.from_numpy(x), torch.arange(10))
        terms = evidence(network, rows, network.see(rows))[0]
    assert set(terms.argsort(descending=True)[:2].tolist()) == {0, 1}


def test_probabilities_are_probabilities() -> None:
    """Those of the levels and of what is unseen sum to 1, as do those of a flag, whatever the code."""
    network = linear(mixed_rows(ROWS))
    rows = torch.from_numpy(mixed_rows(50, seed=1))
    with torch.no_grad():
        likelihood = network.see(rows).likelihood
        totals = []
        for feature, values in ((5, (0.0, 1.0)), (6, (0.0, 1.0, 2.0, 3.0))):
            each = []
            for value in values:
                rows[:, feature] = value
                each.append((-network.surprise(network.inputs(rows), likelihood)[0, :, feature]).exp())
            totals.append(torch.stack(each).sum(0))
    for total in totals:
        torch.testing.assert_close(total, torch.ones(50))


@pytest.mark.parametrize(
    "x",
    [
        np.ones((40, 3), np.float32),
        np.random.default_rng(0).normal(size=(20, 40)).astype(np.float32),
        np.full((30, 2), NAN, np.float32),
        np.arange(60, dtype=np.float32).repeat(3).reshape(60, 3),
    ],
    ids=["constant", "fewer rows than columns", "nothing but missing", "collinear"],
)
def test_tables_without_a_covariance_of_full_rank(x: Matrix) -> None:
    """All outputs are finite, and the noise has its floor."""
    schema = numbers_only(x.shape[1], len(x))
    network = linear(x, schema)
    assert float(network.noise) >= LEAST_NOISE * 0.999
    module, _ = score_around(network, "elbo", x, x[:0], schema, TrainConfig())
    for output in outputs_of(module, np.concatenate([x, x + 1, np.full_like(x, NAN)])):
        assert np.isfinite(output).all()


def test_any_score_of_the_vae_can_be_around_it() -> None:
    """The setting `fit.network` takes it as any other kind."""
    x = mixed_rows(ROWS)
    network, _ = fit(x, MIXED, FitConfig(network="linear-vae"), seed=0)
    for score in ("elbo", "reconstruction", "neighbours"):
        module, _ = score_around(network, kind_of_score(score, "table"), x, x[:0], MIXED, TrainConfig())
        odd = mixed_rows(50, seed=1)
        odd[:, 0] += 6
        normal, strange = (outputs_of(module, rows)[0] for rows in (mixed_rows(50, seed=1), odd))
        assert np.median(strange) > np.quantile(normal, 0.9)


def test_what_was_never_seen_costs_its_probability() -> None:
    """An unseen level, by Good and Turing, and a value missing where none was, by the rule of succession."""
    schema = Schema((CategoricalColumn("k", ("a", "b"), (299, 1)), *numbers_only(2).columns), ROWS)
    x = np.column_stack([np.zeros(ROWS), factors(2, 1)]).astype(np.float32)
    x[0, 0] = 1
    network = linear(x, schema)
    rows = np.zeros((3, 3), np.float32)
    rows[1, 0], rows[2, 1] = 2, NAN
    with torch.no_grad():
        terms = network.see(torch.from_numpy(rows)).terms
    assert float(terms[1, 0]) == pytest.approx(-np.log(2 / (ROWS + 2)), abs=0.01)
    assert float(terms[2, 1]) == pytest.approx(-np.log(1 / (ROWS + 2)), abs=0.01)


def test_the_subspace_holds_its_share_and_no_more() -> None:
    assert [subspace_size(torch.tensor(values)) for values in ([9.5, 0.5], [9.4, 0.6], [1.0] * 3, [0.0, 0.0])] == [
        1,
        2,
        3,
        2,
    ]
