"""Tests of `detector.scores.elbo`: the negative ELBO, its first term alone, and the evidence beside them."""

import pytest
import torch

from kilter.service.detector.columns import NumericColumn
from kilter.service.detector.networks.tabular import TabularVAE
from kilter.service.detector.schema import Schema
from kilter.service.detector.scores.base import Material
from kilter.service.detector.scores.elbo import Elbo, Reconstruction
from kilter.training.config import FitConfig

SCHEMA = Schema(tuple(NumericColumn(f"n{i}", 0, 1, -3, 3) for i in range(3)), rows=101)
X = torch.randn(101, 3, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def network() -> TabularVAE:
    """A network that was not fitted."""
    torch.manual_seed(0)
    return TabularVAE.untrained(SCHEMA, FitConfig(hidden=8, latent=2)).eval()


def fitted(kind: type[Elbo], network: TabularVAE) -> Elbo:
    """A score around the network, with the evidence of 101 rows."""
    folds = [torch.arange(101)] * network.members
    score, own = kind.fit(network, Material(SCHEMA, X, folds, folds, X[:0], seed=0))
    assert own is None
    return score


def test_the_score_is_the_negative_elbo_and_costs_the_code(network: TabularVAE) -> None:
    """Reconstruction alone leaves the KL term out."""
    with torch.no_grad():
        view = network.see(X)
        whole, first = (fitted(kind, network)(network, X, view)[0] for kind in (Elbo, Reconstruction))
    torch.testing.assert_close(whole, view.reconstruction + view.kl)
    assert torch.equal(first, view.reconstruction)


def test_what_is_usual_is_no_evidence(network: TabularVAE) -> None:
    """The median of each column's evidence over the fitting rows is 0, and a value far out has more than others."""
    score = fitted(Elbo, network)
    with torch.no_grad():
        terms = score(network, X, network.see(X))[1]
        odd = torch.tensor([[0.0, 40.0, 0.0]])
        strongest = score(network, odd, network.see(odd))[1].argmax()
    torch.testing.assert_close(terms.median(0).values, torch.zeros(3))
    assert strongest == 1


def test_nothing_of_the_training_rows_is_remembered(network: TabularVAE) -> None:
    score = fitted(Elbo, network)
    assert score.memory_entry is None
    assert {name: tensor.numel() for name, tensor in score.state_dict().items()} == {"evidence.usual": 3}
