"""The default score of pictures: what it gives, what it sees, and its memory held against the plainest distance."""

from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt
import pytest
import torch
from scipy import ndimage

from kilter.service.detector.errors import ArtifactError
from kilter.service.detector.manifest import NetworkEntry, ScoreEntry
from kilter.service.detector.networks.pictures import PictureVAE, standardise
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.runtime import OUTPUTS, OnnxProgram
from kilter.service.detector.schema import Schema
from kilter.service.detector.scores import pictures as scoring
from kilter.service.detector.scores.base import ScoredNetwork, rebuild
from kilter.service.detector.scores.moves import PATCH
from kilter.service.detector.scores.pictures import (
    FLOOR,
    PictureMemory,
    PictureMemoryShape,
    PictureNeighbours,
    centroids,
)
from kilter.training.config import FitConfig, TrainConfig
from kilter.training.fitting.fit import fit
from kilter.training.fitting.model import score_around
from kilter.training.fitting.programs import export

HEIGHT, WIDTH = 18, 14
SMALL_HEIGHT, SMALL_WIDTH, CHANNELS, ROWS = 12, 10, 2, 7
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
    channels: Literal[1, 3] = 1, score: str = "picture-neighbours", memory: int = 2048, count: int = 120
) -> tuple[ScoredNetwork, Matrix]:
    """A program fitted briefly, and the pictures that it was fitted to."""
    x = pictures(count, 0, channels)
    schema = Schema((ImageColumn("image", HEIGHT, WIDTH, channels),), rows=count)
    network, _ = fit(x, schema, FitConfig(steps=40, hidden=16, latent=4), seed=0)
    program, own = score_around(network, score, x, x[:0], schema, TrainConfig(memory_rows=memory))
    assert own is None
    return program, x


def grid_of(program: ScoredNetwork) -> tuple[int, int]:
    """Rows and columns of the terms."""
    assert program.score.grid is not None
    return program.score.grid


def memory_of(program: ScoredNetwork) -> PictureMemory:
    """The memory of the default score."""
    assert isinstance(program.score, PictureNeighbours)
    return program.score.memory


def outputs(program: ScoredNetwork, x: Matrix) -> dict[str, Matrix]:
    """Every output by name, from the torch module."""
    with torch.no_grad():
        return {name: out.numpy() for name, out in zip(OUTPUTS, program(torch.from_numpy(x)), strict=True)}


@pytest.fixture(scope="module", params=[1, 3])
def exported(request: pytest.FixtureRequest) -> tuple[ScoredNetwork, dict[str, bytes], Matrix]:
    """A program in grey and one in colour, what was exported of it, and pictures that it does not know."""
    program, x = built(request.param)
    return program, export(program, x.shape[1]), pictures(30, 1, request.param)


def test_what_is_exported_is_what_was_built(exported: tuple[ScoredNetwork, dict[str, bytes], Matrix]) -> None:
    program, programs, x = exported
    run = OnnxProgram(programs, x.shape[1], rows=7)
    for name, found in zip(OUTPUTS, run.run(x, OUTPUTS), strict=True):
        np.testing.assert_allclose(found, outputs(program, x)[name], rtol=1e-3, atol=1e-4, err_msg=name)


def test_a_picture_has_its_score_alone_and_among_others(
    exported: tuple[ScoredNetwork, dict[str, bytes], Matrix],
) -> None:
    _, programs, x = exported
    run = OnnxProgram(programs, x.shape[1], rows=7)
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
    rows, columns = grid_of(program)
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
    held = memory_of(program)
    assert 2 <= len(held.rows) <= 20
    assert isinstance(program.network, PictureVAE)
    with torch.no_grad():
        standard = standardise(program.network.pictures(torch.from_numpy(x)))
        seen = held.see(standard).flatten(1)
    assert torch.cdist(held.rows, seen).amin(1).max() < 0.05
    monkeypatch.setattr(scoring, "FLOATS", 10 * HEIGHT * WIDTH)
    assert len(memory_of(built()[0]).rows) <= 10


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
def test_other_scores_are_the_terms_of_the_elbo(score: str) -> None:
    program, x = built(score=score)
    found = outputs(program, x[:9])
    want = found["reconstruction"] + (found["kl"] if score == "elbo" else 0)
    np.testing.assert_allclose(found["score"], want, rtol=1e-5)
    assert program.score.memory_entry is None  # no picture of the training is part of the model
    assert not [name for name in program.state_dict() if "memory" in name]
    stained = x[:9].reshape(-1, HEIGHT, WIDTH).copy()
    stained[:, 13:16, 1:4] = 0.9
    cells = outputs(program, stained.reshape(9, -1))["terms"].reshape(9, *grid_of(program))
    assert (cells[:, 12:17, 0:5].max((1, 2)) >= cells.max((1, 2)) - 1e-6).mean() > 0.7


