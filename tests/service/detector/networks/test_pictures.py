"""The autoencoder of pictures."""

from typing import Literal

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.service.detector.networks.pictures import MOST_SIDE, PictureShape, PictureVAE


def network(height: int, width: int, channels: Literal[1, 3]) -> PictureVAE:
    """A network that was not fitted."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return PictureVAE(PictureShape(height, width, channels, 8, 3)).eval()


@settings(deadline=None, max_examples=25)
@given(st.integers(8, 70), st.integers(8, 70), st.sampled_from([1, 3]))
def test_pictures_of_any_size_and_colour(height: int, width: int, channels: Literal[1, 3]) -> None:
    built = network(height, width, channels)
    x = torch.rand(2, height * width * channels, generator=torch.Generator().manual_seed(0))
    small = channels * min(height, MOST_SIDE) * min(width, MOST_SIDE)
    with torch.no_grad():
        p = built.decode(built.posterior(x).mean)
        expected = built.expected(x, p)
        surprise = built.surprise(built.inputs(x), p)
    assert p.mean.shape == surprise.shape == (1, 2, small) == (1, 2, built.values)
    assert expected.shape == x.shape
    assert 0 <= expected.min() <= expected.max() <= 1


def test_the_surprise_is_the_density_of_a_gaussian() -> None:
    built = network(9, 11, 1)
    x = torch.rand(3, 99, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        p = built.decode(built.posterior(x).mean)
        want = -torch.distributions.Normal(p.mean, p.log_sigma.exp()).log_prob(built.inputs(x).flatten(1))  # type: ignore[no-untyped-call]
        torch.testing.assert_close(built.surprise(built.inputs(x), p), want)
        view = built.see(x)
        torch.testing.assert_close(view.reconstruction, want.sum(-1)[0])
        torch.testing.assert_close(view.kl, built.posterior(x).kl()[0])


def test_a_perfect_reconstruction_is_the_picture_itself() -> None:
    """Its own brightness and contrast are given back."""
    built = network(16, 16, 3)
    x = torch.rand(2, 768, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.2
    p = built.decode(built.posterior(x).mean)._replace(mean=built.inputs(x).flatten(1).unsqueeze(0))
    torch.testing.assert_close(built.expected(x, p), x, atol=0.05, rtol=0)


@pytest.mark.parametrize("lead", [(), (1,)])
def test_a_batch_of_members_is_taken_as_training_gives_it(lead: tuple[int, ...]) -> None:
    built = network(8, 8, 1)
    x = torch.rand(*lead, 5, 64, generator=torch.Generator().manual_seed(0))
    assert built.posterior(x).mean.shape == (1, 5, 3)
