"""Tests of `training.scoring` and `training.memory`: the score that is built around a network."""

import numpy as np
import numpy.typing as npt
import pytest
import torch

from service.detector.encode import LIMIT
from service.detector.networks import build
from service.detector.networks.names import ScoreName
from service.detector.networks.scored import ScoredTabular
from service.detector.networks.tabular import TabularVAE
from service.detector.runtime import OUTPUTS, OnnxProgram, TorchProgram
from service.detector.schema import BooleanColumn, CategoricalColumn, Column, NumericColumn, Schema
from training.config import FitConfig
from training.export import export
from training.fit import fit
from training.memory import centroids, tangents
from training.scoring import build_program

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
    return build_program(fitted(x, schema), x, schema, score, memory, 0), x


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
    onnx = OnnxProgram(*export(program, x.shape[1]), x.shape[1])
    rebuilt = TorchProgram(shape, tensors, "cpu")
    assert isinstance(build(shape), ScoredTabular)
    for name, one, other in zip(OUTPUTS, onnx.run(x, OUTPUTS), rebuilt.run(x, OUTPUTS), strict=True):
        assert (np.abs(one - other) <= 1e-4 * np.maximum(1, np.abs(one))).all(), name


def test_the_memory_is_bounded() -> None:
    """Beyond its size the memory holds centroids, the suspects' apart from the core's."""
    program, x = built(PLAIN, memory=100)
    assert program.neighbours is not None
    shape = program.neighbours.memory.shape
    assert 90 <= shape.core + shape.suspects <= 100
    assert shape.suspects > 10
    held = scores(program, np.ascontiguousarray(rows(300, seed=3)[:, :5]))
    assert abs(np.median(held) - np.median(scores(program, x))) < 1.5


def test_what_was_seen_lies_within_the_histograms() -> None:
    """The least and the greatest value of a feature are no less likely for lying on an edge."""
    x = np.random.default_rng(5).uniform(-3, 3, (400, 4)).astype(np.float32)
    schema = Schema(tuple(NumericColumn(f"n{i}", 0, 1, -3, 3) for i in range(4)), rows=400)
    program = build_program(fitted(x, schema), x, schema, "neighbours", 2048, 0)
    assert program.neighbours is not None
    marginals = program.neighbours.marginals
    places = (torch.from_numpy(x) - marginals.low) * marginals.per_unit
    inside = (places > 0) & (places < marginals.size)
    for feature, size in enumerate(marginals.size):
        seen = places[inside[:, feature], feature]
        assert 0.001 < seen.min() < 0.01
        assert 0.001 < size - seen.max() < 0.01


def test_centroids_are_means_of_their_rows() -> None:
    """k-means keeps the overall mean, weighted by size, and leaves few points as they are."""
    points = torch.randn(500, 3)
    generator = torch.Generator().manual_seed(0)
    found = centroids(points, 20, generator)
    assert len(found) <= 20
    assert (torch.cdist(points, found).min(1).values.mean() < torch.cdist(points, points.mean(0)[None]).mean()).item()
    assert centroids(points[:10], 20, generator) is not None
    assert len(centroids(points[:10], 20, generator)) == 10


def test_tangents_shorten_no_step_beyond_nothing() -> None:
    """Each tangent is at most of unit length, also where all neighbours are the same."""
    points = torch.cat([torch.randn(60, 5), torch.zeros(40, 5)])
    found = tangents(points, points, torch.arange(100), 4)
    assert torch.isfinite(found).all()
    assert found.norm(dim=-1).max() <= 1 + 1e-5
