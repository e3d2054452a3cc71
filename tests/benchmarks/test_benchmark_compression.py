"""Bits and distortions are what they are said to be."""

import gzip
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.compression import (
    Coder,
    at_distortion,
    by_columns,
    by_components,
    measured,
    packed_by,
    rounded_to,
    split_of,
)
from benchmarks.sets import divide


@given(st.sampled_from([0.05, 0.1, 0.2]), st.floats(0.5, 20), st.integers(0, 1000))
def test_bits_are_the_entropy(step: float, deviation: float, seed: int) -> None:
    """Of a Gaussian that is rounded finely: its differential entropy less the logarithm of the step."""
    numbers = np.random.default_rng(seed).normal(1.0, deviation, (4000, 2))
    bits = Coder.fitted(numbers).bits(rounded_to(numbers, step), step)
    wanted = 2 * (0.5 * math.log2(2 * math.pi * math.e * deviation**2) - math.log2(step))
    assert bits == pytest.approx(wanted, abs=0.15)


def test_all_ways_have_the_distortion_that_is_wanted() -> None:
    """PCA takes fewer bits than columns where these go together; whole numbers come back whole."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(600, 2)) @ rng.normal(size=(2, 6)) * 3 + rng.normal(0, 0.1, (600, 6))
    x[:, 5] = (10 * x[:, 5]).round()
    split = split_of(divide("made", x, np.zeros(600, bool), 0))
    assert split.whole.tolist() == [False] * 5 + [True]
    components, _ = by_components(split)
    ways = [components, by_columns(split), packed_by(lambda content: gzip.compress(content, 9), split)]
    pca, columns, packed = (at_distortion(bits, split, 0.01) for bits in ways)
    assert pca < columns < packed
    for bits in ways:
        count, back = bits(split.test, 0.2)
        assert count > 0
        given_back = back[:, 5] * split.scale[5] + split.centre[5]
        np.testing.assert_allclose(given_back, given_back.round(), atol=1e-9)
        assert split.distortion(back) < 0.01


@pytest.mark.e2e
def test_a_table_is_measured() -> None:
    """Coarser steps take fewer bits, and come back less exactly."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 1)) @ rng.normal(size=(1, 4)) + rng.normal(0, 0.3, (300, 4))
    rows = [*measured(split_of(divide("made", x, np.zeros(300, bool), 0)), [2], 0)]
    bits, distortion = ([float(row[place]) for row in rows] for place in (4, 3))
    assert bits == sorted(bits)
    assert distortion[0] > distortion[-1]
