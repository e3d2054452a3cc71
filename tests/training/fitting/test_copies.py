"""Tests of `fitting.copies`: copies are found, exact and near, and told from rows that recur by nature."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.service.detector.arrays import Floats
from kilter.training.data.source import TrainingData, TrainingSource
from kilter.training.data.tables import prepare
from kilter.training.fitting.copies import (
    Copies,
    closeness,
    copies_of_rows,
    exact_copies,
    find_copies,
    identities,
    linked,
    without_copies,
)

SEEDS = st.integers(0, 2**32)
FEATURES = 4


def points(rows: int, rng: np.random.Generator) -> Floats:
    """Numbers that depend on two common factors, (rows, FEATURES)."""
    return rng.normal(size=(rows, 2)) @ rng.normal(size=(2, FEATURES)) + rng.normal(size=(rows, FEATURES))


def framed(x: Floats) -> pl.DataFrame:
    return pl.DataFrame({f"x{i}": values for i, values in enumerate(x.T)})


def copies_in(frame: pl.DataFrame) -> Copies:
    """The copies among all rows of a table."""
    data = prepare(frame, TrainingSource())
    return copies_of_rows(data.draft, data.table, data.normal)


def groups_match(group: np.ndarray, origin: np.ndarray) -> bool:
    """Whether two numberings of rows put the same ones together."""
    pairs = len(np.unique(np.stack([group, origin]), axis=1).T)
    return pairs == len(np.unique(group)) == len(np.unique(origin))


@given(st.lists(st.integers(0, 5), max_size=40), st.lists(st.integers(0, 40), max_size=4), SEEDS)
def test_rows_are_numbered_as_they_appear_wherever_matrices_end(kinds: list[int], cuts: list[int], seed: int) -> None:
    """Two rows have one number where, and only where, they are the same."""
    base = np.random.default_rng(seed).normal(size=(6, 3)).astype(np.float32)
    base[4] = np.nan
    seen: dict[int, int] = {}
    same = identities(np.split(base[kinds], sorted(cuts)))
    assert same.tolist() == [seen.setdefault(kind, len(seen)) for kind in kinds]


def test_what_is_missing_is_the_same_however_it_is_written() -> None:
    """NaN of any bits, and a zero of either sign; a hidden value, which is infinite, is not a missing one."""
    other = np.array([0x7FC00001], np.uint32).view(np.float32)[0]
    x = np.array([[np.nan, 0.0], [other, -0.0], [np.inf, 0.0]], np.float32)
    assert identities([x]).tolist() == [0, 0, 1]


@settings(max_examples=15)
@given(
    st.sampled_from([120, 300]),
    st.sampled_from([0.1, 0.5, 0.8, 1.0]),
    st.sampled_from([1, 5, 50]),
    st.sampled_from([0.0, 1e-4, 1e-3]),
    st.booleans(),
    SEEDS,
)
def test_copies_are_found_exact_and_near(
    rows: int, share: float, times: int, noise: float, levels: bool, seed: int
) -> None:
    """The groups are those that were made, whatever the share of rows, the number of copies and their order."""
    rng = np.random.default_rng(seed)
    origin = np.concatenate([np.arange(rows), np.repeat(np.arange(round(share * rows)), times)])
    x = points(rows, rng)[origin]
    x[rows:] += noise * rng.normal(size=x[rows:].shape)
    frame = framed(x)
    if levels:
        frame = frame.with_columns(level=pl.Series(rng.choice(["a", "b", "c"], rows)[origin]))
    order = rng.permutation(len(frame))
    copies = copies_in(frame[order])
    assert groups_match(copies.group, origin[order])
    assert copies.first.sum() == rows
    assert (copies.near if noise else copies.repeats) == len(origin) - rows


@settings(max_examples=12)
@given(SEEDS, st.sampled_from(["numbers", "levels", "rounded", "clusters"]))
def test_a_table_without_copies_has_none(seed: int, kind: str) -> None:
    """Of numbers, of few levels, of rounded numbers whose rows recur by chance, or of many clusters."""
    rng = np.random.default_rng(seed)
    x = points(600, rng)
    if kind == "levels":
        x = rng.choice(4, p=[0.55, 0.25, 0.15, 0.05], size=(600, 5)).astype(float)
    elif kind == "rounded":
        x = np.round(x[:, :2])
    elif kind == "clusters":
        x = 5 * points(60, rng)[rng.integers(60, size=600)] + x
    copies = copies_in(framed(x))
    assert len(np.unique(copies.group)) == 600
    assert copies.natural == (kind in ("levels", "rounded"))
    assert not copies.near


@pytest.mark.parametrize("column", ["counter", "time"])
def test_a_counter_or_a_time_apart_is_a_copy(column: str) -> None:
    """Rows that were exported four times, in any order, under other numbers or at other times."""
    rng = np.random.default_rng(0)
    numbers = rng.permutation(2_000)
    frame = framed(np.repeat(points(500, rng), 4, axis=0))
    apart = pl.Series(column, numbers if column == "counter" else np.datetime64(0, "us") + numbers * 10**9)
    copies = copies_in(frame.with_columns(apart))
    assert groups_match(copies.group, np.repeat(np.arange(500), 4))
    assert copies.times == 4


@pytest.mark.parametrize("digits", [1, 2, 3])
def test_a_rounded_row_is_a_copy(digits: int) -> None:
    """Half of the rows were exported again with fewer digits."""
    x = points(500, np.random.default_rng(0))
    copies = copies_in(framed(np.concatenate([x, np.round(x[:250], digits)])))
    assert (copies.group[500:] == copies.group[:250]).mean() > 0.99
    assert 250 <= copies.near <= 252


def test_what_recurs_by_nature_does_so_in_a_table_that_was_copied() -> None:
    """Each row of the table stands in it three times: of each three one is kept, and no more are dropped."""
    x = np.random.default_rng(0).choice(4, p=[0.55, 0.25, 0.15, 0.05], size=(400, 5)).astype(float)
    copies = copies_in(framed(np.concatenate([x, x, x])))
    assert copies.natural
    assert copies.times == 3
    assert np.bincount(copies.group).tolist() == [3] * 400
    kept = np.concatenate([x, x, x])[copies.first]
    assert np.array_equal(np.sort(kept.view("f8,f8,f8,f8,f8"), axis=0), np.sort(x.view("f8,f8,f8,f8,f8"), axis=0))


def test_rows_that_differ_in_a_level_or_in_what_is_missing_are_no_near_copies() -> None:
    """However close their numbers are."""
    rng = np.random.default_rng(0)
    x = np.repeat(points(300, rng), 2, axis=0)
    x[1::2] += 1e-4
    level = np.tile([0.0, 1.0], 300)
    gone = np.where(level, np.nan, 1.0)
    numbers = np.array([True] * FEATURES + [False])
    for extra, is_number in ((level, False), (gone, True)):
        numbers[-1] = is_number
        assert find_copies(np.column_stack([x, extra]).astype(np.float32), numbers).near == 0
    assert find_copies(np.column_stack([x, 0 * level]).astype(np.float32), numbers).near == 300


@given(st.lists(st.integers(0, 8), min_size=1, max_size=60), SEEDS)
def test_points_are_linked_to_those_within_a_distance(places: list[int], seed: int) -> None:
    """A group is what steps of at most so much connect."""
    x = 10.0 * np.array(places)[:, None] + np.random.default_rng(seed).uniform(0, 1, (len(places), 1))
    assert groups_match(linked(x, 2.0), np.array(places))


def test_many_points_in_one_place_are_one_group() -> None:
    """Also where each is linked to a few of them alone."""
    x = np.random.default_rng(0).normal(size=(3_000, 5))
    assert not linked(1e-3 * x, 1.0).any()


def test_too_few_points_say_nothing() -> None:
    """No table is too small to be looked at."""
    for rows in range(5):
        assert closeness(np.random.default_rng(0).normal(size=(rows, 2))) is None
    assert exact_copies(np.empty(0, np.int64), None).group.tolist() == []


def labelled(frame: pl.DataFrame, source: TrainingSource) -> TrainingData:
    return prepare(frame, source)


def test_one_of_each_counts_among_normal_rows_and_among_anomalies() -> None:
    """An anomaly that is the same as a normal row is no copy of it; the others are left out, and it is said."""
    rng = np.random.default_rng(0)
    x = np.concatenate([points(200, rng)] * 2)
    frame = framed(np.concatenate([x, x[:20], x[:20]]))
    frame = frame.with_columns(odd=pl.Series(["no"] * 400 + ["yes"] * 40))
    data = labelled(frame, TrainingSource(label="odd", normal="no"))
    kept = without_copies(data)
    assert kept.normal.tolist() == list(range(200))
    assert kept.anomalous.tolist() == list(range(400, 420))
    assert kept.notes[-2:] == (
        "200 of 400 normal records (50 %) are copies of another one. They are left out of fit, calibration and "
        "evaluation, which count 200.",
        "20 of 40 anomalous records (50 %) are copies of another one. They are left out of fit, calibration and "
        "evaluation, which count 20.",
    )
    split = replace(data, source=replace(data.source, split_by="x0"))
    assert without_copies(split) is split


def test_a_table_without_repeats_is_left_as_it_is() -> None:
    """And nothing is said; rows that recur by nature stay, which is."""
    rng = np.random.default_rng(0)
    data = prepare(framed(points(200, rng)), TrainingSource())
    assert without_copies(data).notes == ()
    assert len(without_copies(data).normal) == 200
    x = rng.choice(4, p=[0.55, 0.25, 0.15, 0.05], size=(400, 5)).astype(float)
    natural = without_copies(prepare(framed(x), TrainingSource()))
    assert len(natural.normal) == 400
    assert "repeat another one, as such rows do by nature" in natural.notes[0]


def test_few_tight_clusters_are_states_and_no_copies() -> None:
    """Rows of three states of a machine, far apart and of equal sizes, all count."""
    rng = np.random.default_rng(0)
    states = np.repeat(rng.normal(size=(3, 6)), 100, axis=0)
    rows = (states + 0.001 * rng.normal(size=states.shape)).astype(np.float32)
    assert find_copies(rows, np.ones(6, bool)).near == 0
