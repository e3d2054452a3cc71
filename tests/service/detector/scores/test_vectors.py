"""Tests of `detector.scores.vectors`: records as standardised vectors, and what all scores of them have in common."""

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.service.detector.arrays import Matrix
from kilter.service.detector.columns import NumericColumn
from kilter.service.detector.manifest import NetworkEntry, ScoreEntry
from kilter.service.detector.runtime import OUTPUTS, OnnxProgram, TorchProgram
from kilter.service.detector.schema import Schema
from kilter.service.detector.scores import SCORES
from kilter.service.detector.scores.base import Material
from kilter.service.detector.scores.vectors import VectorScore, fit_vectors
from kilter.training.fitting.programs import export
from tests.support.shallow import MIXED, ROWS, SIMPLE, linear, mixed_rows, outputs_of, program_of

NAN, INF = float("nan"), float("inf")
PROGRAMS = {detector: program_of(detector, mixed_rows(ROWS))[0] for detector in SIMPLE}
simple = pytest.mark.parametrize("detector", SIMPLE)


def fitted(x: Matrix) -> tuple[torch.Tensor, torch.Tensor]:
    """Points and novelties of five new rows, by vectors that are fitted to the rows x of `MIXED`."""
    network = linear(x)
    rows = torch.from_numpy(x)
    parts = [torch.arange(len(x))]
    vectors = fit_vectors(network, Material(MIXED, rows, parts, parts, rows[:0], seed=0))
    new = mixed_rows(5, seed=1)
    new[:, 1] = 0.5
    new[1, 1], new[2, 0], new[3, 4], new[4, 6] = NAN, NAN, 1, 3
    inputs = torch.from_numpy(new)
    with torch.no_grad():
        points, novelties = vectors(network, inputs, network.expected_dense(network.see(inputs).likelihood))
    return points, novelties


def test_axes_are_what_varies_and_the_rest_is_counted() -> None:
    """Four numbers, a flag, three levels, and whether the one column is missing that may be. Of five rows the third has
    none where one always was, the fourth another constant, the last an unseen level."""
    points, novelties = fitted(mixed_rows(ROWS))
    assert points.shape == (5, 9)
    assert novelties[:, 0].tolist() == [0, 0, 1, 1, 1]
    assert (points[:, 8] > 0).tolist() == [False, True, False, False, False]
    assert points[4, 5:8].tolist() == [0, 0, 0]


def test_numbers_stand_as_they_are_and_levels_are_as_far_apart_as_they_surprise() -> None:
    """The squared distance of two levels is the sum of their surprises; that of the two values of a flag is 1 over its
    variance."""
    x = mixed_rows(ROWS)
    points, _ = fitted(x)
    new = mixed_rows(5, seed=1)
    assert points[0, [0, 2, 3]].tolist() == new[0, [0, 2, 3]].tolist()
    network = linear(x)
    share = (np.bincount(x[:, 6].astype(int)) + 1) / (ROWS + 2)
    weights = network.scale.square()
    assert weights[6:].tolist() == pytest.approx((-np.log(share)).tolist(), rel=1e-5)
    flag = (x[:, 5].sum() + 1) / (ROWS + 2)
    assert float(4 * weights[5]) == pytest.approx(1 / (flag * (1 - flag)), rel=1e-5)


@simple
def test_what_training_never_saw_raises_the_score(detector: str) -> None:
    """A changed constant, an unseen level, a value missing where none was, and a number far out: by a third of how far
    the highest twentieth of normal scores lies above their median, though a forest sees one axis among many."""
    program = PROGRAMS[detector]
    usual = outputs_of(program, mixed_rows(200, seed=1))[0]
    for feature, value in ((4, 1.0), (0, 12.0), (0, NAN), (6, 3.0), (6, NAN), (5, NAN)):
        odd = mixed_rows(200, seed=1)
        odd[:, feature] = value
        changed = outputs_of(program, odd)[0]
        assert np.isfinite(changed).all()
        assert np.median(changed) > np.median(usual) + (np.quantile(usual, 0.95) - np.median(usual)) / 3, feature


