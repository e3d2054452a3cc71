"""The program of a network of pictures: what it gives, and what it finds."""

from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import torch

from kilter.service.detector.artifact import Programs
from kilter.service.detector.columns import ImageColumn
from kilter.service.detector.errors import ArtifactError
from kilter.service.detector.networks import build
from kilter.service.detector.networks.image import ImageVAE
from kilter.service.detector.networks.names import ScoreName
from kilter.service.detector.networks.pixels import standardise
from kilter.service.detector.networks.scored_image import ScoredImage
from kilter.service.detector.runtime import OUTPUTS, OnnxProgram
from kilter.service.detector.schema import Schema
from kilter.training import image_scoring
from kilter.training.config import FitConfig
from kilter.training.export import export
from kilter.training.fit import fit
from kilter.training.image_scoring import build_image_program, centroids

HEIGHT, WIDTH = 18, 14
Matrix = npt.NDArray[np.float32]


def pictures(count: int, seed: int, channels: int = 1) -> Matrix:
    """Encoded pictures of a bright bar at about the same place on noise, (count, width)."""
    rng = np.random.default_rng(seed)
    images = 0.3 + 0.04 * rng.standard_normal((count, HEIGHT, WIDTH, channels))
    for image in images:
        start = rng.integers(3, 6)
        image[start : start + 6, 5:9] += rng.uniform(0.4, 0.5)
    return images.clip(0, 1).reshape(count, -1).astype(np.float32)


def built(
    channels: Literal[1, 3] = 1, score: ScoreName = "neighbours", memory: int = 2048, count: int = 120
) -> tuple[ScoredImage, Matrix]:
    """A program fitted briefly, and the pictures that it was fitted to."""
    x = pictures(count, 0, channels)
    schema = Schema((ImageColumn("image", HEIGHT, WIDTH, channels),), rows=count)
    network, _ = fit(x, schema, FitConfig(steps=40, hidden=16, latent=4), seed=0)
    assert isinstance(network, ImageVAE)
    return build_image_program(network, x, score, memory, 0), x


def outputs(program: ScoredImage, x: Matrix) -> dict[str, Matrix]:
    """Every output by name, from the torch module."""
    with torch.no_grad():
        return {name: out.numpy() for name, out in zip(OUTPUTS, program(torch.from_numpy(x)), strict=True)}


@pytest.fixture(scope="module", params=[1, 3])
def exported(request: pytest.FixtureRequest) -> tuple[ScoredImage, Programs, Matrix]:
    """A program in grey and one in colour, what was exported of it, and pictures that it does not know."""
    program, x = built(request.param)
    return program, export(program, x.shape[1]), pictures(30, 1, request.param)


def test_what_is_exported_is_what_was_built(exported: tuple[ScoredImage, Programs, Matrix]) -> None:
    program, programs, x = exported
    run = OnnxProgram(*programs, x.shape[1], rows=7)
    for name, found in zip(OUTPUTS, run.run(x, OUTPUTS), strict=True):
        np.testing.assert_allclose(found, outputs(program, x)[name], rtol=1e-3, atol=1e-4, err_msg=name)


def test_a_picture_has_its_score_alone_and_among_others(exported: tuple[ScoredImage, Programs, Matrix]) -> None:
    _, programs, x = exported
    run = OnnxProgram(*programs, x.shape[1], rows=7)
    together = run.run(x, ("score",))[0]
    alone = np.concatenate([run.run(x[i : i + 1], ("score",))[0] for i in range(len(x))])
    np.testing.assert_allclose(alone, together, rtol=1e-5, atol=1e-5)


def test_a_stain_raises_the_score_and_is_found_where_it_is() -> None:
    program, _ = built()
    clean = pictures(40, 2)
    stained = clean.reshape(-1, HEIGHT, WIDTH).copy()
    stained[:, 13:16, 1:4] = 0.9
    before, after = outputs(program, clean), outputs(program, stained.reshape(40, -1))
    assert (after["score"] > before["score"]).mean() > 0.95
    rows, columns = program.shape.grid
    strongest = after["terms"].reshape(-1, rows * columns).argmax(1)
    down, right = strongest // columns * HEIGHT / rows, strongest % columns * WIDTH / columns
    assert (abs(down - 14) <= 3).mean() > 0.9
    assert (abs(right - 2) <= 3).mean() > 0.9


