"""The distance of pictures without torch is that of the memory of the score."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.scores.moves import CANDIDATES, PATCH, means_around, moved_distances
from kilter.service.detector.scores.pictures import PictureMemory, PictureMemoryShape


@given(st.integers(3, 9), st.integers(3, 9), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_distances_are_those_of_the_memory(height: int, width: int, channels: int, seed: int) -> None:
    """The least of them is what the score takes, where all rows are candidates."""
    rng = np.random.default_rng(seed)
    rows, pictures = (rng.normal(size=(n, channels * height * width)).astype(np.float32) for n in (6, 4))
    memory = PictureMemory(PictureMemoryShape(height, width, channels, len(rows), len(rows)))
    memory.rows.copy_(torch.from_numpy(rows))
    memory.index()
    wanted, _ = memory(torch.from_numpy(pictures).reshape(-1, channels, height, width))
    made = [moved_distances(picture, rows, (channels, height, width)).min() for picture in pictures]
    np.testing.assert_allclose(made, wanted.numpy(), rtol=1e-4)


def test_a_picture_that_moved_by_a_pixel_is_near() -> None:
    """Much nearer than one that moved by two."""
    picture = np.zeros((1, 12, 12), np.float32)
    picture[0, 4:8, 4:8] = 1
    moved = np.stack([np.roll(picture, step, axis=2) for step in (0, 1, 2)]).reshape(3, -1)
    none, one, two = moved_distances(picture.ravel(), moved, (1, 12, 12))
    assert none == one == 0
    assert two > 1


def test_a_mean_is_of_the_values_that_there_are() -> None:
    values = np.arange(7.0) ** 2
    half = PATCH // 2
    wanted = [values[max(0, i - half) : i + half + 1].mean() for i in range(7)]
    np.testing.assert_allclose(means_around(values), wanted)
    assert CANDIDATES > 1
