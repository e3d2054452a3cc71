"""Training on more rows than memory holds: peak memory, and detection beside training on a uniform sample.

    python -m benchmarks.more_rows --rows 1000000 10000000 --kept 200000

Rows of `--columns` numbers, five clusters of correlated ones, are made once in a folder of Parquet files. Kilter trains
on the folder with `--max-rows`, and on a file of as many rows that polars draws from it; both judge the same new rows,
half of them with a fifth of their fields swapped.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
from sklearn.metrics import roc_auc_score

from benchmarks.figures import Floats
from benchmarks.markdown import table
from kilter.service.detector import load

PART = 500_000  # rows in a file
TESTED = 5_000


def made(rows: int, columns: int, seed: int) -> Floats:
    """Rows of correlated numbers in five clusters, (rows, columns)."""
    shape = np.random.default_rng(0)
    centres, mixing = shape.normal(scale=3, size=(5, columns)), shape.normal(size=(5, columns // 3, columns))
    rng = np.random.default_rng(seed)
    cluster = rng.integers(5, size=rows)
    x = np.empty((rows, columns))
    for i in range(5):
        own = cluster == i
        count = int(own.sum())
        factors = rng.normal(size=(count, columns // 3))
        x[own] = centres[i] + factors @ mixing[i] + 0.3 * rng.normal(size=(count, columns))
    return x


def frame(x: Floats) -> pl.DataFrame:
    return pl.DataFrame({f"c{i}": x[:, i] for i in range(x.shape[1])})


def swapped(x: Floats) -> Floats:
    """Rows with a fifth of their fields from other rows."""
    rng = np.random.default_rng(1)
    mask = rng.random(x.shape) < 0.2
    return np.where(mask, x[rng.integers(len(x), size=x.shape), np.arange(x.shape[1])], x)


def trained(source: Path, models: Path, *options: str) -> tuple[float, float]:
    """Train on a source by the command; the peak memory of the process in MB, and its CPU seconds."""
    command = [sys.executable, "-c", PROGRAM, "train", str(source), "--name", "m", "--models", str(models), *options]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    memory, seconds = done.stderr.strip().splitlines()[-1].split()
    return float(memory) / 1024, float(seconds)


PROGRAM = """
import resource, sys
from kilter.service.cli import main
sys.argv = ["kilter", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    if end.code:
        raise
used = resource.getrusage(resource.RUSAGE_SELF)
print(used.ru_maxrss, used.ru_utime + used.ru_stime, file=sys.stderr)
"""


def main() -> None:
    """Make the rows, train on them and on samples, and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--kept", type=int, default=200_000, help="what --max-rows is set to [default: 200000]")
    parser.add_argument("--columns", type=int, default=30)
    args = parser.parse_args()
    normal = made(2 * TESTED, args.columns, 99)
    records = frame(np.concatenate([normal[:TESTED], swapped(normal[TESTED:])]))
    truth = np.arange(2 * TESTED) >= TESTED
    lines = []
    with tempfile.TemporaryDirectory(prefix="kilter-rows-") as place:
        folder, models = Path(place) / "rows", Path(place) / "models"
        folder.mkdir()
        parts = 0
        for rows in sorted(args.rows):
            for start in range(parts * PART, rows, PART):
                frame(made(min(PART, rows - start), args.columns, 100 + parts)).write_parquet(
                    folder / f"{parts:05d}.parquet"
                )
                parts += 1
            sample = pl.concat(
                [pl.read_parquet(path).sample(fraction=args.kept / rows, seed=2) for path in sorted(folder.iterdir())]
            )
            sample.write_parquet(Path(place) / "sample.parquet")
            for name, source in (("the folder", folder), ("a sample drawn by polars", Path(place) / "sample.parquet")):
                began = time.monotonic()
                memory, seconds = trained(source, models, "--max-rows", str(args.kept))
                wall = time.monotonic() - began
                auroc = roc_auc_score(truth, load(models / "m").score(records).score)
                lines.append((f"{rows:,}", name, f"{memory:,.0f}", f"{seconds:,.0f}", f"{wall:,.0f}", f"{auroc:.4f}"))
    print(table(("rows", "trained on", "peak MB", "CPU s", "s", "AUROC"), lines))


if __name__ == "__main__":
    main()