def test_a_wrong_whole_is_strange_too() -> None:
    program, _ = built()
    clean = pictures(40, 2)
    turned = clean.reshape(-1, HEIGHT, WIDTH)[:, ::-1].reshape(40, -1).copy()
    assert np.median(outputs(program, turned)["score"]) > np.quantile(outputs(program, clean)["score"], 0.95)


def test_what_is_usual_scores_about_nothing() -> None:
    """Evidence is in units in which 0 is the median of new pictures and 1 their 95 % quantile."""
    program, _ = built(count=400)
    terms = outputs(program, pictures(100, 3))["terms"]
    assert abs(np.median(terms)) < 0.3
    assert (terms > 1).mean() < 0.12


def test_the_memory_is_bounded_and_holds_pictures_that_were_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    program, x = built(memory=20)
    assert program.memory is not None
    assert 2 <= len(program.memory.rows) <= 20
    with torch.no_grad():
        standard = standardise(program.network.pictures(torch.from_numpy(x)))
        seen = program.memory.see(standard).flatten(1)
    assert torch.cdist(program.memory.rows, seen).amin(1).max() < 0.05
    monkeypatch.setattr(image_scoring, "FLOATS", 10 * HEIGHT * WIDTH)
    bounded = built()[0].memory
    assert bounded is not None
    assert len(bounded.rows) <= 10


def test_centroids_are_means_of_their_rows() -> None:
    """k-means keeps the overall mean, weighted by size, and leaves few points as they are."""
    points = torch.randn(500, 3)
    generator = torch.Generator().manual_seed(0)
    found = centroids(points, 20, generator)
    assert len(found) <= 20
    assert (torch.cdist(points, found).min(1).values.mean() < torch.cdist(points, points.mean(0)[None]).mean()).item()
    assert centroids(points[:10], 20, generator) is not None
    assert len(centroids(points[:10], 20, generator)) == 10


@pytest.mark.parametrize("score", ["elbo", "reconstruction"])
def test_other_scores_are_the_terms_of_the_elbo(score: ScoreName) -> None:
    program, x = built(score=score)
    found = outputs(program, x[:9])
    want = found["reconstruction"] + (found["kl"] if score == "elbo" else 0)
    np.testing.assert_allclose(found["score"], want, rtol=1e-5)
    assert program.memory is None  # no picture of the training is part of the model
    stained = x[:9].reshape(-1, HEIGHT, WIDTH).copy()
    stained[:, 13:16, 1:4] = 0.9
    cells = outputs(program, stained.reshape(9, -1))["terms"].reshape(9, *program.shape.grid)
    assert (cells[:, 12:17, 0:5].max((1, 2)) >= cells.max((1, 2)) - 1e-6).mean() > 0.7


def test_an_even_picture_and_one_of_noise_have_a_score() -> None:
    program, _ = built()
    odd = np.stack([np.zeros(HEIGHT * WIDTH), np.ones(HEIGHT * WIDTH), np.arange(HEIGHT * WIDTH) % 2])
    for name, found in outputs(program, odd.astype(np.float32)).items():
        assert np.isfinite(found).all(), name


def test_the_program_is_rebuilt_from_a_manifest_or_refused() -> None:
    program, x = built()
    entry = msgspec.to_builtins(program.shape)
    again = build(entry)
    again.load_state_dict(program.state_dict())
    assert isinstance(again, ScoredImage)
    np.testing.assert_array_equal(outputs(again.eval(), x[:5])["score"], outputs(program, x[:5])["score"])
    with pytest.raises(ArtifactError, match="network of the manifest"):
        build({**entry, "grid": "wide"})
