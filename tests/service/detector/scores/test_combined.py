"""Tests of `detector.scores.combined`: the score that is built around a network of tables."""

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score
from torch import Tensor

from kilter.service.detector.columns import BooleanColumn, CategoricalColumn, Column, NumericColumn
from kilter.service.detector.columns.base import LIMIT
from kilter.service.detector.manifest import NetworkEntry, ScoreEntry
from kilter.service.detector.networks.base import Network
from kilter.service.detector.runtime import OUTPUTS, OnnxProgram, TorchProgram
from kilter.service.detector.schema import Schema
from kilter.service.detector.scores.base import ScoredNetwork
from kilter.service.detector.scores.combined import CombinedScore, area, mix_fields, power_mean
from kilter.service.detector.scores.memory import Memory
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
    schema: Schema, score: str = "weighted-surprise", memory: int = 2048
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
    score: str = "weighted-surprise",
    memory: int = 2048,
    seed: int = 0,
) -> tuple[ScoredNetwork, Tensor | None]:
    """The program of a network."""
    return score_around(network, score, x, calibration, schema, TrainConfig(memory_rows=memory, seed=seed))


def memory_of(program: ScoredNetwork) -> Memory:
    """The memory of the default score."""
    assert isinstance(program.score, CombinedScore)
    return program.score.memory


def scores(program: ScoredNetwork, x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """The scores of encoded rows."""
    with torch.no_grad():
        found: npt.NDArray[np.float32] = program(torch.from_numpy(x))[0].numpy()
    return found


@pytest.mark.parametrize("schema", [MIXED, PLAIN], ids=["mixed", "plain"])
@pytest.mark.parametrize("score", ["weighted-surprise", "elbo"])
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
    score = ScoreEntry("weighted-surprise", "neighbours", "", 4, 1e-4, msgspec.to_builtins(program.score.shape))
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
        program.score.index(program.network)
        assert score_rows(program, calibration[i : i + 1])[0] == pytest.approx(left_out[i], rel=1e-3, abs=1e-3)
        held.rows[own[i]] = before
    held.index()
    program.score.index(program.network)
    known = own < 0
    np.testing.assert_allclose(score_rows(program, calibration[known]), left_out[known], rtol=1e-4, atol=1e-4)


def test_what_the_memory_knows_of_its_rows_comes_from_fitted_rows_alone() -> None:
    """Radii of the fitted rows are the same whatever calibration rows are beside them.

    Otherwise a calibration row would be part of the radius by which it is judged, as no new record is.
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


@pytest.mark.parametrize(("schema", "parts"), [(MIXED, 5), (PLAIN, 6)], ids=["mixed", "plain"])
def test_weights_are_a_share_of_one_each(schema: Schema, parts: int) -> None:
    """The relative distance is left out where there are levels."""
    score = built(schema)[0].score
    assert isinstance(score, CombinedScore)
    assert score.weight.shape == (parts,)
    assert float(score.weight.sum()) == pytest.approx(1, abs=1e-6)
    assert (score.weight > 0).all()


def test_the_mean_of_surprises_hears_a_single_large_one() -> None:
    """More than a plain mean does, which has the exponent 1; of equal ones it is that value, and 0 of none."""
    weight = torch.tensor([0.25, 0.75])
    values = torch.tensor([[8.0, 0.0], [2.0, 2.0], [0.0, 0.0]])
    mean = power_mean(values, weight, 1.5)
    assert mean[0] > power_mean(values, weight, 1)[0] == 2
    torch.testing.assert_close(mean[1:], torch.tensor([2.0, 0.0]))


def test_a_wide_table_has_the_relative_distance_and_that_from_the_span_alone() -> None:
    """No more rows than features: neither network nor mixture has a voice, and the score can be exported."""
    x = np.random.default_rng(0).normal(size=(60, 80)).astype(np.float32)
    schema = Schema(tuple(NumericColumn(f"n{i}", 0, 1, -3, 3) for i in range(80)), rows=60)
    program, _ = around(fitted(x, schema), x, x[:0], schema)
    score = program.score
    assert isinstance(score, CombinedScore)
    assert score.shape.pieces == ("relative", "span")
    assert not len(score.raw_rows)
    assert OnnxProgram(export(program, 80), 80, 256).run(x, ("score",))[0] == pytest.approx(
        scores(program, x), abs=1e-3
    )


def test_a_table_of_twenty_rows_and_one_column_is_scored() -> None:
    """There is nothing to mix up, and every piece of evidence weighs the same or nearly so."""
    x = np.random.default_rng(0).normal(size=(20, 1)).astype(np.float32)
    schema = Schema((NumericColumn("n", 0, 1, -3, 3),), rows=20)
    program, _ = around(fitted(x, schema), x, x[:0], schema)
    near, far = scores(program, np.array([[0.0], [8.0]], np.float32))
    assert np.isfinite([near, far]).all()
    assert far > near


def test_broken_relations_are_told_where_there_are_some() -> None:
    """Rows whose fields are mixed up rank above normal ones, each field of them as usual as any."""
    program, _ = built(PLAIN)
    x = torch.from_numpy(np.ascontiguousarray(rows(400, seed=7)[:, :5]))
    mixed = mix_fields(x, torch.arange(5), 1.0, torch.Generator().manual_seed(0))
    assert sorted(mixed[:, 0].tolist()) != sorted(x[:, 0].tolist())
    assert float(area(*(torch.from_numpy(scores(program, part.numpy())) for part in (x, mixed)))) > 0.8


@given(
    usual=st.lists(st.integers(0, 5), min_size=1, max_size=30), odd=st.lists(st.integers(0, 5), min_size=1, max_size=30)
)
def test_the_area_is_that_under_the_roc_curve(usual: list[int], odd: list[int]) -> None:
    """Against scikit-learn, ties included."""
    labels = [0] * len(usual) + [1] * len(odd)
    found = area(torch.tensor(usual).float(), torch.tensor(odd).float())
    assert float(found) == pytest.approx(roc_auc_score(labels, usual + odd), abs=1e-6)


@given(share=st.sampled_from([0.1, 0.5, 1.0]), columns=st.integers(1, 12))
def test_mixed_up_fields_come_from_their_own_column(share: float, columns: int) -> None:
    """A column moves with all its features, and as many columns as the share says come from elsewhere."""
    x = torch.arange(40 * columns * 2).reshape(40, columns * 2).float()
    column = torch.arange(columns).repeat_interleave(2)
    mixed = mix_fields(x, column, share, torch.Generator().manual_seed(1))
    source = mixed.div(columns * 2).floor()
    assert (mixed - source * columns * 2 == torch.arange(columns * 2)).all()
    assert (source[:, ::2] == source[:, 1::2]).all()
    moved = (source[:, ::2] != torch.arange(40)[:, None]).sum(1)
    assert moved.max() <= max(1, round(share * columns))
    assert moved.float().mean() > 0.7 * max(1, round(share * columns))
