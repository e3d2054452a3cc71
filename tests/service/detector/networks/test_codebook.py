"""Codebooks: words are the nearest, rare ones cost more, dead ones begin again, and codes decode by their words."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.columns import NumericColumn
from kilter.service.detector.networks.codebook import (
    GROUP,
    WORDS,
    PictureQuantiser,
    PictureWordShape,
    TabularQuantiser,
    WordPosterior,
    whole_groups,
)
from kilter.service.detector.schema import Schema
from kilter.training.config import FitConfig
from kilter.training.fitting.fit import fit

SCHEMA = Schema(tuple(NumericColumn(f"n{i}", 0, 1, -3, 3) for i in range(4)), rows=400)


def network() -> TabularQuantiser:
    """Untrained, with random codebooks."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = TabularQuantiser.untrained(SCHEMA, FitConfig(members=2, hidden=8, latent=6)).eval()
        made.book.normal_()
        made.uses.copy_(torch.rand(made.uses.shape) * 50)
    return made


def test_a_code_has_whole_groups() -> None:
    """As many numbers as were asked for at least."""
    assert [whole_groups(latent) for latent in (1, 4, 5, 8)] == [4, 4, 8, 8]
    assert network().latent == 8


@given(st.integers(0, 99))
@torch.no_grad()
def test_words_are_the_nearest_and_decode_alike(seed: int) -> None:
    """Whatever lies nearest to the same words decodes to the same; a word is its own word."""
    net = network()
    numbers = torch.randn(2, 5, 8, generator=torch.Generator().manual_seed(seed))
    words = net.words_of(numbers)
    assert torch.equal(words.sum(-1), torch.ones(2, 2, 5))
    spoken = net.spoken(words)
    for member in range(2):
        for group in range(2):
            own = numbers[member, :, GROUP * group : GROUP * (group + 1)]
            nearest = torch.cdist(own, net.book[member, group]).argmin(-1)
            assert torch.equal(words[member, group].argmax(-1), nearest)
    assert torch.equal(net.words_of(spoken), words)
    assert torch.allclose(net.decode(numbers).mean, net.decode(spoken).mean, atol=1e-5)


@torch.no_grad()
def test_the_cost_of_a_code_is_the_rarity_of_its_words() -> None:
    """In nats; over all words of all groups their probabilities sum to 1."""
    net = network()
    everything = torch.eye(WORDS).expand(2, 2, WORDS, WORDS)
    rarity = net.rarity(everything).reshape(2, WORDS, 2, GROUP).sum(-1)
    assert torch.allclose((-rarity).exp().sum(1), torch.ones(2, 2), atol=1e-5)
    commonest = net.uses[0, 0].argmax()
    assert rarity[0, commonest, 0] == rarity[0, :, 0].min()
    posterior = net.posterior(torch.randn(7, 4, generator=torch.Generator().manual_seed(0)))
    assert isinstance(posterior, WordPosterior)
    assert torch.allclose(posterior.excess(posterior.mean).float(), posterior.kl())
    assert torch.equal(posterior.draw(torch.Generator()), posterior.mean)


def test_dead_words_begin_again_at_numbers_of_records() -> None:
    """A batch around one place wakes the words of an empty codebook there; used ones move towards their numbers."""
    net = network()
    net.book.fill_(100.0)
    net.uses.zero_()
    generator = torch.Generator().manual_seed(0)
    numbers = 5 + torch.randn(2, 200, 8, generator=generator)
    net.learn(numbers, generator)
    assert (net.book - 5).abs().max() < 6
    before = (numbers - net.spoken(net.words_of(numbers))).square().mean()
    for _ in range(200):
        net.learn(numbers, generator)
    assert (numbers - net.spoken(net.words_of(numbers))).square().mean() < 0.8 * before
    assert float((net.uses > 0.05).float().mean()) == 1


def test_it_learns_groups_of_records_and_draws_them() -> None:
    """Of rows around four places: each has words of its own, a row between them costs more, and draws are like rows."""
    rng = np.random.default_rng(0)
    places = np.array([[2, 2, 0, 0], [-2, -2, 0, 0], [0, 0, 2, 2], [0, 0, -2, -2]])
    x = (places[rng.integers(4, size=400)] + 0.2 * rng.normal(size=(400, 4))).astype(np.float32)
    net, history = fit(x, SCHEMA, FitConfig(model="vq-vae", steps=200, hidden=32, latent=4, members=1), seed=0)
    assert isinstance(net, TabularQuantiser)
    assert max(epoch.held_out_elbo for epoch in history) > history[0].held_out_elbo + 1
    assert int(net.uses.sum()) == 400
    with torch.no_grad():
        usual, odd = (net.see(torch.from_numpy(rows)) for rows in (x, np.zeros((50, 4), np.float32)))
        made = net.expected(torch.zeros(0, 4), net.decode(net.sample(200, torch.Generator().manual_seed(0))))
    assert float((odd.reconstruction + odd.kl).median()) > float((usual.reconstruction + usual.kl).median()) + 2
    near = torch.cdist(made, torch.from_numpy(places).float()).amin(1)
    assert float((near < 1).float().mean()) > 0.8


def test_pictures_have_words_too() -> None:
    """And the light of a picture beside them in the code."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = PictureQuantiser(PictureWordShape(12, 12, 1, 8, 8, words=WORDS)).eval()
        net.book.normal_()
    x = torch.rand(3, 144)
    with torch.no_grad():
        assert net.code(x).shape == (3, 10)
        assert net.decoded(net.code(x), torch.zeros(3, net.noise_size))[0].shape == (3, 144)
        assert float(net.see(x).kl.min()) == pytest.approx(2 * np.log(WORDS), rel=1e-4)
