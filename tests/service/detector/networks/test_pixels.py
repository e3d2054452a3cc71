"""What is done to pictures by constant matrices, held against other ways to do the same."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from kilter.service.detector.networks.pixels import averaging, resize, smoothing, spreading, standardise

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
