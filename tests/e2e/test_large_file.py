"""A file much larger than the memory that scoring may take."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.support.data import write_csv

MEGABYTES = 60
KILTER = Path(sys.executable).with_name("kilter")


@pytest.mark.e2e
def test_memory_does_not_grow_with_the_file(model_folder: Path, tmp_path: Path) -> None:
    """Scoring a file ten times as long takes about the same memory, and every row comes back."""
    block = write_csv(tmp_path / "block.csv", np.random.default_rng(7), 2000).read_bytes()
    header, _, rows = block.partition(b"\n")
    peaks = []
    for megabytes in (MEGABYTES // 10, MEGABYTES):
        repeats = megabytes * 1_000_000 // len(rows)
        path, out = tmp_path / f"{megabytes}.csv", tmp_path / f"{megabytes}.out.csv"
        with path.open("wb") as file:
            file.write(header + b"\n")
            for _ in range(repeats):
                file.write(rows)
        command: list[str | Path] = [KILTER, "score", model_folder, path, "-o", out, "--device", "cpu"]
        with subprocess.Popen(command, stderr=subprocess.PIPE) as process:
            assert process.stderr is not None
            told = process.stderr.read()
            _, status, usage = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == 0
        assert any(line.startswith(f"{2000 * repeats:,} records, ") for line in told.decode().splitlines())
        with out.open("rb") as file:
            assert sum(1 for _ in file) == 2000 * repeats + 1
        peaks.append(usage.ru_maxrss / 1000)
    assert peaks[1] < peaks[0] + 100, peaks
