"""Runs the examples of deploy/engines for real, and compares with `kilter score`: `python -m tests.support.engines`.

For `make engines`, in an environment that has Spark and Ray.
"""

import os
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from kilter.service.detector import load
from kilter.service.formats.scoring import score_inputs
from tests.support.data import records

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "tests" / "service" / "detector" / "artifacts" / "format-2"
FILES, ROWS = 5, 4000


def write_tables(folder: Path) -> Path:
    """Parquet files of normal records, one of which is in error, with numbers to tell them by."""
    folder.mkdir()
    for place in range(FILES):
        frame = pl.DataFrame(records(np.random.default_rng(place), ROWS), infer_schema_length=None)
        frame = frame.with_columns(id=pl.int_range(place * ROWS, (place + 1) * ROWS))
        if place == 1:
            frame[7, "at"] = "at noon"
        frame.write_parquet(folder / f"{place}.parquet")
    return folder


def check(engine: str, folder: Path, expected: pl.DataFrame) -> None:
    """Run an example, and compare what it wrote. Raises AssertionError."""
    out, began = folder / engine, time.perf_counter()
    program = ROOT / "deploy" / "engines" / f"score_in_{engine}.py"
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path, "PYSPARK_PYTHON": sys.executable}
    subprocess.run([sys.executable, program, MODEL, folder / "in", out], check=True, env=environment)
    frame = pl.read_parquet(out / "*.parquet").sort("id")
    assert frame.columns == expected.columns, frame.columns
    scores = (frame["kilter_score"] - expected["kilter_score"]).abs().max()
    assert isinstance(scores, float)
    assert scores <= 1e-5, scores
    for name in ("kilter_anomaly", "kilter_error", "id", "temperature", "at"):
        assert frame[name].equals(expected[name], null_equal=True), name
    assert frame["kilter_error"].is_not_null().sum() == 1
    assert frame.filter("kilter_anomaly")["kilter_reasons"].null_count() == 0
    seconds = time.perf_counter() - began
    sys.stdout.write(f"{engine}: {frame.height:,} records as kilter score has them; {seconds:.0f} s\n")


def main() -> None:
    with TemporaryDirectory(prefix="kilter-engines-") as name:
        folder = Path(name)
        score_inputs(load(MODEL), [write_tables(folder / "in")], folder / "expected")
        expected = pl.read_parquet(folder / "expected" / "*.parquet").sort("id")
        for engine in sys.argv[1:] or ("spark", "ray"):
            check(engine, folder, expected)


if __name__ == "__main__":
    main()
