"""Tests of `scoring` and `memory`: the score that is built around a network."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from kilter.service.detector.columns import BooleanColumn, CategoricalColumn, Column, NumericColumn
from kilter.service.detector.columns.base import LIMIT
from kilter.service.detector.networks import build
from kilter.service.detector.networks.names import ScoreName
from kilter.service.detector.networks.scored import ScoredTabular
from kilter.service.detector.networks.tabular import TabularVAE
from kilter.service.detector.runtime import OUTPUTS, OnnxProgram, TorchProgram
from kilter.service.detector.schema import Schema
from kilter.training.config import FitConfig
from kilter.training.export import export
from kilter.training.fit import fit
from kilter.training.memory import PARTS, sample, tangents
from kilter.training.scoring import build_program, score_rows

NAN, INF = float("nan"), float("inf")
BRIEF = FitConfig(steps=60, hidden=16, batch_rows=32)
NUMBERS: tuple[Column, ...] = tuple(NumericColumn(f"n{i}", 0, 1, -3, 3, missing=20 * (i == 1)) for i in range(4))
MIXED = Schema(
    (
        *NUMBERS,
        NumericColumn("c", 0, 1, 7, 7, constant=7.0),
        BooleanColumn("b", ("1",), ("0",)),
        CategoricalColumn("k", ("a", "b"), (250, 50)),
    ),
    rows=300,
)
PLAIN = Schema((*NUMBERS, NumericColumn("c", 0, 1, 7, 7, constant=7.0)), rows=300)


def rows(count: int, seed: int = 0) -> npt.NDArray[np.float32]:
    """Encoded normal rows of the mixed schema; the plain one has its first five columns."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(count, 2))
    numbers = np.column_stack([z, z @ [[1, 0.5], [0.5, -1]] + 0.1 * rng.normal(size=(count, 2))])
    numbers[rng.random(count) < 0.07, 1] = np.nan
    flags = np.column_stack([np.zeros(count), z[:, 0] > 0, rng.random(count) < 0.2])
    return np.column_stack([numbers, flags]).astype(np.float32)


def built(
    schema: Schema, score: ScoreName = "neighbours", memory: int = 2048
) -> tuple[ScoredTabular, npt.NDArray[np.float32]]:
    """A program fitted briefly to 300 rows, and the rows."""
    x = np.ascontiguousarray(rows(300)[:, : len(schema.columns)])
    return build_program(fitted(x, schema), x, x[:0], schema, score, memory, 0).program, x


def fitted(x: npt.NDArray[np.float32], schema: Schema) -> TabularVAE:
    """A network fitted briefly."""
    network, _ = fit(x, schema, BRIEF, seed=0)
    assert isinstance(network, TabularVAE)
    return network


