"""Hidden layers: their number, skips, batch norm and dropout, in networks of tables and of pictures."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.arrays import Matrix
from kilter.service.detector.columns import NumericColumn
from kilter.service.detector.errors import KilterError
from kilter.service.detector.networks.layers import BatchNorm, Convolution, Dropout, LayerBuild, Layers
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.schema import Schema
from kilter.training.config import FitConfig, read_config
from kilter.training.fitting.fit import fit

T = TypeVar("T")
TABLE = Schema(tuple(NumericColumn(f"n{i}", 0, 1, -3, 3) for i in range(3)), rows=200)
PICTURE = Schema((ImageColumn("image", 12, 12, 1),), rows=200)
BUILT = FitConfig(steps=30, hidden=16, depth=3, skip=True, batch_norm=True, dropout=0.2)


def rows(schema: Schema) -> Matrix:
    """Two hundred encoded rows, or pictures."""
    width = 3 if schema is TABLE else 144
    made: Matrix = np.random.default_rng(0).random((200, width), np.float32)
    return made


def seeded(layers: Callable[[], T]) -> T:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return layers()


@given(st.integers(1, 6), st.booleans(), st.booleans(), st.sampled_from([0.0, 0.5]))
@torch.no_grad()
def test_there_are_so_many_hidden_layers(depth: int, skip: bool, norm: bool, dropout: float) -> None:
    """One more is one more product; all parts of the outputs have their sizes, of every member."""
    build = LayerBuild(depth, skip, norm, dropout)
    net = seeded(lambda: Layers(2, 5, 8, 6, build).eval())
    assert len([*net.parameters()]) == 2 * (depth + 1) + 2 * depth * norm
    h = torch.randn(7, 5, generator=torch.Generator().manual_seed(0))
    assert [tuple(part.shape) for part in net(h, [2, 4])] == [(2, 7, 2), (2, 7, 4)]
    assert torch.equal(torch.cat(net(h, [2, 4]), -1), net(h, [6])[0])


@torch.no_grad()
def test_a_skip_adds_what_went_in() -> None:
    """Where it is as wide as what comes out: a layer that gives nothing passes on what it got."""
    for skip in (True, False):
        build = LayerBuild(2, skip)
        net = seeded(partial(Layers, 1, 4, 4, 4, build))
        net.weights[1].zero_()
        (out,) = net(torch.ones(1, 4), [4])
        first = net.activated(0, torch.ones(1, 4))
        assert torch.allclose(out, first @ net.weights[2]) == skip
        for inputs, stride in ((3, 1), (2, 1), (3, 2)):
            convolution = seeded(partial(Convolution, inputs, 3, stride, build))
            for parameter in convolution.parameters():
                parameter.zero_()
            pictures = torch.ones(2, inputs, 4, 4)
            passed = skip and (inputs, stride) == (3, 1)
            assert torch.equal(convolution(pictures), pictures) if passed else not convolution(pictures).any()


@given(st.integers(0, 99), st.floats(-5, 5), st.floats(0.1, 5))
@torch.no_grad()
def test_units_are_standardised_over_a_batch_and_then_as_usual(seed: int, mean: float, spread: float) -> None:
    """Of the batch in a fit; after it by what batches had, so that a record's own batch plays no part."""
    norm = BatchNorm((2, 1, 3), (1,))
    h = mean + spread * torch.randn(2, 500, 3, generator=torch.Generator().manual_seed(seed))
    standard = norm(h)
    assert torch.allclose(standard.mean(1), torch.zeros(2, 3), atol=1e-3)
    assert torch.allclose(standard.std(1, correction=0), torch.ones(2, 3), atol=1e-2)
    for _ in range(200):
        norm(h)
    norm.eval()
    assert torch.allclose(norm(h), standard, atol=1e-2)
    assert torch.equal(norm(h)[:, :1], norm(h[:, :1]))


def test_dropout_is_by_the_number_of_the_step() -> None:
    """Another in each step, the same again from a step that is restored, and none once it is fitted."""
    dropout, h = Dropout(0.25), torch.ones(4000)
    first, second = dropout(h), dropout(h)
    assert not torch.equal(first, second)
    assert float((first == 0).float().mean()) == pytest.approx(0.25, abs=0.03)
    assert float(first.mean()) == pytest.approx(1, abs=0.05)
    again = Dropout(0.25)
    again.load_state_dict({"batches": torch.tensor(1)})
    assert torch.equal(again(h), second)
    assert torch.equal(dropout.eval()(h), h)


@pytest.mark.parametrize("schema", [TABLE, PICTURE])
def test_a_fit_with_all_of_them_can_be_taken_up(schema: Schema, tmp_path: Path) -> None:
    """And comes to the same weights; what it gives of a record is the same whatever else is in the batch."""
    whole, history = fit(rows(schema), schema, BUILT, seed=0)
    path, steps = tmp_path / "checkpoint", []

    def killed(step: int, of: int, epoch: object) -> None:
        steps.append(step)
        if step == 25 and len(steps) == 25:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(rows(schema), schema, BUILT, 0, checkpoint=path, progress=killed)
    taken_up, same = fit(rows(schema), schema, BUILT, 0, checkpoint=path, progress=killed)
    assert steps[25] == 21  # it was saved at the 20th step
    assert history == same
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), taken_up.parameters(), strict=True))
    x = torch.from_numpy(rows(schema)[:20])
    with torch.no_grad():
        assert torch.allclose(whole.see(x).reconstruction[:3], whole.see(x[:3]).reconstruction, rtol=1e-3)


def test_what_is_not_asked_for_is_as_before() -> None:
    """The default has two hidden layers and nothing between; the shape in a manifest that says nothing means that."""
    assert FitConfig().build == LayerBuild() == msgspec.json.decode(b"{}", type=LayerBuild)
    config = read_config(None, fit={"depth": 4, "batch_norm": True})
    assert config.fit.build == LayerBuild(4, batch_norm=True)
    for settings in ({"depth": 0}, {"dropout": 0.95}):
        with pytest.raises(KilterError, match=r"fit\.(depth|dropout) must be from"):
            read_config(None, fit=settings)
