"""Tests of `detector.scores.base`: a program is a network with its score, and is rebuilt from a manifest's entries."""

from typing import Any

import msgspec
import pytest
import torch
from torch import Tensor

from kilter.service.detector.columns import Feature
from kilter.service.detector.errors import ArtifactError
from kilter.service.detector.manifest import NetworkEntry, ScoreEntry
from kilter.service.detector.networks.base import View
from kilter.service.detector.networks.tabular import TabularShape, TabularVAE
from kilter.service.detector.scores.base import AnomalyScore, ScoredNetwork, rebuild
from kilter.service.detector.scores.elbo import Elbo

SHAPE = TabularShape((Feature(0, "gaussian"), Feature(1, "flag")), 2, 2, 8, 2, 1)
NETWORK = NetworkEntry("tabular-vae", 2, 2, msgspec.to_builtins(SHAPE))
SCORE = ScoreEntry("elbo", "elbo", "nats", 4, 1e-4, {})


class Counting(AnomalyScore):
    """A score that counts how often it was prepared; it is the first value of a record."""

    prepared = 0

    def index(self, network: Any) -> None:
        assert isinstance(network, TabularVAE)
        self.prepared += 1

    def forward(self, network: Any, x: Tensor, view: View, other: Tensor | None = None) -> tuple[Tensor, Tensor]:
        return x[:, 0] if other is None else other, view.terms


def test_the_outputs_are_those_of_network_and_score() -> None:
    """Five of them; what the score needs besides is handed on."""
    network, x = TabularVAE(SHAPE).eval(), torch.tensor([[0.5, 1.0], [-2.0, 0.0]])
    program = ScoredNetwork(network, Counting()).eval()
    with torch.no_grad():
        score, reconstruction, kl, terms, expected = program(x)
        view = network.see(x)
        assert torch.equal(program(x, torch.tensor([7.0, 8.0]))[0], torch.tensor([7.0, 8.0]))
    assert torch.equal(score, x[:, 0])
    for output, want in ((reconstruction, view.reconstruction), (kl, view.kl), (terms, view.terms)):
        assert torch.equal(output, want)
    assert expected.shape == x.shape


def test_a_score_is_prepared_once_the_tensors_are_loaded() -> None:
    """And not before: it depends on the weights of the network."""
    score = Counting()
    program = ScoredNetwork(TabularVAE(SHAPE), score)
    assert score.prepared == 0
    program.load_state_dict(program.state_dict())
    assert score.prepared == 1


def test_a_program_is_rebuilt_by_the_kinds_of_its_entries() -> None:
    program = rebuild(NETWORK, SCORE)
    assert isinstance(program.network, TabularVAE)
    assert isinstance(program.score, Elbo)
    assert program.network.shape == SHAPE


@pytest.mark.parametrize(
    ("network", "score", "message"),
    [
        ({"kind": "crystal-ball"}, {}, "no network of kind 'crystal-ball'"),
        ({}, {"kind": "hunch"}, "no score of kind 'hunch'"),
        ({"shape": {"members": 2}}, {}, "the network of the manifest: .*missing required field"),
        ({}, {"shape": {"rows": 1}}, "the network of the manifest: .*unknown field `rows`"),
    ],
)
def test_entries_that_do_not_fit_are_refused(network: dict[str, Any], score: dict[str, Any], message: str) -> None:
    """The message names what is wrong."""
    with pytest.raises(ArtifactError, match=message):
        rebuild(msgspec.structs.replace(NETWORK, **network), msgspec.structs.replace(SCORE, **score))


def test_a_score_remembers_nothing_and_knows_no_places_unless_it_says_so() -> None:
    score = AnomalyScore()
    assert (score.grid, score.memory_entry, score.holds_calibration) == (None, None, False)
    with pytest.raises(NotImplementedError):
        score.forward(None, torch.zeros(1, 1), None)  # type: ignore[arg-type]
