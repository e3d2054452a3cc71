"""A network with a critic: what the critic learns, whom its gradients reach, and what holds it."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.arrays import Matrix
from kilter.service.detector.networks.adversarial import AdversarialVAE, Critic
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.schema import Schema
from kilter.training.config import FitConfig
from kilter.training.fitting.fit import fit, folds

SIDE = 12
SCHEMA = Schema((ImageColumn("image", SIDE, SIDE, 1),), rows=300)


def network() -> AdversarialVAE:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return AdversarialVAE.untrained(SCHEMA, FitConfig(hidden=8, latent=3, steps=0))


def bars(rows: int = 300) -> Matrix:
    """Pictures of a bar at any place, which an average of pictures does not show."""
    pictures = np.zeros((rows, SIDE, SIDE), np.float32)
    for picture, place in zip(pictures, np.random.default_rng(0).integers(SIDE - 2, size=rows), strict=True):
        picture[:, place : place + 2] = 1
    return pictures.reshape(rows, -1)


@given(st.integers(0, 99), st.sampled_from([(5, 9), (12, 12), (3, 1)]), st.sampled_from([1, 3]))
@torch.no_grad()
def test_a_critic_changes_no_faster_than_pictures_do(seed: int, size: tuple[int, int], channels: int) -> None:
    """Its layers have a spectral norm of about 1, whatever the size, up to what padding adds at the edges."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        critic = Critic(channels, ((size[0] + 3) // 4, (size[1] + 3) // 4))
        for parameter in critic.parameters():
            parameter.mul_(50)  # which is to change nothing
        for _ in range(20):
            critic(torch.zeros(1, channels, *size))  # each time the norm is known better
        critic.eval()
        pictures = torch.randn(5, channels, *size)
        found = critic(pictures)
        moved = critic(pictures + 0.01 * torch.randn(pictures.shape))
    assert found.verdict.shape == (5,)
    assert len(found.features) == 5
    assert float((moved.verdict - found.verdict).abs().max()) < 0.01 * pictures[0].numel() ** 0.5 * 10


def test_before_there_is_a_critic_it_is_as_any_other() -> None:
    """The terms are those of the ELBO, and no gradient reaches the critic; it never ends before there is one."""
    net = network()
    net.uncriticised = 1
    x = torch.from_numpy(bars(20))
    surprise, kl = net.loss_terms(x, torch.Generator().manual_seed(0))
    (surprise.mean() + kl.sum(-1).mean()).backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is None for parameter in net.critic.parameters())
    assert (net.allowance, net.least_steps) == (0.0, 2)
    net.loss_terms(x, torch.Generator().manual_seed(0))
    assert net.allowance == pytest.approx(0.5 * math.log(2) * SIDE * SIDE)


def test_the_critic_adds_gradients_and_no_loss() -> None:
    """Of the same draws the terms are those without it; its own gradient is that of its mistakes alone."""
    net, x = network(), torch.from_numpy(bars(20))
    with_critic, kl = net.loss_terms(x, torch.Generator().manual_seed(0))
    with_critic.mean().backward()  # type: ignore[no-untyped-call]
    own = [parameter.grad.clone() for parameter in net.critic.parameters() if parameter.grad is not None]
    assert len(own) == len([*net.critic.parameters()])
    net.uncriticised = 100
    without, same = net.loss_terms(x, torch.Generator().manual_seed(0))
    assert torch.allclose(with_critic, without, rtol=1e-4)
    assert torch.equal(kl, same)
    assert any(float(gradient.abs().max()) > 0 for gradient in own)


@given(st.integers(0, 99), st.floats(0.1, 10))
def test_no_gradient_drowns_that_of_the_likelihood(seed: int, precision: float) -> None:
    """Those of reconstructions are together no longer, and that of draws is half as long or less."""
    net, generator = network(), torch.Generator().manual_seed(seed)
    real, seen, drawn = (torch.randn(6, 1, SIDE, SIDE, generator=generator) for _ in range(3))
    length = float((precision * (seen - real)).norm())
    first, second = net.pulls(real, seen.clone(), drawn.clone(), torch.tensor(precision))
    assert float(first.norm()) <= length * 1.001
    assert float(torch.cat([first, second]).norm()) <= 1.5 * length
    assert float(first.norm()) > 0
    assert all(parameter.grad is None for parameter in net.parameters())


def test_a_critic_that_learns_makes_fewer_mistakes() -> None:
    """It tells bars from noise after a few steps."""
    net, generator = network(), torch.Generator().manual_seed(0)
    real = net.inputs(torch.from_numpy(bars(50)))
    optimiser = torch.optim.AdamW(net.critic.parameters(), lr=5e-3)
    mistakes = []
    for _ in range(60):
        made = torch.randn(real.shape, generator=generator)
        loss = net.mistakes(real, made).mean()
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        mistakes.append(float(loss.detach()))
    assert mistakes[-1] < 0.5 * mistakes[0]


def test_a_fit_ends_with_a_network_that_a_critic_saw() -> None:
    """It is kept though the ELBO was better without, but by no more than that may cost; one seed gives one network."""
    config = FitConfig(model="vae-gan", steps=80, latent=4, hidden=16, patience=1)
    (net, history), (again, _) = (fit(bars(), SCHEMA, config, seed=0) for _ in range(2))
    assert isinstance(net, AdversarialVAE)
    assert not any("critic" in name or "batches" in name for name in net.state_dict())
    assert history[-1].step > 40
    best = max(epoch.held_out_elbo for epoch in history)
    held_out = np.concatenate(folds(300, config.members, 0)[1])
    inputs = net.inputs(torch.from_numpy(bars()[held_out]))
    with torch.no_grad():
        posterior = net.encode(inputs)
        kept = -float(net.negative_elbo(inputs, posterior, posterior.mean).mean())
    assert kept == pytest.approx(history[-1].held_out_elbo, rel=1e-4)
    assert kept > best - 0.5 * math.log(2) * SIDE * SIDE
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), again.parameters(), strict=True))
    assert all(earlier.step < later.step for earlier, later in pairwise(history))
