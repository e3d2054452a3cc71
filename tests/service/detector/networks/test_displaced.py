"""The memory of pictures, held against the plainest way to compute its distance."""

import numpy as np
import numpy.typing as npt
import torch
from scipy import ndimage

from kilter.service.detector.networks.displaced import FLOOR, PATCH, Pictures, PicturesShape

HEIGHT, WIDTH, CHANNELS, ROWS = 12, 10, 2, 7


def memory(candidates: int = ROWS) -> Pictures:
    """A memory of random pictures."""
    built = Pictures(PicturesShape(HEIGHT, WIDTH, CHANNELS, ROWS, candidates))
    built.rows.copy_(torch.randn(built.rows.shape, generator=torch.Generator().manual_seed(1)))
    built.index()
    return built


def plainly(picture: npt.NDArray[np.float64], kept: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The least mean squared difference of the patch around each place, over moves by a pixel: (height, width)."""
    padded = np.pad(kept, ((0, 0), (1, 1), (1, 1)), mode="edge")
    found = []
    for down in range(3):
        for right in range(3):
            apart = ((picture - padded[:, down : down + HEIGHT, right : right + WIDTH]) ** 2).sum(0)
            total = ndimage.uniform_filter(apart, PATCH, mode="constant") * PATCH**2
            count = ndimage.uniform_filter(np.ones_like(apart), PATCH, mode="constant") * PATCH**2
            found.append(total / count)
    least: npt.NDArray[np.float64] = np.min(found, axis=0)
    return least


def test_the_distance_is_that_of_the_best_moves() -> None:
    built = memory()
    seen = torch.randn(3, CHANNELS, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(2))
    nearest, places = built(seen)
    kept = built.rows.reshape(ROWS, CHANNELS, HEIGHT, WIDTH).numpy().astype(np.float64)
    for i in range(3):
        every = np.stack([plainly(seen[i].numpy().astype(np.float64), row) for row in kept])
        np.testing.assert_allclose(nearest[i], every.sum((1, 2)).min(), rtol=1e-4)
        np.testing.assert_allclose(places[i], every.min(0), rtol=1e-3, atol=1e-4)


def test_a_picture_that_moved_by_a_pixel_is_known_but_for_its_edge() -> None:
    built = memory(candidates=ROWS)
    kept = built.rows.reshape(ROWS, CHANNELS, HEIGHT, WIDTH)[3:4]
    places = built(torch.roll(kept, (1, 1), (2, 3)))[1]
    assert places[0, 4:-4, 4:-4].max() < 1e-8
    assert built(kept)[0].item() == np.float32(FLOOR)


def test_a_picture_can_be_left_out_of_its_own_memory() -> None:
    built = memory(candidates=ROWS - 1)
    kept = built.rows.reshape(ROWS, CHANNELS, HEIGHT, WIDTH)
    with_itself = built(kept)[0]
    without = built(kept, torch.arange(ROWS))[0]
    assert with_itself.max() < 1e-5
    assert without.min() > 1
    torch.testing.assert_close(built(kept, torch.full((ROWS,), -1))[0], with_itself)


def test_large_pictures_are_compared_at_a_bounded_size() -> None:
    shape = PicturesShape(256, 100, 3, 2, 1)
    assert shape.small == (64, 64)
    assert Pictures(shape).see(torch.zeros(1, 3, 256, 100)).shape == (1, 3, 64, 64)
