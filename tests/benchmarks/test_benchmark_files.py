"""The benchmark of files tells what it measured, on a small table."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from benchmarks.files import BLOCK, TimedProgram, medians, write_csv
from tests.support.detectors import Squares

ROOT = Path(__file__).parents[2]


def test_a_block_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one header, to the row."""
    monkeypatch.setattr("benchmarks.files.BLOCK", 3)
    write_csv(tmp_path / "a.csv", pl.DataFrame({"a": [1, 2, 3]}), 7)
    assert (tmp_path / "a.csv").read_text() == "a\n1\n2\n3\n1\n2\n3\n1\n"
    assert BLOCK > 3


def test_programs_are_timed_apart() -> None:
    """Scores and reasons; the values are those of the program."""
    program, x = TimedProgram(Squares()), np.ones((4, 3), np.float32)
    assert program.run(x, ("score",))[0].tolist() == [3.0] * 4
    assert program.seconds["reasons"] == 0
    program.run(x, ("score", "kl"))
    assert min(program.seconds.values()) > 0
    assert medians([{"a": 1.0}, {"a": 3.0}, {"a": 2.0}]) == {"a": 2.0}


@pytest.mark.e2e
def test_it_runs() -> None:
    """From its command line to its tables."""
    command = [sys.executable, "-m", "benchmarks.files", "--rows", "30000", "--columns", "4", "--rounds", "1"]
    done = subprocess.run([*command, "--memory", "30000"], cwd=ROOT, capture_output=True, text=True, check=True)
    for words in ("## .csv to .csv", "## .parquet to .parquet", "pandas and eager torch", "times polars", "## Memory"):
        assert words in done.stdout
