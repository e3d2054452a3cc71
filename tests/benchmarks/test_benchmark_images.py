"""Tests of the benchmark of pictures: its splits, its drawn defects, its figures, and that it runs."""

import os
import re
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.metrics import roc_auc_score

from benchmarks.image_defects import defective
from benchmarks.image_location import auroc
from benchmarks.image_measurement import APART, MNIST, OURS, RANDOM, Line, Task, measure, written
from benchmarks.image_peers import PEERS, standardised
from benchmarks.image_sets import FITTED, near_duplicates, one_digit, surfaces
from benchmarks.images import report
from kilter.training.data.pictures import read_training_pictures
from kilter.training.data.source import TrainingSource

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def mnist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """scikit-learn's digits, as MNIST is published."""
    folder = tmp_path_factory.mktemp("mnist")
    found = load_digits()
    images = (found.images * 15.9375).astype(np.uint8)
    for name, values in (("images-idx3", images), ("labels-idx1", found.target.astype(np.uint8))):
        head = bytes([0, 0, 8, values.ndim]) + struct.pack(f">{values.ndim}I", *values.shape)
        (folder / f"t10k-{name}-ubyte").write_bytes(head + values.tobytes())
    return folder


@pytest.fixture(scope="module")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Good surfaces, each near-duplicated, and some with a spot and its mask."""
    folder = tmp_path_factory.mktemp("tiles")
    rng = np.random.default_rng(0)
    for name in ("good", "spot"):
        (folder / name).mkdir()
    for i in range(60):
        surface = Image.fromarray(rng.integers(60, 190, (9, 7), np.uint8)).resize((70, 90), Image.Resampling.BICUBIC)
        surface.save(folder / "good" / f"{i}.jpg", quality=95)
        surface.crop((0, 0, 69, 89)).save(folder / "good" / f"{i}-again.jpg", quality=95)
        if i < 12:
            pixels = np.asarray(surface).copy()
            mask = np.zeros_like(pixels)
            mask[30:45, 20:40] = 255
            pixels[mask > 0] = 0
            Image.fromarray(pixels).save(folder / "spot" / f"{i}.jpg", quality=95)
            Image.fromarray(mask).save(folder / "spot" / f"{i}.png")
    return folder


def test_a_digit_is_trained_on_its_first_images_and_tested_on_the_rest(mnist: Path) -> None:
    """And on 900 others, the same for each run."""
    found = load_digits()
    images = (found.images * 15.9375).astype(np.uint8)
    own = images[found.target == 3]
    split = one_digit(images, found.target, 3)
    fitted = int(0.7 * len(own))
    np.testing.assert_array_equal(np.stack(split.train), own[:fitted])  # type: ignore[arg-type]
    np.testing.assert_array_equal(np.stack(split.test[: len(own) - fitted]), own[fitted:])  # type: ignore[arg-type]
    assert split.anomalous.sum() == 900
    again = one_digit(images, found.target, 3)
    np.testing.assert_array_equal(np.stack(again.test), np.stack(split.test))  # type: ignore[arg-type]


@pytest.mark.parametrize("apart", [False, True])
def test_surfaces_are_split_and_every_defect_is_tested_with_its_mask(tiles: Path, apart: bool) -> None:
    """Near-duplicates stand on one side where that is asked for, and on both where it is not."""
    split = surfaces(tiles, 0, apart=apart)
    good = split.train + [one for one, odd in zip(split.test, split.anomalous, strict=True) if not odd]
    assert len(good) == len(set(good)) == 120
    assert len(split.train) == int(FITTED * 120)
    assert split.anomalous.sum() == 12
    for one, odd, mask in zip(split.test, split.anomalous, split.masks, strict=True):
        assert isinstance(one, Path)
        assert mask == (one.with_suffix(".png") if odd else None)
    trained = {one.stem.removesuffix("-again") for one in split.train if isinstance(one, Path)}
    tested = {
        one.stem.removesuffix("-again")
        for one, odd in zip(split.test, split.anomalous, strict=True)
        if isinstance(one, Path) and not odd
    }
    assert (not trained & tested) == apart


def test_near_duplicates_of_near_duplicates_are_one_group(tiles: Path) -> None:
    """Each surface with its other crop."""
    paths = sorted((tiles / "good").iterdir())
    groups = near_duplicates(paths)
    assert len(set(groups.tolist())) == 60
    stems = {(path.stem.removesuffix("-again"), group) for path, group in zip(paths, groups.tolist(), strict=True)}
    assert len(stems) == 60


@given(st.integers(0, 2**32 - 1))
def test_a_drawn_defect_is_where_its_mask_says(seed: int) -> None:
    """The picture changes there, and beyond a soft edge nowhere else."""
    rng = np.random.default_rng(seed)
    picture, other = (rng.integers(90, 160, shape, np.uint8) for shape in ((120, 100), (80, 130)))
    made = defective(picture, other, rng)
    changed = made.picture != picture
    assert made.mask.any()
    assert made.mask.mean() < 0.1
    assert changed[made.mask].mean() > 0.8
    rows, columns = np.nonzero(made.mask)
    near = np.zeros_like(made.mask)
    near[max(rows.min() - 8, 0) : rows.max() + 9, max(columns.min() - 8, 0) : columns.max() + 9] = True
    assert not changed[~near].any()


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2).filter(lambda v: len({a for a, _ in v}) == 2))
def test_the_area_by_ranks_is_that_of_the_curve(values: list[tuple[bool, int]]) -> None:
    """Ties count half."""
    mask, heat = np.array([a for a, _ in values]), np.array([b for _, b in values], np.float32)
    assert auroc(mask, heat) == pytest.approx(roc_auc_score(mask, heat))


def test_what_is_trained_on_is_written_where_training_reads_it(tiles: Path, tmp_path: Path) -> None:
    """Arrays as an array, files as links, in their order."""
    arrays: list[Any] = [np.full((9, 8), i, np.uint8) for i in range(5)]
    data = read_training_pictures(TrainingSource((written(arrays, tmp_path),)))
    assert data.table.columns["image"][:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]
    files: list[Any] = sorted((tiles / "good").iterdir())[:4]
    assert read_training_pictures(TrainingSource((written(files, tmp_path),))).table.rows == 4


def test_standardised_pictures_have_no_light_of_their_own() -> None:
    """An even one stays finite."""
    x = np.stack([np.linspace(0, 1, 9), np.linspace(0.2, 0.4, 9), np.full(9, 0.5)]).astype(np.float32)
    rows: npt.NDArray[np.float32] = standardised(x)
    np.testing.assert_allclose(rows[0], rows[1], atol=1e-5)
    assert (rows[2] == 0).all()


def test_peers_are_measured_on_both_kinds_of_pictures(mnist: Path, tiles: Path) -> None:
    """Each has its figures, and one that fails its error; the report has them all."""
    lines = measure(Task(mnist, MNIST, 0, tuple(PEERS), None))
    lines += measure(Task(tiles, RANDOM, 0, ("nn-standardised",), None))
    lines += measure(Task(tiles, APART, 1, ("nn-standardised",), None))
    for line in lines:
        assert line.error is None
        assert line.auroc is not None
        assert line.auroc > 0.8 or line.set != MNIST
    broken = Line(MNIST, 0, OURS, 10, 10, 10, error="no network")
    text = report([*lines, broken])
    assert re.search(r"\| nn \| (0\.9|1\.0)", text)
    assert "| AUROC | mean | mean AP | seed 1 |" in text
    assert "- kilter on MNIST, 0: no network" in text


@pytest.mark.e2e
def test_images_runs_and_resumes(mnist: Path, tiles: Path, tmp_path: Path) -> None:
    """From its command line to its report, with ours beside a peer."""
    settings = tmp_path / "brief.toml"
    settings.write_text("[fit]\nsteps = 30\n")
    command = [sys.executable, "-m", "benchmarks.images", "--mnist", str(mnist), "--digits", "1", "--tiles", str(tiles)]
    command += ["--peers", "nn", "--config", str(settings), "--out", str(tmp_path / "out")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for _ in range(2):
        done = subprocess.run([*command, "--resume"], cwd=ROOT, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
    assert "Failures" not in done.stdout
    assert "MNIST, 1" not in done.stdout
    assert "| AUROC, drawn defects: pixels | 0." in (tmp_path / "out" / "images.md").read_text()
