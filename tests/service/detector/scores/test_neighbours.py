"""Tests of `detector.scores.neighbours`: the score that is built around a network of tables."""

import math

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from kilter.service.detector.columns import BooleanColumn, CategoricalColumn, Column, NumericColumn
from kilter.service.detector.columns.base import LIMIT
from kilter.service.detector.manifest import NetworkEntry, ScoreEntry
from kilter.service.detector.networks.base import Network
from kilter.service.detector.runtime import OUTPUTS, OnnxProgram, TorchProgram
from kilter.service.detector.schema import Schema
from kilter.service.detector.scores.base import ScoredNetwork
from kilter.service.detector.scores.memory import Memory
from kilter.service.detector.scores.neighbours import Marginals, MarginalsShape, Neighbours
from kilter.training.config import FitConfig, TrainConfig
from kilter.training.fitting.fit import fit
from kilter.training.fitting.model import score_around, score_rows
from kilter.training.fitting.programs import export

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
    schema: Schema, score: str = "neighbours", memory: int = 2048
) -> tuple[ScoredNetwork, npt.NDArray[np.float32]]:
    """A program fitted briefly to 300 rows, and the rows."""
    x = np.ascontiguousarray(rows(300)[:, : len(schema.columns)])
    return around(fitted(x, schema), x, x[:0], schema, score, memory)[0], x


def fitted(x: npt.NDArray[np.float32], schema: Schema) -> Network:
    """A network fitted briefly."""
    return fit(x, schema, BRIEF, seed=0)[0]


def around(
    network: Network,
    x: npt.NDArray[np.float32],
    calibration: npt.NDArray[np.float32],
    schema: Schema,
    score: str = "neighbours",
    memory: int = 2048,
    seed: int = 0,
) -> tuple[ScoredNetwork, Tensor | None]:
    """The program of a network."""
    return score_around(network, score, x, calibration, schema, TrainConfig(memory_rows=memory, seed=seed))


def memory_of(program: ScoredNetwork) -> Memory:
    """The memory of the default score."""
    assert isinstance(program.score, Neighbours)
    return program.score.memory


def scores(program: ScoredNetwork, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The scores of encoded rows."""
    with torch.no_grad():
        found: npt.NDArray[np.float32] = program(torch.from_numpy(x))[0].numpy()
    return found


@pytest.mark.parametrize("schema", [MIXED, PLAIN], ids=["mixed", "plain"])
@pytest.mark.parametrize("score", ["neighbours", "elbo"])
def test_what_training_never_saw_raises_the_score(schema: Schema, score: str) -> None:
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
    program, _ = built(schema, memory=memory)
    x = np.ascontiguousarray(rows(40, seed=2)[:, : len(schema.columns)])
    x[3, 0], x[4, 2], x[5, 4], x[6, :] = NAN, INF, 1.0, NAN
    x[7, 0] = LIMIT
    network = NetworkEntry("tabular-vae", 2, 1, msgspec.to_builtins(program.network.shape))
    score = ScoreEntry("neighbours", "neighbours", "", 4, 1e-4, msgspec.to_builtins(program.score.shape))
    tensors = {name: tensor.numpy() for name, tensor in program.state_dict().items()}
    onnx = OnnxProgram(export(program, x.shape[1]), x.shape[1], 256)
    rebuilt = TorchProgram(network, score, tensors, "cpu", 256)
    for name, one, other in zip(OUTPUTS, onnx.run(x, OUTPUTS), rebuilt.run(x, OUTPUTS), strict=True):
        assert (np.abs(one - other) <= 1e-4 * np.maximum(1, np.abs(one))).all(), name


def test_the_memory_is_bounded() -> None:
    """Beyond its size the memory holds a sample, in which suspects count double."""
    program, x = built(PLAIN, memory=100)
    shape = memory_of(program).shape
    assert 97 <= shape.core + shape.suspects <= 100
    assert 30 <= shape.suspects <= 40
    held = scores(program, np.ascontiguousarray(rows(300, seed=3)[:, :5]))
    assert abs(np.median(held) - np.median(scores(program, x))) < 1.5


def test_what_was_seen_lies_within_the_histograms() -> None:
    """The least and the greatest value of a feature are no less likely for lying on an edge."""
    x = np.random.default_rng(5).uniform(-3, 3, (400, 4)).astype(np.float32)
    schema = Schema(tuple(NumericColumn(f"n{i}", 0, 1, -3, 3) for i in range(4)), rows=400)
    program, _ = around(fitted(x, schema), x, x[:0], schema)
    assert isinstance(program.score, Neighbours)
    marginals = program.score.marginals
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
    program, own = around(fitted(x, schema), x, calibration, schema, memory=memory)
    assert own is not None
    left_out = score_rows(program, calibration, own)
    held = memory_of(program)
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
        memory = memory_of(around(network, x, others, PLAIN)[0])
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
        program, own = around(fitted(x, PLAIN), x, calibration, PLAIN, seed=seed)
        threshold = np.sort(score_rows(program, calibration, own))[-4]
        rates.append(np.mean(score_rows(program, new) > threshold))
    assert 0.06 < np.mean(rates) < 0.13


@pytest.fixture
def marginals() -> Marginals:
    """Two numbers, one in four bins over [0, 2], one in four over [-1, 1]; what a bin says is its position."""
    marginals = Marginals(MarginalsShape(2, 4))
    marginals.start.copy_(torch.tensor([-0.5, -1.5]))
    marginals.per_unit.copy_(torch.tensor([2.0, 2.0]))
    marginals.table.copy_(torch.tensor([[90.0, 1, 2, 3, 4, 91, 92, 93], [900, 10, 20, 30, 40, 910, 920, 930]]))
    return marginals


@pytest.mark.parametrize(
    ("value", "expected"),
    [(0.0, 1), (0.49, 1), (0.5, 2), (1.99, 4), (2.1, 91), (-0.1, 90), (1e6, 91), (-1e6, 90), (INF, 92), (NAN, 93)],
)
def test_a_number_has_the_evidence_of_its_bin(value: float, expected: float, marginals: Marginals) -> None:
    """Below, above, hidden and missing have bins of their own; the evidence of a record is the sum."""
    assert marginals(torch.tensor([[value, 0.1]])).item() == expected + 30


def test_nothing_is_out_of_bounds(marginals: Marginals) -> None:
    """Whatever stands in a record, some bin of its own feature is meant."""
    strange = torch.tensor([NAN, INF, -INF, 3.4e38, -3.4e38, 0.0])
    for first in strange:
        for second in strange:
            found = marginals(torch.stack([first, second])[None]).item()
            assert math.isfinite(found)
            assert found % 10 in (0, 1, 2, 3, 4)
