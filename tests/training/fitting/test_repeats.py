"""Tests of `fitting.repeats`: copies of a row are found, and stay on one side wherever rows are set apart."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import KilterError
from kilter.service.detector.inputs import take
from kilter.training.config import FitConfig, TrainConfig
from kilter.training.data.source import TrainingData, TrainingSource
from kilter.training.data.tables import prepare
from kilter.training.fitting.fit import FOLDS, folds
from kilter.training.fitting.model import fit_model, score_rows
from kilter.training.fitting.repeats import (
    CHUNK,
    first_of_each,
    identities,
    normal_identities,
    repeats_in_words,
)
from kilter.training.fitting.split import MOST, choose_size, split_rows, supported_rate

SEEDS = st.integers(0, 2**32)
BRIEF = TrainConfig(target_fpr=0.05, device="cpu", fit=FitConfig(steps=20, hidden=8))


@given(st.lists(st.integers(0, 5), max_size=40), st.lists(st.integers(0, 40), max_size=4), SEEDS)
def test_rows_are_numbered_as_they_appear_wherever_matrices_end(kinds: list[int], cuts: list[int], seed: int) -> None:
    """Two rows have one number where, and only where, they are the same; the first of each is known."""
    base = np.random.default_rng(seed).normal(size=(6, 3)).astype(np.float32)
    base[4] = np.nan
    x = base[kinds]
    same = identities(np.split(x, sorted(cuts)))
    seen: dict[int, int] = {}
    assert same.tolist() == [seen.setdefault(kind, len(seen)) for kind in kinds]
    assert first_of_each(same).tolist() == sorted({kind: kinds.index(kind) for kind in kinds}.values())


def test_what_is_missing_is_the_same_however_it_is_written() -> None:
    """NaN of any bits, and a zero of either sign; a hidden value, which is infinite, is not a missing one."""
    other = np.array([0x7FC00001], np.uint32).view(np.float32)[0]
    x = np.array([[np.nan, 0.0], [other, -0.0], [np.inf, 0.0]], np.float32)
    assert identities([x]).tolist() == [0, 0, 1]


def with_copies(counts: list[int], seed: int, **columns: Any) -> TrainingData:
    """A table of as many distinct rows as counts, each so often, in random order."""
    rng = np.random.default_rng(seed)
    frame = pl.DataFrame({f"x{i}": rng.normal(size=len(counts)) for i in range(3)} | columns)
    return prepare(frame[rng.permutation(np.repeat(np.arange(len(counts)), counts))], TrainingSource())


def test_a_row_is_known_by_its_meaning() -> None:
    """Spellings of one value are the same, and so are rows that only a numbering or an identifier tells apart."""
    rng = np.random.default_rng(0)
    texts = [f"{value:.3f}" for value in rng.normal(size=200)]
    once = pl.DataFrame({"x": texts, "flag": rng.choice(["true", "false"], 200), "k": rng.choice(["a", "b"], 200)})
    again = once.with_columns(pl.col("x") + "0")
    data = prepare(pl.concat([once, again]).with_row_index("number"), TrainingSource())
    assert [column.name for column in data.draft.left_out] == ["number"]
    same = normal_identities(data)
    assert np.array_equal(same[:200], same[200:])


def test_all_rows_of_a_long_table_are_compared_with_each_other() -> None:
    """Also those that are not encoded together."""
    data = with_copies([2] * CHUNK, 0)
    assert len(first_of_each(normal_identities(data))) == CHUNK


COPIES = st.lists(st.sampled_from([1, 1, 1, 2, 5, 50]), min_size=60, max_size=200)


@given(COPIES, SEEDS, st.booleans())
def test_no_two_parts_of_a_split_share_a_row(counts: list[int], seed: int, by_time: bool) -> None:
    """The fit has all copies, the calibration one of each, as many as distinct rows support."""
    rng = np.random.default_rng(seed)
    same = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    normal = np.sort(rng.permutation(2 * len(same))[: len(same)])
    times = rng.integers(0, 9, 2 * len(same)).astype("datetime64[D]").astype("datetime64[us]") if by_time else None
    parts = split_rows(normal, None, seed, times, same)
    of = dict(zip(normal.tolist(), same.tolist(), strict=True))
    fit, calibration = ([of[row] for row in part.tolist()] for part in parts[:2])
    assert not {*fit} & {*calibration}
    assert len({*calibration}) == len(calibration) == choose_size(len(counts), supported_rate(len(counts)))
    assert len(fit) == sum(counts[kind] for kind in {*fit})
    assert {*fit} | {*calibration} == {*range(len(counts))}
    if by_time:
        assert times is not None
        rows = np.arange(len(same))
        oldest = [times[normal[rows[same == kind]]].min() for kind in calibration]
        assert (times[parts.calibration] == oldest).all()


@given(st.integers(30, 3000), SEEDS, st.sampled_from([None, 0.1]))
def test_a_table_without_copies_is_split_as_ever(rows: int, seed: int, rate: float | None) -> None:
    """By one permutation, the fit first; the numbers of the rows have no part in it. The same for folds."""
    normal = np.arange(rows)
    parts = split_rows(normal, rate, seed, None, np.random.default_rng(seed + 1).permutation(rows))
    order = np.random.default_rng(seed).permutation(normal)
    fitted, calibrating = len(parts.fit), len(parts.calibration)
    for part, expected in zip(parts[:3], np.split(order, [fitted, fitted + calibrating]), strict=True):
        assert np.array_equal(part, np.sort(expected))
    blind = folds(normal[::-1], 2, seed)[1]
    expected_folds = np.array_split(order, FOLDS)
    assert all(np.array_equal(*pair) for pair in zip(blind, expected_folds[:2], strict=True))


@given(COPIES, SEEDS, st.integers(1, 7))
def test_no_member_sees_a_copy_of_what_it_is_blind_to(counts: list[int], seed: int, members: int) -> None:
    """Folds have as many distinct rows as each other, but for one."""
    same = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    for seen, blind in zip(*folds(same, members, seed), strict=True):
        assert not {*same[seen]} & {*same[blind]}
        assert sorted([*seen, *blind]) == list(range(len(same)))
        assert len(counts) // FOLDS <= len({*same[blind]}) <= len(counts) // FOLDS + 1


@given(SEEDS)
def test_a_row_that_is_much_of_the_table_is_fitted(seed: int) -> None:
    """Were it to calibrate and be flagged, so would be all records like it, which are more than the rate allows."""
    counts = [100, *[1] * 99]
    same = np.random.default_rng(seed).permutation(np.repeat(np.arange(100), counts))
    parts = split_rows(np.arange(len(same)), 0.1, seed, None, same)
    assert (same[parts.fit] == 0).sum() == 100


def test_a_promise_needs_distinct_rows() -> None:
    """Copies give no support: the error counts rows that differ, and says why they are fewer than the file's."""
    same = np.arange(5_000) % 100
    with pytest.raises(KilterError, match=r"at least 198 distinct normal rows \(the others repeat them\) in all"):
        split_rows(np.arange(5_000), 0.01, 0, None, same)
    with pytest.raises(KilterError, match=r"there are 29 distinct normal rows \(the others repeat them\) to train on"):
        split_rows(np.arange(5_000), None, 0, None, np.arange(5_000) % 29)
    parts = split_rows(np.arange(5_000), None, 0, None, same)
    assert (parts.rate, len(parts.calibration)) == (0.05, 19)
    assert len(parts.calibration) <= 100 // MOST


