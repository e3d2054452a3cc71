"""Tests of kept fits, and of variants of the score around them."""

from pathlib import Path

import numpy as np
import pytest

from benchmarks.fits import kept_fit
from benchmarks.measurement import REAL
from benchmarks.problems import problem_sources
from benchmarks.variants import TODAY, evidence_of, judged, report, variants_of
from kilter.service.detector.scores.combined import CombinedScore
from kilter.training.config import FitConfig, TrainConfig
from kilter.training.fitting.model import score_rows


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
    variants = variants_of(score)
    for name, variant in variants.items():
        assert variant.weight.sum() == pytest.approx(1), name
        assert (variant.weight >= 0).all()
    assert np.ptp(variants["sharpness 0"].weight) < 1e-9
    assert variants["without elbo"].weight[score.shape.pieces.index("elbo")] == 0
    assert variants["mixture alone"].weight.tolist() == [0.0] * (len(score.shape.pieces) - 1) + [1.0]
    assert variants["exponent 1"].power == 1


def test_the_score_as_it_is_ranks_as_its_program_does(collection: Path, tmp_path: Path) -> None:
    """By the same weights and the same mean."""
    config = TrainConfig(seed=0, device="cpu", baselines=False, fit=FitConfig(steps=30))
    kept = kept_fit(problem_sources(collection, [0])[0], config, tmp_path)
    program = kept.build(config)
    assert isinstance(program.score, CombinedScore)
    evidence = evidence_of(kept, program.score, kept.rows[REAL])
    order = variants_of(program.score)[TODAY].rank(evidence)
    np.testing.assert_allclose(
        order ** (1 / program.score.shape.power), score_rows(program, kept.rows[REAL]), rtol=1e-4
    )