def scores(program: ScoredTabular, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The scores of encoded rows."""
    with torch.no_grad():
        found: npt.NDArray[np.float32] = program(torch.from_numpy(x))[0].numpy()
    return found


@pytest.mark.parametrize("schema", [MIXED, PLAIN], ids=["mixed", "plain"])
@pytest.mark.parametrize("score", ["neighbours", "elbo"])
def test_what_training_never_saw_raises_the_score(schema: Schema, score: ScoreName) -> None:
    """A changed constant, an unseen level, a missing value where none was, and a number far out."""
    program, _ = built(schema, score)
    x = np.ascontiguousarray(rows(100, seed=1)[:, : len(schema.columns)])
    usual = np.median(scores(program, x))
    for feature, value in ((4, 1.0), (0, 12.0), (0, NAN), *(((6, 2.0), (6, NAN)) if schema is MIXED else ())):
        odd = x.copy()
        odd[:, feature] = value
        changed = scores(program, odd)
        assert np.isfinite(changed).all()
        assert np.median(changed) > usual + 0.3, (feature, value)


def test_hiding_a_value_is_not_the_same_as_missing_it() -> None:
    """A hidden value is evidence of nothing; one that is missing where none was is."""
    program, _ = built(PLAIN)
    x = np.ascontiguousarray(rows(100, seed=1)[:, :5])
    hidden, missing = x.copy(), x.copy()
    hidden[:, 0], missing[:, 0] = INF, NAN
    assert np.median(scores(program, hidden)) < np.median(scores(program, missing)) - 0.3


@pytest.mark.parametrize("schema", [MIXED, PLAIN], ids=["mixed", "plain"])
@pytest.mark.parametrize("memory", [2048, 100])
def test_the_exported_program_and_the_rebuilt_network_agree(schema: Schema, memory: int) -> None:
    """From its shape and tensors alone the network gives what the ONNX program gives, for every output."""
    import msgspec

    program, _ = built(schema, memory=memory)
    x = np.ascontiguousarray(rows(40, seed=2)[:, : len(schema.columns)])
    x[3, 0], x[4, 2], x[5, 4], x[6, :] = NAN, INF, 1.0, NAN
    x[7, 0] = LIMIT
    shape = msgspec.to_builtins(program.shape)
    tensors = {name: tensor.numpy() for name, tensor in program.state_dict().items()}
    onnx = OnnxProgram(*export(program, x.shape[1]), x.shape[1], 256)
    rebuilt = TorchProgram(shape, tensors, "cpu", 256)
    assert isinstance(build(shape), ScoredTabular)
    for name, one, other in zip(OUTPUTS, onnx.run(x, OUTPUTS), rebuilt.run(x, OUTPUTS), strict=True):
        assert (np.abs(one - other) <= 1e-4 * np.maximum(1, np.abs(one))).all(), name


def test_the_memory_is_bounded() -> None:
    """Beyond its size the memory holds a sample, in which suspects count double."""
    program, x = built(PLAIN, memory=100)
    assert program.neighbours is not None
    shape = program.neighbours.memory.shape
    assert 97 <= shape.core + shape.suspects <= 100
    assert 30 <= shape.suspects <= 40
    held = scores(program, np.ascontiguousarray(rows(300, seed=3)[:, :5]))
    assert abs(np.median(held) - np.median(scores(program, x))) < 1.5


def test_what_was_seen_lies_within_the_histograms() -> None:
    """The least and the greatest value of a feature are no less likely for lying on an edge."""
    x = np.random.default_rng(5).uniform(-3, 3, (400, 4)).astype(np.float32)
    schema = Schema(tuple(NumericColumn(f"n{i}", 0, 1, -3, 3) for i in range(4)), rows=400)
    program = build_program(fitted(x, schema), x, x[:0], schema, "neighbours", 2048, 0).program
    assert program.neighbours is not None
    marginals = program.neighbours.marginals
    assert marginals is not None
    bins = marginals.shape.bins
    places = (torch.from_numpy(x) - marginals.start) * marginals.per_unit
    for seen in places.T:
        inside = seen[(seen > 1) & (seen < bins + 1)]
        assert 1.001 < inside.min() < 1.01
        assert bins + 0.99 < inside.max() < bins + 0.999


@pytest.mark.parametrize("schema", [MIXED, PLAIN], ids=["mixed", "plain"])
@pytest.mark.parametrize("memory", [2048, 100])
def test_a_calibration_row_is_judged_as_if_the_memory_did_not_hold_it(schema: Schema, memory: int) -> None:
    """Its score left out is that of a program whose memory has something far away in its place."""
    x, calibration = (np.ascontiguousarray(rows(n, seed)[:, : len(schema.columns)]) for n, seed in ((300, 0), (60, 4)))
    program, own = build_program(fitted(x, schema), x, calibration, schema, "neighbours", memory, 0)
    assert program.neighbours is not None
    assert own is not None
    left_out = score_rows(program, calibration, own)
    held = program.neighbours.memory
    assert (own >= 0).sum() >= 57 if memory == 2048 else 5 < (own >= 0).sum() < 40
    for i in torch.where(own >= 0)[0][:8].tolist():
        before = held.rows[own[i]].clone()
        held.rows[own[i]] += 1_000
        held.index()
        assert score_rows(program, calibration[i : i + 1])[0] == pytest.approx(left_out[i], rel=1e-3, abs=1e-3)
        held.rows[own[i]] = before
    held.index()
    known = own < 0
    np.testing.assert_allclose(score_rows(program, calibration[known]), left_out[known], rtol=1e-4, atol=1e-4)


def test_what_the_memory_knows_of_its_rows_comes_from_fitted_rows_alone() -> None:
    """Radii and tangents of the fitted rows are the same whatever calibration rows are beside them.

    Otherwise a calibration row would be part of the tangents by which it is judged, as no new record is.
    """
    x, calibration = (np.ascontiguousarray(rows(n, seed)[:, :5]) for n, seed in ((300, 0), (60, 4)))
    network = fitted(x, PLAIN)
    radii = []
    for others in (calibration, calibration[:0]):
        program = build_program(network, x, others, PLAIN, "neighbours", 2048, 0).program
        assert program.neighbours is not None
        memory = program.neighbours.memory
        radii.append(
            {tuple(row): float(radius) for row, radius in zip(memory.rows.tolist(), memory.radius, strict=True)}
        )
    both = radii[0].keys() & radii[1].keys()
    assert len(both) >= 290
    assert all(radii[0][row] == pytest.approx(radii[1][row], rel=1e-5) for row in both)


def test_a_memory_that_holds_its_calibration_rows_keeps_the_promise() -> None:
    """Over many draws as many normal records are flagged as the rate says, or fewer."""
    rates = []
    for seed in range(12):
        x, calibration, new = (np.ascontiguousarray(rows(n, 100 * seed + n)[:, :5]) for n in (120, 39, 1_000))
        program, own = build_program(fitted(x, PLAIN), x, calibration, PLAIN, "neighbours", 2048, seed)
        threshold = np.sort(score_rows(program, calibration, own))[-4]
        rates.append(np.mean(score_rows(program, new) > threshold))
    assert 0.06 < np.mean(rates) < 0.13


def test_a_sample_keeps_suspects_rather_than_the_core() -> None:
    """They are half of it at most, and those of the core a multiple of the parts; without need none is left out."""
    generator = torch.Generator().manual_seed(0)
    suspect = torch.arange(1_000) % 5 == 0
    for size, expected in ((2_000, 200), (500, 200), (100, 40)):
        core, suspects = sample(suspect, size, generator)
        assert len(suspects) == expected
        assert len(core) == min(800, size - expected) // PARTS * PARTS
        assert suspect[suspects].all()
        assert not suspect[core].any()
        assert len(set(core.tolist())) == len(core)


def test_tangents_shorten_no_step_beyond_nothing() -> None:
    """Each tangent is at most of unit length, also where all neighbours are the same."""
    points = torch.cat([torch.randn(60, 5), torch.zeros(40, 5)])
    found = tangents(points, points, torch.arange(100), 4)
    assert torch.isfinite(found).all()
    assert found.norm(dim=-1).max() <= 1 + 1e-5
