"""A score over a backbone's features: what is exported, and what it finds."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pytest
import torch

from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.runtime import OUTPUTS, OnnxProgram
from kilter.service.detector.schema import Schema
from kilter.service.detector.scores.backbone import (
    DEVIATION,
    MEAN,
    BackboneInput,
    BackboneNeighbours,
    around,
    coreset,
    standard_axes,
)
from kilter.service.detector.scores.base import ScoredNetwork
from kilter.training.config import FitConfig, TrainConfig
from kilter.training.fitting.fit import fit
from kilter.training.fitting.model import score_around
from kilter.training.fitting.programs import Backbone, export, read_backbone
from tests.support.backbones import write_backbone, write_graph

HEIGHT, WIDTH = 24, 32
Matrix = npt.NDArray[np.float32]


def pictures(count: int, seed: int, channels: int) -> Matrix:
    """Encoded pictures of stripes with noise, anywhere, (count, width)."""
    rng = np.random.default_rng(seed)
    phase = rng.uniform(0, 2 * np.pi, (count, 1, 1, 1))
    stripes = 0.5 + 0.2 * np.sin(np.arange(WIDTH)[None, None, :, None] + phase)
    noise = 0.03 * rng.standard_normal((count, HEIGHT, WIDTH, channels))
    return (stripes + noise).clip(0, 1).reshape(count, -1).astype(np.float32)


class Built(NamedTuple):
    program: ScoredNetwork
    backbone: Backbone
    run: OnnxProgram
    channels: int


def built(path: Path, channels: int) -> Built:
    x = pictures(150, 0, channels)
    schema = Schema((ImageColumn("image", HEIGHT, WIDTH, 3 if channels == 3 else 1),), rows=len(x))
    network, _ = fit(x, schema, FitConfig(steps=20, hidden=16, latent=4), seed=0)
    backbone = read_backbone(path)
    program, _ = score_around(network, "backbone-neighbours", x, x[:0], schema, TrainConfig(), backbone)
    return Built(program, backbone, OnnxProgram(export(program, x.shape[1], backbone), x.shape[1], 7), channels)


def score_of(model: Built) -> BackboneNeighbours:
    """Its score."""
    assert isinstance(model.program.score, BackboneNeighbours)
    return model.program.score


@pytest.fixture(scope="module", params=[(1, 3, None), (3, 3, (HEIGHT, WIDTH)), (3, 1, None)])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Built:
    """Pictures in grey or colour, judged by a backbone of one or three channels, of a fixed size or any."""
    channels, takes, size = request.param
    return built(write_backbone(tmp_path_factory.mktemp("backbone") / "net.onnx", takes, size), channels)


def test_what_is_exported_is_what_was_built(model: Built) -> None:
    """The parts that torch knows with the backbone between them, and the programs."""
    x = pictures(20, 1, model.channels)
    with torch.no_grad():
        given, _ = BackboneInput(model.program.network, model.backbone.channels)(torch.from_numpy(x))
        features = torch.from_numpy(model.backbone.features(given.numpy()))
        want = dict(zip(OUTPUTS, model.program(torch.from_numpy(x), features), strict=True))
    for name, found in zip(OUTPUTS, model.run.run(x, OUTPUTS), strict=True):
        np.testing.assert_allclose(found, want[name].numpy(), rtol=1e-3, atol=1e-3, err_msg=name)


def test_a_picture_has_its_score_alone_and_among_others(model: Built) -> None:
    """To the digits that count."""
    x = pictures(20, 1, model.channels)
    together = model.run.run(x, ("score",))[0]
    alone = np.concatenate([model.run.run(x[i : i + 1], ("score",))[0] for i in range(len(x))])
    np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-5)


def test_a_stain_is_strange_and_found_where_it_is(model: Built) -> None:
    """By the score, and by the strongest of the terms."""
    clean = pictures(40, 2, model.channels)
    stained = clean.reshape(40, HEIGHT, WIDTH, -1).copy()
    stained[:, 8:13, 20:25] = 0.9
    before, after = (model.run.run(x.reshape(40, -1), ("score", "terms")) for x in (clean, stained))
    assert after[0].min() > np.quantile(before[0], 0.95)
    rows, columns = score_of(model).grid
    assert (rows, columns) == (HEIGHT // 4, WIDTH // 4)
    strongest = after[1].argmax(1)
    down, right = (strongest // columns + 0.5) * HEIGHT / rows, (strongest % columns + 0.5) * WIDTH / columns
    assert (abs(down - 10.5) <= 5).mean() > 0.9
    assert (abs(right - 22.5) <= 5).mean() > 0.9


def test_what_is_usual_scores_about_nothing(model: Built) -> None:
    """Score and evidence are in units in which 0 is the median of new pictures and 1 their 95 % quantile."""
    for found in model.run.run(pictures(100, 3, model.channels), ("score", "terms")):
        assert abs(np.median(found)) < 0.5
        assert (found > 1).mean() < 0.15


def test_an_even_picture_has_a_score(model: Built) -> None:
    """Black and white."""
    width = HEIGHT * WIDTH * model.channels
    x = np.stack([np.zeros(width), np.ones(width)]).astype(np.float32)
    assert all(np.isfinite(found).all() for found in model.run.run(x, OUTPUTS))


def test_pictures_are_prepared_as_published_networks_expect(model: Built) -> None:
    """By ImageNet's mean and deviation, grey repeated, colour averaged for a network of grey."""
    value = np.full((1, HEIGHT * WIDTH * model.channels), 0.5, np.float32)
    given, same = BackboneInput(model.program.network, model.backbone.channels)(torch.from_numpy(value))
    assert given.shape == (1, model.backbone.channels, HEIGHT, WIDTH)
    mean, deviation = np.array(MEAN), np.array(DEVIATION)
    want = (0.5 - mean) / deviation if model.backbone.channels == 3 else (0.5 - mean.mean(keepdims=True)) / 0.226
    np.testing.assert_allclose(given[0, :, 3, 4].numpy(), want, rtol=1e-3)
    np.testing.assert_array_equal(same.numpy(), value)


