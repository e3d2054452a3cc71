"""The benchmark of workers tells what it measured, on a few rows."""

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.cluster import cpu_seconds

ROOT = Path(__file__).parents[2]


def test_cpu_seconds_only_grow() -> None:
    """Of this process and of those that have ended."""
    before = cpu_seconds()
    subprocess.run([sys.executable, "-c", "sum(range(2 * 10**6))"], check=True)
    assert cpu_seconds() > before > 0


@pytest.mark.e2e
def test_it_runs() -> None:
    """From its command line to its table."""
    command = [sys.executable, "-m", "benchmarks.cluster", "--rows", "4000", "--columns", "4", "--files", "2"]
    command += ["--workers", "1", "--rounds", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    for words in ("# 4,000 rows of 4 numbers in 2 files", "| 1 threads | ", "| 1 dask | "):
        assert words in done.stdout
