"""Tests of kept fits, and of variants of the score around them."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.fits import kept_fit
from benchmarks.measurement import REAL
from benchmarks.problems import problem_sources
from benchmarks.variants import TODAY, judged, report, weights_of
from kilter.service.detector.scores.combined import CombinedScore
from kilter.training.config import FitConfig, TrainConfig


@pytest.fixture(scope="module")
def collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three small tables as npz files."""
    folder = tmp_path_factory.mktemp("tables")
    for seed in range(3):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(220, 3))
        x[:, 2] = x[:, 0] + 0.1 * rng.normal(size=220)
        x[200:] += rng.normal(scale=3, size=(20, 3))
        np.savez(folder / f"t{seed}.npz", X=x, y=(np.arange(220) >= 200).astype(int))
    return folder


def test_variants_are_judged_around_a_kept_fit(collection: Path, tmp_path: Path) -> None:
    """A second time without fitting, to the same figures; the report compares all with the score as it is."""
    sources = problem_sources(collection, [0])
    config = TrainConfig(seed=0, device="cpu", baselines=False, fit=FitConfig(steps=30))
    for source in sources:
        kept_fit(source, config, tmp_path)
    files = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(files) == 3
    found = {source: judged((source, tmp_path)) for source in sources}
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == files
    assert judged((sources[0], tmp_path)) == found[sources[0]]
    pairs = [pair for variants in found.values() for kinds in variants.values() for pair in kinds.values()]
    assert all(0 <= figure <= 1 + 1e-9 for pair in pairs for figure in pair)
    text = report(found)
    assert f"| {TODAY} | {np.mean([variants[TODAY][REAL][0] for variants in found.values()]):.4f} |" in text
    swapped = np.mean([variants["elbo alone"]["swapped"][0] for variants in found.values()])
    assert f"{swapped:.4f} |" in next(line for line in text.split("## Made")[1].splitlines() if "elbo alone" in line)
    assert "on the tables left out it gains" in text

    kept = kept_fit(sources[0], config, tmp_path)
    assert set(kept.rows) > {REAL}
    score = kept.build(config).score
    assert isinstance(score, CombinedScore)
    weights = weights_of(score)
    for name, weight in weights.items():
        assert weight.sum() == pytest.approx(1), name
        assert (weight >= 0).all()
    assert np.ptp(weights["sharpness 0"]) < 1e-9
    assert weights["without elbo"][score.shape.pieces.index("elbo")] == 0
    assert weights["mixture alone"].tolist() == [0.0] * (len(score.shape.pieces) - 1) + [1.0]
