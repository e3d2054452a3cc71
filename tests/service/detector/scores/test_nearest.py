"""Tests of `detector.scores.nearest`: the distance to the nearest remembered row."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors

from kilter.service.detector.arrays import Matrix
from kilter.training.fitting.model import score_rows
from tests.support.shallow import ROWS, mixed_rows, numbers_only, program_of


def numbers(rows: int, seed: int) -> Matrix:
    """Numbers in five columns."""
    return np.random.default_rng(seed).normal(size=(rows, 5)).astype(np.float32)


def test_it_is_the_distance_that_scikit_learn_finds() -> None:
    program, _ = program_of("nearest", numbers(ROWS, 0), numbers_only(5))
    near = NearestNeighbors(n_neighbors=1).fit(numbers(ROWS, 0))
    assert score_rows(program, numbers(100, 1)) == pytest.approx(near.kneighbors(numbers(100, 1))[0][:, 0], abs=1e-5)


def test_rows_that_are_remembered_are_judged_without_themselves() -> None:
    """Fitting and calibration rows are all remembered; a calibration row has the distance to the nearest other one."""
    x, calibration = numbers(ROWS, 0), numbers(60, 1)
    program, own = program_of("nearest", x, numbers_only(5), calibration)
    assert own is not None
    assert sorted(own.tolist()) == sorted(set(own.tolist()))
    assert program.score.memory_entry is not None
    assert program.score.memory_entry.rows == ROWS + 60
    whole = np.concatenate([x, calibration])
    second = NearestNeighbors(n_neighbors=2).fit(whole).kneighbors(calibration)[0][:, 1]
    assert score_rows(program, calibration, own) == pytest.approx(second, abs=1e-5)
    assert score_rows(program, calibration) == pytest.approx(np.zeros(60), abs=1e-5)


def test_no_more_rows_are_remembered_than_asked_for() -> None:
    """A random sample of fitting and calibration rows; a calibration row that is not in it is a new one."""
    x, calibration = numbers(ROWS, 0), numbers(100, 1)
    program, own = program_of("nearest", x, numbers_only(5), calibration, memory=64)
    assert own is not None
    assert program.score.memory_entry is not None
    assert program.score.memory_entry.rows == 64
    held = own >= 0
    assert 5 < int(held.sum()) < 40
    scores = score_rows(program, calibration, own)
    assert scores.min() > 0
    assert scores[~held.numpy()] == pytest.approx(score_rows(program, calibration)[~held.numpy()])


def test_calibration_rows_change_nothing_but_the_memory() -> None:
    """So that they are exchangeable with new ones."""
    x = mixed_rows(ROWS)
    with_them, _ = program_of("nearest", x, calibration=mixed_rows(50, seed=1))
    without, own = program_of("nearest", x)
    assert own is None
    for name, tensor in without.state_dict().items():
        if name not in ("score.rows", "score.center"):
            assert torch.equal(tensor, with_them.state_dict()[name]), name
