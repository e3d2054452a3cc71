"""Tests of `fitting.diagnosis` and `fitting.remedy`: what a fit's figures say about its health."""

import json

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import torch

from kilter.service.detector.columns import NumericColumn
from kilter.service.detector.findings import Diagnosis, Epoch
from kilter.service.detector.networks.tabular import TabularVAE
from kilter.service.detector.schema import Schema
from kilter.training.config import FitConfig
from kilter.training.fitting.diagnosis import Tolerance, diagnose
from kilter.training.fitting.remedy import latent_activity

SCHEMA = Schema(tuple(NumericColumn(f"n{i}", 0, 1, -3, 3) for i in range(3)), rows=200)
X = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
TABLES = Tolerance(gap=0.1, rise=0.02)


@pytest.fixture
def network() -> TabularVAE:
    """A network of two members that was not fitted."""
    torch.manual_seed(0)
    return TabularVAE.untrained(SCHEMA, FitConfig(hidden=8, latent=4)).eval()


def silenced(network: TabularVAE, *members: int) -> TabularVAE:
    """The network with the posterior of some members made equal to the prior."""
    with torch.no_grad():
        for tensor in (network.encoder.weights[-1], network.encoder.biases[-1]):
            tensor[list(members)] = 0
    return network


def found(network: TabularVAE, elbos: list[float], new: npt.NDArray[np.float32] = X) -> Diagnosis:
    """The diagnosis of a fit of as many steps as were allowed, ten to each of its held-out ELBOs."""
    history = [Epoch(10 * i, 1.0, 1.0, 0.0, elbo) for i, elbo in enumerate(elbos, 1)]
    return diagnose(network, history, 10 * len(elbos), X, new, None, TABLES)


def test_active_units_are_counted_for_each_member(network: TabularVAE) -> None:
    """A member whose posterior is the prior has none, and counts as collapsed."""
    before = latent_activity(network, X)
    assert min(before.active) > 0
    after = latent_activity(silenced(network, 1), X)
    assert after.active == (before.active[0], 0)
    assert after.collapsed


def test_kl_of_the_dimensions_adds_up_to_the_whole(network: TabularVAE) -> None:
    """In nats, the largest first; that of a posterior equal to the prior is 0."""
    kl = latent_activity(network, X).kl
    with torch.no_grad():
        whole = network.see(torch.from_numpy(X)).kl.mean()
    assert sum(kl) == pytest.approx(float(whole), rel=1e-4)
    assert list(kl) == sorted(kl, reverse=True)
    assert sum(latent_activity(silenced(network, 0, 1), X).kl) == pytest.approx(0, abs=1e-6)


def test_a_healthy_fit_needs_no_attention(network: TabularVAE) -> None:
    """The ELBO levelled off before the end, and new rows are described as well as others."""
    healthy = found(network, [-9, -5, -4, -3.5, -3.3, -3.3, -3.3, -3.3, -3.3, -3.31])
    assert healthy.notes == ()
    assert not healthy.overfitted
    assert not healthy.underfitted


def test_rows_that_are_described_worse_than_fitted_ones_show_overfitting(network: TabularVAE) -> None:
    """The note has both ELBOs, says when the fit was at its best, and what to do."""
    made = found(network, [-4, -3, *(-3.5 for _ in range(8))], new=3 * X)
    assert made.overfitted
    (note,) = made.notes
    assert "best at step 20 of 100" in note
    assert f"{made.elbo_fit:.2f} nats" in note
    assert "More rows" in note


def test_a_held_out_elbo_that_still_rises_at_the_end_shows_underfitting(network: TabularVAE) -> None:
    """The note names the setting and a better value."""
    made = found(network, [-10.0 + i for i in range(10)])
    assert made.underfitted
    assert "Set fit.steps to 200 or more." in made.notes[0]


def test_a_fit_that_was_stopped_early_is_not_unfinished(network: TabularVAE) -> None:
    """However much it rose, it had steps left."""
    history = [Epoch(10 * i, 1.0, 1.0, 0.0, -10.0 + i) for i in range(1, 11)]
    assert not diagnose(network, history, 1000, X, X, None, TABLES).underfitted


def test_a_diagnosis_is_plain_data(network: TabularVAE) -> None:
    """It goes into the manifest as JSON and comes back."""
    made = found(network, [-3.0, -2.0])
    assert msgspec.convert(json.loads(msgspec.json.encode(made)), Diagnosis) == made