def test_the_share_of_repeats_is_said() -> None:
    """In one sentence, and nothing where there are none."""
    assert repeats_in_words(np.arange(50)) is None
    assert repeats_in_words(np.arange(500) % 100) == (
        "400 of 500 normal records (80 %) repeat another one: 100 differ. Fit, calibration and evaluation share none "
        "of them, and calibration counts each once."
    )


@pytest.mark.parametrize("score", ["neighbours", "elbo"])
def test_a_calibration_row_is_scored_as_if_none_of_its_copies_had_been_seen(score: str) -> None:
    """The memory holds each distinct row once: without its own, a calibration row has no copy there."""
    data = with_copies([5] * 80 + [1] * 40, 1)
    config = TrainConfig(target_fpr=0.05, score=score, device="cpu", fit=BRIEF.fit)
    fitted = fit_model(data, config)
    assert len(fitted.calibration_scores) == len(fitted.split.calibration) == 19
    assert len({*normal_identities(data)[fitted.split.calibration]}) == 19
    if score == "neighbours":
        entry = fitted.module.score.memory_entry
        assert entry is not None
        assert entry.rows <= 120
        known = fitted.scorer.score(take(data.table, fitted.split.calibration)).score
        assert (known < fitted.calibration_scores).mean() > 0.9


def test_a_score_is_fitted_to_each_row_once() -> None:
    """With all its rows five times over, missing values and all, it is that of the rows themselves for one network."""
    rng = np.random.default_rng(3)
    holes = np.where(rng.random(100) < 0.2, np.nan, rng.normal(size=100))
    fitted = fit_model(with_copies([5] * 100, 3, h=holes), BRIEF)
    memory = fitted.module.state_dict()["score.memory.rows"].numpy()
    assert len(np.unique(memory, axis=0)) == len(memory)
    x = np.concatenate([*fitted.scorer.modality.encode(take(with_copies([1] * 100, 3, h=holes).table, np.arange(100)))])
    assert np.isfinite(score_rows(fitted.module, x)).all()
