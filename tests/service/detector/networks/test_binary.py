"""A network of black and white: its likelihood is a probability of pixels, and its codes have no light."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.errors import KilterError
from kilter.service.detector.networks.binary import BinaryPictureVAE
from kilter.service.detector.networks.pictures import PictureShape
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.schema import Schema
from kilter.training.config import FitConfig
from kilter.training.fitting.fit import fit


def network(side: int = 8) -> BinaryPictureVAE:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return BinaryPictureVAE(PictureShape(side, side, 1, 8, 3)).eval()


@torch.no_grad()
def test_the_chances_of_all_pictures_sum_to_one() -> None:
    """Of the four pixels of which a code says something."""
    net = network(2)
    x = torch.tensor([*itertools.product((0.0, 1.0), repeat=4)])
    inputs = net.inputs(x)
    likelihood = net.decode(torch.zeros(1, 1, 3).expand(1, 16, 3))
    chances = (-net.surprise(inputs, likelihood).sum(-1)).exp()
    assert float(chances.sum()) == pytest.approx(1, abs=1e-5)


@given(st.integers(0, 99))
@torch.no_grad()
def test_a_code_decodes_to_chances_and_draws_to_black_and_white(seed: int) -> None:
    """Whites are as frequent as their chances, whatever the code."""
    net = network()
    code = torch.randn(1, net.code_size, generator=torch.Generator().manual_seed(seed)).repeat(500, 1)
    noise = torch.randn(500, net.noise_size, generator=torch.Generator().manual_seed(seed + 1))
    expected, drawn = net.decoded(code, noise)
    assert set(drawn.flatten().tolist()) <= {0.0, 1.0}
    assert (drawn.mean(0) - expected[0]).abs().max() < 0.12
    assert torch.allclose(net.expected(torch.zeros(500, 64), net.decode(code.unsqueeze(0))), expected)


def test_larger_pictures_are_seen_small_and_given_back_at_their_size() -> None:
    """By the average of an area."""
    net = network(64)
    x = torch.rand(2, 64 * 64, generator=torch.Generator().manual_seed(0))
    assert net.inputs(x).shape == (2, 1, 32, 32)
    assert torch.allclose(net.inputs(x).mean((1, 2, 3)), x.mean(1), atol=1e-5)
    with torch.no_grad():
        assert net.decoded(net.code(x), torch.zeros(2, net.noise_size))[0].shape == x.shape


def test_it_learns_which_pixels_are_white() -> None:
    """Bars at one of two places: the ELBO is far above that of pixels drawn one by one."""
    rng = np.random.default_rng(0)
    pictures = np.zeros((300, 12, 12), np.float32)
    for picture, place in zip(pictures, rng.integers(2, size=300), strict=True):
        picture[:, 2 + 6 * place : 5 + 6 * place] = 1
    schema = Schema((ImageColumn("image", 12, 12, 1),), rows=300)
    net, history = fit(pictures.reshape(300, -1), schema, FitConfig(model="binary-vae", steps=120), seed=0)
    independent = 72 * np.log(2)  # 72 pixels are white in half of the pictures, and all others black
    assert max(epoch.held_out_elbo for epoch in history) > -0.5 * independent
    assert "slow_log_sigma" not in net.state_dict()


def test_it_has_no_deviation() -> None:
    """One that is asked for is refused."""
    schema = Schema((ImageColumn("image", 12, 12, 1),), rows=300)
    with pytest.raises(KilterError, match="leave it out"):
        BinaryPictureVAE.untrained(schema, FitConfig(sigma=1.0))