def test_an_even_picture_and_one_of_noise_have_a_score() -> None:
    program, _ = built()
    odd = np.stack([np.zeros(HEIGHT * WIDTH), np.ones(HEIGHT * WIDTH), np.arange(HEIGHT * WIDTH) % 2])
    for name, found in outputs(program, odd.astype(np.float32)).items():
        assert np.isfinite(found).all(), name


def test_the_program_is_rebuilt_from_a_manifest_or_refused() -> None:
    program, x = built()
    network = NetworkEntry("image-vae", 1, program.network.latent, msgspec.to_builtins(program.network.shape))
    shape = msgspec.to_builtins(program.score.shape)
    score = ScoreEntry("picture-neighbours", "neighbours", "robust standard units", 4, 1e-4, shape)
    again = rebuild(network, score)
    again.load_state_dict(program.state_dict())
    assert isinstance(again.score, PictureNeighbours)
    np.testing.assert_array_equal(outputs(again.eval(), x[:5])["score"], outputs(program, x[:5])["score"])
    with pytest.raises(ArtifactError, match="network of the manifest"):
        rebuild(network, msgspec.structs.replace(score, shape={"memory": "wide"}))
    with pytest.raises(ArtifactError, match="network of the manifest"):
        rebuild(msgspec.structs.replace(network, shape=program.network.latent), score)


def memory(candidates: int = ROWS) -> PictureMemory:
    """A memory of random pictures."""
    built = PictureMemory(PictureMemoryShape(SMALL_HEIGHT, SMALL_WIDTH, CHANNELS, ROWS, candidates))
    built.rows.copy_(torch.randn(built.rows.shape, generator=torch.Generator().manual_seed(1)))
    built.index()
    return built


def plainly(picture: npt.NDArray[np.float64], kept: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The least mean squared difference of the patch around each place, over moves by a pixel: (height, width)."""
    padded = np.pad(kept, ((0, 0), (1, 1), (1, 1)), mode="edge")
    found = []
    for down in range(3):
        for right in range(3):
            apart = ((picture - padded[:, down : down + SMALL_HEIGHT, right : right + SMALL_WIDTH]) ** 2).sum(0)
            total = ndimage.uniform_filter(apart, PATCH, mode="constant") * PATCH**2
            count = ndimage.uniform_filter(np.ones_like(apart), PATCH, mode="constant") * PATCH**2
            found.append(total / count)
    least: npt.NDArray[np.float64] = np.min(found, axis=0)
    return least


def test_the_distance_is_that_of_the_best_moves() -> None:
    built = memory()
    seen = torch.randn(3, CHANNELS, SMALL_HEIGHT, SMALL_WIDTH, generator=torch.Generator().manual_seed(2))
    nearest, places = built(seen)
    kept = built.rows.reshape(ROWS, CHANNELS, SMALL_HEIGHT, SMALL_WIDTH).numpy().astype(np.float64)
    for i in range(3):
        every = np.stack([plainly(seen[i].numpy().astype(np.float64), row) for row in kept])
        np.testing.assert_allclose(nearest[i], every.sum((1, 2)).min(), rtol=1e-4)
        np.testing.assert_allclose(places[i], every.min(0), rtol=1e-3, atol=1e-4)


def test_a_picture_that_moved_by_a_pixel_is_known_but_for_its_edge() -> None:
    built = memory(candidates=ROWS)
    kept = built.rows.reshape(ROWS, CHANNELS, SMALL_HEIGHT, SMALL_WIDTH)[3:4]
    places = built(torch.roll(kept, (1, 1), (2, 3)))[1]
    assert places[0, 4:-4, 4:-4].max() < 1e-8
    assert built(kept)[0].item() == np.float32(FLOOR)


def test_a_picture_can_be_left_out_of_its_own_memory() -> None:
    built = memory(candidates=ROWS - 1)
    kept = built.rows.reshape(ROWS, CHANNELS, SMALL_HEIGHT, SMALL_WIDTH)
    with_itself = built(kept)[0]
    without = built(kept, torch.arange(ROWS))[0]
    assert with_itself.max() < 1e-5
    assert without.min() > 1
    torch.testing.assert_close(built(kept, torch.full((ROWS,), -1))[0], with_itself)


def test_large_pictures_are_compared_at_a_bounded_size() -> None:
    shape = PictureMemoryShape(256, 100, 3, 2, 1)
    assert shape.small == (64, 64)
    assert PictureMemory(shape).see(torch.zeros(1, 3, 256, 100)).shape == (1, 3, 64, 64)
