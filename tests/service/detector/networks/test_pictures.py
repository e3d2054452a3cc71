"""Networks of pictures: their matrices held against other ways to do the same, contrasts, and the autoencoder."""

import math
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from kilter.service.detector.networks.pictures import (
    FILTERS,
    MOST_SIDE,
    Contrasts,
    PictureShape,
    PictureVAE,
    averaging,
    resize,
    smoothing,
    spreading,
    standardise,
)


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


@pytest.mark.parametrize(("height", "width", "channels"), [(9, 11, 1), (40, 33, 3)])
def test_a_code_decodes_to_the_reconstruction_in_its_own_light(
    height: int, width: int, channels: Literal[1, 3]
) -> None:
    """Brightness and contrast are part of the code, and a draw is as far off as the network's own noise."""
    built = network(height, width, channels)
    x = torch.rand(2, height * width * channels, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.2
    noise = torch.randn(2, built.noise_size, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        code = built.code(x)
        decoded, drawn = built.decoded(code, noise)
        torch.testing.assert_close(decoded, built.expected(x, built.infer(x)[2]))
        torch.testing.assert_close(code[:, built.latent], x.mean(1))
        torch.testing.assert_close(code[:, built.latent + 1], x.std(1, correction=0))
        assert torch.equal(built.decoded(code, torch.zeros_like(noise))[1], decoded)
    assert not torch.allclose(drawn, decoded, atol=0.05)


@pytest.mark.parametrize("lead", [(), (1,)])
def test_a_batch_of_members_is_taken_as_training_gives_it(lead: tuple[int, ...]) -> None:
    built = network(8, 8, 1)
    x = torch.rand(*lead, 5, 64, generator=torch.Generator().manual_seed(0))
    assert built.posterior(x).mean.shape == (1, 5, 3)


SIZES = st.integers(1, 40)


@given(SIZES, SIZES)
def test_means_are_kept_by_averaging_and_levels_by_interpolation(new: int, old: int) -> None:
    for matrix in (averaging(new, old), spreading(new, old)):
        assert matrix.shape == (new, old)
        torch.testing.assert_close(matrix.sum(1), torch.ones(new))
    row = torch.rand(old, generator=torch.Generator().manual_seed(old))
    torch.testing.assert_close((averaging(new, old) @ row).mean(), row.mean())


@given(st.integers(1, 10), st.integers(1, 5))
def test_averaging_by_a_whole_factor_is_the_mean_of_blocks(new: int, factor: int) -> None:
    row = torch.arange(new * factor, dtype=torch.float32) ** 2
    torch.testing.assert_close(averaging(new, new * factor) @ row, row.reshape(new, factor).mean(1))


def test_interpolation_follows_a_ramp_between_the_outer_centres() -> None:
    ramp = spreading(8, 4) @ torch.arange(4.0)
    torch.testing.assert_close(ramp, torch.tensor([0, 0.25, 0.75, 1.25, 1.75, 2.25, 2.75, 3]))


@given(st.integers(2, 40), st.floats(0.3, 8))
def test_smoothing_is_that_of_scipy(size: int, sigma: float) -> None:
    """As long as the kernel is no wider than the row, twice over: reflections of reflections are the same."""
    want = ndimage.gaussian_filter1d(np.eye(size), sigma, axis=0, mode="reflect")
    np.testing.assert_allclose(smoothing(size, sigma).numpy(), want, atol=1e-5)


def test_pictures_are_resized_along_both_sides() -> None:
    picture = torch.rand(2, 3, 6, 9, generator=torch.Generator().manual_seed(0))
    small = resize(picture, averaging(3, 6), averaging(3, 9))
    torch.testing.assert_close(small, picture.reshape(2, 3, 3, 2, 3, 3).mean((3, 5)))


def test_brightness_and_contrast_of_a_picture_do_not_matter() -> None:
    picture = torch.rand(4, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    dim = 0.3 + 0.7 * picture
    torch.testing.assert_close(standardise(dim), standardise(picture), atol=0.1, rtol=0)
    assert standardise(torch.full((1, 3, 8, 8), 0.7)).abs().max() < 1e-4  # and of an even one nothing is left


def textures(count: int, grain: float) -> torch.Tensor:
    """Standardised pictures of noise on a ramp, (count, 1, 24, 20); the coarser the stronger."""
    generator = torch.Generator().manual_seed(4)
    ramp = torch.linspace(0, 1, 20).expand(count, 1, 24, 20)
    return standardise((ramp + grain * torch.randn(count, 1, 24, 20, generator=generator)).clamp(0, 1))


def test_a_stain_stands_out_of_its_own_picture() -> None:
    contrasts = Contrasts(24, 20)
    for grain in (0.02, 0.1):
        clean = textures(6, grain)
        stained = clean.clone()
        typical = (clean[..., 1:] - clean[..., :-1]).abs().median()
        stained[:, :, 10:13, 8:11] -= 6 * typical
        assert contrasts(clean)[0].shape == (6, FILTERS)
        rows, columns = divmod(contrasts(stained)[1].flatten(1).argmax(1).numpy(), 20)
        assert ((rows >= 9) & (rows <= 13) & (columns >= 7) & (columns <= 11)).all()
        assert ((contrasts(stained)[0] - contrasts(clean)[0]).amax(1) > 0.2).all()


def test_how_coarse_a_picture_is_hardly_matters() -> None:
    contrasts = Contrasts(24, 20)
    fine, coarse = (contrasts(textures(6, grain))[0].mean(0) for grain in (0.03, 0.09))
    assert (fine - coarse).abs().max() < 0.35


def test_what_is_usual_for_a_place_counts_less() -> None:
    contrasts = Contrasts(24, 20)
    picture = textures(1, 0.05)
    before = contrasts(picture)[0]
    contrasts.usual.mul_(2)
    torch.testing.assert_close(before - contrasts(picture)[0], torch.full((1, FILTERS), 2.0).log())


def test_an_even_picture_has_no_contrast_and_no_fault() -> None:
    assert all(torch.isfinite(found).all() for found in Contrasts(8, 8)(torch.zeros(1, 3, 8, 8)))


def test_a_deviation_that_is_fixed_is_not_learned() -> None:
    """The surprise is half the squared error in its units, and a constant."""
    fixed = PictureVAE(PictureShape(12, 12, 1, 8, 3, sigma=2.0)).eval()
    x = torch.rand(3, 144, generator=torch.Generator().manual_seed(0))
    inputs, _, likelihood = fixed.infer(x)
    square = (inputs.flatten(1) - likelihood.mean[0]).square() / 8
    constant = math.log(2.0) + 0.5 * math.log(2 * math.pi)
    assert torch.allclose(fixed.surprise(inputs, likelihood)[0], square + constant, atol=1e-5)
    assert "slow_log_sigma" not in fixed.state_dict()
