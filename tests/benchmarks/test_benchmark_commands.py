"""Tests that each benchmark runs, from its command line to its report."""

import gzip
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one small set."""
    rng = np.random.default_rng(0)
    anomalous = np.arange(160) >= 140
    x = rng.normal(size=(160, 3)) + 6 * anomalous[:, None]
    (tmp_path / "sets").mkdir()
    np.savez(tmp_path / "sets" / "1_made_up.npz", X=x, y=anomalous.astype(int))
    return tmp_path


def run(module: str, folder: Path, *arguments: str) -> str:
    """Run a benchmark on the folder's sets and return what it printed last."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", f"benchmarks.{module}", "--data", str(folder / "sets"), *arguments]
    done = subprocess.run(
        [*command, "--out", str(folder / module)], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout


@pytest.mark.e2e
def test_detection_runs_and_resumes(folder: Path) -> None:
    """A second run with one more seed measures that seed alone, and reports both."""
    first = run("detection", folder, "--seeds", "0", "--peers", "knn1", "--made")
    second = run("detection", folder, "--seeds", "0", "1", "--peers", "knn1", "--resume")
    assert "1/1 sets/1_made_up/labels/0: 2 methods" in first
    assert "1/1 sets/1_made_up/labels/1: 2 methods" in second
    assert "## Failures" not in second
    assert "Seeds 0, 1, averaged" in (folder / "detection" / "detection.md").read_text()
    assert (folder / "detection" / "sets.svg").exists()


@pytest.mark.e2e
def test_promise_runs(folder: Path) -> None:
    """Rates that the set cannot support are left out."""
    text = run("promise", folder, "--splits", "1", "--rates", "0.01", "0.1")
    assert "## Target 0.1" in text
    assert "## Target 0.01" not in text


@pytest.mark.e2e
def test_scan_runs_and_resumes(folder: Path) -> None:
    """A second run finds all measured, and reports it."""
    first = run("scan", folder)
    second = run("scan", folder, "--resume")
    assert "1/1 1_made_up: kilter, iforest, knn5, ecod, lof" in first
    assert "1/1" not in second
    assert "False-discovery proportion at 0.1: " in (folder / "scan" / "scan.md").read_text()


@pytest.mark.e2e
def test_choice_runs_and_resumes(folder: Path) -> None:
    """Every detector, the choice and the best stand in the table; a second run finds all measured."""
    first = run("choice", folder)
    second = run("choice", folder, "--resume")
    assert "1/1 sets/1_made_up/labels/0" in first
    assert "1/1" not in second
    for method in ("vae", "nearest", "pca", "iforest", "gmm", "auto", "best by the labels"):
        assert f"| {method} | " in second


@pytest.mark.e2e
def test_repeats_runs(tmp_path: Path) -> None:
    """Tables without repeats, with each share and number of them, of few rows, and of customers."""
    command = [sys.executable, "-m", "benchmarks.repeats", "--splits", "1", "--rows", "60", "--steps", "20"]
    done = subprocess.run([*command, "--out", tmp_path], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "of 20 promises" in done.stdout
    assert "Promises without support: " in done.stdout
    text = (tmp_path / "repeats.md").read_text()
    assert "| exact | 80% | 50 | 2460 |" in text
    assert "| few near | 100% | 50 | 1020 | none | 0 of 1 |" in text


@pytest.mark.e2e
def test_reasons_runs(folder: Path) -> None:
    """Both regimes are measured."""
    text = run("reasons", folder, "--seeds", "0", "--records", "20")
    assert "| out of range, all records | " in text
    assert "| swapped, flagged records | " in text


@pytest.mark.e2e
def test_drift_cost_runs(tmp_path: Path) -> None:
    """For requests of every size there is a share."""
    command = [sys.executable, "-m", "benchmarks.drift_cost", "--cache", f"{tmp_path}/cache", "--records", "1000"]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout.count("% |") == 3


@pytest.mark.e2e
@pytest.mark.skipif(shutil.which("wrk") is None, reason="servers are loaded by wrk")
def test_serving_runs(tmp_path: Path) -> None:
    """Kilter and the textbook, which need no environment of their own, in a short round; and the other measurements."""
    command = [sys.executable, "-m", "benchmarks.serving", "--cache", f"{tmp_path}/cache"]
    command += ["--out", f"{tmp_path}/out"]
    for arguments in (
        ["--peers", "textbook", "--rounds", "1", "--seconds", "1"],
        ["--overload", "--seconds", "2"],
        ["--start", "--rounds", "1"],
    ):
        subprocess.run([*command, *arguments], cwd=ROOT, check=True, capture_output=True)
    assert "kilter / textbook" in (tmp_path / "out" / "serving.md").read_text()
    assert "| a batch | " in (tmp_path / "out" / "overload.md").read_text()
    assert "resident MB when ready" in (tmp_path / "out" / "start.md").read_text()


@pytest.mark.e2e
def test_generation_runs(tmp_path: Path) -> None:
    """On a small table, where SDMetrics is installed."""
    pytest.importorskip("sdmetrics")
    rng = np.random.default_rng(0)
    x = rng.normal(size=520)
    rows = [
        f"{a:.2f},{2 * a + b:.2f},{'red' if a > 0 else 'blue'}" for a, b in zip(x, rng.normal(size=520), strict=True)
    ]
    (tmp_path / "keel").mkdir()
    (tmp_path / "keel" / "made.csv.gz").write_bytes(gzip.compress("\n".join(["x,y,class", *rows, ""]).encode()))
    command = [sys.executable, "-m", "benchmarks.generation", "--data", str(tmp_path), "--tables", "made"]
    done = subprocess.run(
        [*command, "--methods", "kilter", "independent"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "| made | kilter |" in done.stdout
    assert "| independent | 1 |" in done.stdout