def test_a_file_of_old_operators_is_joined(tmp_path: Path) -> None:
    """Its operators are brought to the version of the rest; a map finer than the grid is averaged."""
    text = (
        "g (float[N,3,H,W] x, float[1] w) => (float[N,3,P,Q] y) <float[1] w = {2}> "
        '{ z = Mul(x, w) y = Upsample<mode="nearest">(z, s) }'
    )
    text = text.replace("{ z =", "{ s = Constant<value = float[4] {1, 1, 2, 2}>() z =")
    model = built(write_graph(tmp_path / "old.onnx", text, '"": 9', 4), 3)
    assert score_of(model).shape.features == (3, 2 * HEIGHT, 2 * WIDTH)
    assert score_of(model).grid == (32, 32)
    assert np.isfinite(model.run.run(pictures(3, 1, 3), ("score",))[0]).all()


def test_a_coreset_covers() -> None:
    """Each point is farthest from those before it, so that none is farther than twice the best that is possible."""
    generator = torch.Generator().manual_seed(0)
    groups = torch.randn(8, 5, generator=generator) * 10
    points = groups.repeat_interleave(50, 0) + 0.01 * torch.randn(400, 5, generator=generator)
    chosen = coreset(points, 8, generator)
    assert sorted((chosen // 50).tolist()) == list(range(8))
    assert len(coreset(points, 1000, generator)) == 400


def test_axes_keep_what_varies_most() -> None:
    """And make the variance 1."""
    points = torch.randn(3000, 6, generator=torch.Generator().manual_seed(0)) * torch.tensor([9, 1, 0.1, 5, 0, 0.01])
    center, axes = standard_axes(points + 7, 3)
    assert (center - 7).abs().max() < 1
    kept = (points + 7 - center) @ axes
    assert kept.square().sum(1).mean() == pytest.approx(1, abs=0.01)
    assert axes[[4, 5]].abs().max() < 1e-3


def test_around_is_the_mean_of_a_place_and_those_beside_it() -> None:
    """Beyond the ends there is nothing."""
    np.testing.assert_allclose(3 * around(4), [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]], rtol=1e-6)