@simple
@given(st.data())
@settings(max_examples=15)
def test_a_batch_is_its_records(detector: str, data: st.DataObject) -> None:
    """Numbers of any size, missing and hidden values, unseen levels: every output is finite, and the same alone.

    The score is so to 1e-5 of its size; of the others a part may be what is left of large ones.
    """
    number = st.one_of(st.floats(-1000, 1000, width=32), st.sampled_from([NAN, INF]))
    flag = st.sampled_from([0.0, 1.0, 2.0, NAN, INF])
    level = st.sampled_from([0.0, 1.0, 2.0, 3.0, NAN, INF])
    record = st.tuples(number, number, number, number, flag, flag, level)
    x = np.array(data.draw(st.lists(record, min_size=2, max_size=8)), np.float32)
    together = outputs_of(PROGRAMS[detector], x)
    single = [outputs_of(PROGRAMS[detector], row[None]) for row in x]
    alone = [np.concatenate(parts) for parts in zip(*single, strict=True)]
    for name, one, other in zip(OUTPUTS, together, alone, strict=True):
        assert np.isfinite(one).all(), name
        size, digits = max(1.0, float(np.abs(other).max())), 1e-5 if name == "score" else 1e-4
        assert one == pytest.approx(other, rel=digits, abs=digits * (1 if name == "score" else size)), name


@simple
def test_hiding_a_value_is_not_the_same_as_missing_it(detector: str) -> None:
    """A hidden value is evidence of nothing: a number far out is as if it were not there."""
    program = PROGRAMS[detector]
    rows, odd, missing = (mixed_rows(200, seed=1) for _ in range(3))
    odd[:, 0], missing[:, 0] = INF, NAN
    usual, hidden, absent = (np.median(outputs_of(program, x)[0]) for x in (rows, odd, missing))
    assert hidden <= usual + 0.02 * abs(usual)
    assert absent > hidden


@simple
def test_a_program_is_the_same_in_every_form(detector: str) -> None:
    """The module in torch, its ONNX programs, and one that is rebuilt from a manifest's entries and tensors."""
    module, x = PROGRAMS[detector], mixed_rows(40, seed=1)
    x[3, 0], x[4, 6], x[5, 2] = NAN, 3, INF
    torch_outputs = outputs_of(module, x)
    onnx = OnnxProgram(export(module, x.shape[1]), x.shape[1], 16)
    network, score = module.network, module.score
    entry = NetworkEntry("linear-vae", 1, network.latent, msgspec.to_builtins(network.shape))
    kind = ScoreEntry(detector, detector, SCORES[detector].unit, 4, 1e-4, msgspec.to_builtins(score.shape))
    tensors = {name: tensor.numpy() for name, tensor in module.state_dict().items()}
    rebuilt = TorchProgram(entry, kind, tensors, "cpu", 16)
    for program in (onnx, rebuilt):
        for name, one, other in zip(OUTPUTS, torch_outputs, program.run(x, OUTPUTS), strict=True):
            assert other == pytest.approx(one, rel=1e-4, abs=1e-4), name


@simple
@pytest.mark.parametrize(
    "x",
    [
        np.random.default_rng(0).normal(size=(20, 5)).astype(np.float32),
        np.random.default_rng(0).normal(size=(24, 60)).astype(np.float32),
        np.column_stack([np.arange(40), np.arange(40) % 3, np.ones((40, 2))]).astype(np.float32) / 12,
        np.where(np.random.default_rng(1).random((60, 4)) < 0.7, NAN, 1.0).astype(np.float32),
        np.tile(np.random.default_rng(0).normal(size=(4, 3)), (15, 1)).astype(np.float32),
    ],
    ids=["20 rows", "fewer rows than columns", "constant", "mostly missing", "copies"],
)
def test_odd_tables_have_a_score_that_is_finite(detector: str, x: Matrix) -> None:
    """And rows far out score higher than half of them."""
    missing = np.isnan(x).sum(0).tolist()
    schema = Schema(tuple(NumericColumn(f"n{i}", 0, 1, -3, 3, missing=m) for i, m in enumerate(missing)), len(x))
    program, _ = program_of(detector, x, schema)
    far = np.random.default_rng(5).normal(size=(5, x.shape[1])).astype(np.float32) * 40
    scores = outputs_of(program, np.concatenate([x, far]))[0]
    assert np.isfinite(scores).all()
    assert scores[-5:].min() > np.median(scores[: len(x)])


def test_a_score_says_what_it_is_of() -> None:
    """The base class has no value of its own."""
    network = linear(mixed_rows(ROWS))
    score = PROGRAMS["pca"].score
    assert isinstance(score, VectorScore)
    with pytest.raises(NotImplementedError):
        VectorScore(network, score.vectors.shape).value(torch.zeros(1, 9), torch.zeros(1, 1), None)
