"""A sample in one pass: as many rows as are wanted, in order, each as likely as any other, in bounded memory."""

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.formats.samples import RowSample


def sampled(batches: list[int], most: int, seed: int) -> RowSample:
    """A sample of batches of so many rows, which hold their own places; every third batch is of the next group."""
    sample, start = RowSample(most, seed), 0
    for place, rows in enumerate(batches):
        numbers = pl.int_range(start, start + rows, eager=True)
        sample.add(place // 3, pl.DataFrame({"n": numbers, "text": numbers.cast(pl.String)}))
        start += rows
    return sample


@given(st.lists(st.integers(0, 40), min_size=1, max_size=12), st.integers(1, 60), st.integers(0, 2**32))
def test_a_sample_has_so_many_rows_in_their_order(batches: list[int], most: int, seed: int) -> None:
    """All rows where there are no more than are wanted; rows keep their order, their cells and their group."""
    sample = sampled(batches, most, seed)
    groups = list(sample.frames())
    frame = pl.concat([part for _, part in groups]) if groups else pl.DataFrame({"n": [], "text": []})
    assert sample.seen == sum(batches)
    assert frame.height == min(most, sum(batches))
    assert frame["n"].is_sorted()
    assert frame["n"].n_unique() == frame.height
    assert frame["text"].to_list() == [str(n) for n in frame["n"]]
    bounds = np.cumsum([0, *(sum(batches[i : i + 3]) for i in range(0, len(batches), 3))])
    for group, part in groups:
        assert part.height
        assert part["n"].is_between(bounds[group], bounds[group + 1], closed="left").all()


def test_every_row_is_as_likely_as_any_other() -> None:
    """Over many seeds each of the first, middle and last batches gives its share, within five standard errors."""
    draws, batches, most = 100, [50] * 20, 30
    counts = np.zeros(sum(batches))
    for seed in range(draws):
        for _, part in sampled(batches, most, seed).frames():
            counts[part["n"].to_numpy()] += 1
    share = most / sum(batches)
    by_batch = counts.reshape(20, 50).sum(1)
    expected = 50 * draws * share
    assert counts.sum() == most * draws
    assert np.abs(by_batch - expected).max() < 5 * np.sqrt(expected)


def test_a_seed_gives_the_same_sample() -> None:
    """And another one another sample."""
    first, again, other = ([part for _, part in sampled([100, 100], 20, seed).frames()] for seed in (1, 1, 2))
    assert all(one.equals(two) for one, two in zip(first, again, strict=True))
    assert not pl.concat(first)["n"].equals(pl.concat(other)["n"])


def test_what_is_held_is_bounded() -> None:
    """Never more rows than twice as many as are wanted, and those of a batch."""
    sample = RowSample(100, 0)
    for start in range(0, 100_000, 1_000):
        sample.add(0, pl.DataFrame({"n": pl.int_range(start, start + 1_000, eager=True)}))
        assert sum(frame.height for _, frame, _ in sample._parts) <= 200
