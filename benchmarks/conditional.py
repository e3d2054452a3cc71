"""Conditional models: a made table in which the meaning of the columns turns with a shift, and real tables.

Every shift has a relation of its own between the numbers, and each number by itself looks the same in all shifts. An
anomaly is a normal record of one shift that is entered under another: only a model that knows the shift can tell.
The conditional model, the plain one, which has the shift as a column like any other, and the plain one without it are
trained by the same command on the same rows. The score `elbo` is the network's alone; `neighbours` also compares with
remembered rows, and a row of another shift is far from them.

    python -m benchmarks.conditional [--shifts 2 4 8] [--seeds 0 1 2]

Prints Markdown.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import polars as pl
from sklearn.metrics import roc_auc_score

import kilter
from benchmarks.machine import described
from benchmarks.markdown import number, table

ROWS, TEST = 1_500, 600
NUMBERS, FACTORS = 6, 2
NOISE = 0.25


def made(shifts: int, rows: int, seed: int, loadings: np.ndarray[Any, Any]) -> pl.DataFrame:
    """Records of equally frequent shifts, numbers of mean 0 and variance 1 in each."""
    rng = np.random.default_rng(seed)
    shift = rng.integers(shifts, size=rows)
    numbers = np.einsum("nij,nj->ni", loadings[shift], rng.normal(size=(rows, FACTORS)))
    numbers = np.sqrt(1 - NOISE**2) * numbers + NOISE * rng.normal(size=numbers.shape)
    columns = {f"n{i}": numbers[:, i].round(4) for i in range(NUMBERS)}
    return pl.DataFrame({"shift": [f"shift-{one}" for one in shift], **columns})


def turning(shifts: int, seed: int) -> tuple[pl.DataFrame, pl.DataFrame, np.ndarray[Any, Any]]:
    """Rows to train on; rows to judge; and which of these are normal rows entered under another shift."""
    rng = np.random.default_rng([seed, shifts])
    loadings = rng.normal(size=(shifts, NUMBERS, FACTORS))
    loadings /= np.linalg.norm(loadings, axis=2, keepdims=True)
    train, test = (made(shifts, rows, seed + 1000 * part, loadings) for part, rows in enumerate((ROWS, TEST), 1))
    wrong = np.arange(TEST) >= TEST // 2
    moved = [int(name.removeprefix("shift-")) for name in test["shift"]]
    step = rng.integers(1, shifts, size=TEST)
    names = [
        f"shift-{(one + by) % shifts if is_wrong else one}"
        for one, by, is_wrong in zip(moved, step, wrong, strict=True)
    ]
    return train, test.with_columns(pl.Series("shift", names)), wrong


def area(
    train: pl.DataFrame, test: pl.DataFrame, wrong: np.ndarray[Any, Any], seed: int, **settings: Any
) -> tuple[float, float]:
    """The AUROC of a model trained on rows, and the CPU seconds that took."""
    began = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        detector = kilter.train(train, "made", folder, seed=seed, baselines=False, **settings)
        spent = time.process_time() - began
        return float(roc_auc_score(wrong, detector.score(test).score)), spent


def on_made(shifts: list[int], seeds: list[int], scores: list[str]) -> Iterator[list[str]]:
    for count in shifts:
        for score in scores:
            found: list[list[float]] = []
            for seed in seeds:
                train, test, wrong = turning(count, seed)
                ways = [
                    area(train, test, wrong, seed, score=score, condition_on="shift"),
                    area(train, test, wrong, seed, score=score),
                    area(train.drop("shift"), test.drop("shift"), wrong, seed, score=score),
                ]
                found.append([*(way[0] for way in ways), ways[0][1]])
            yield [str(count), score, *(number(value, 3) for value in np.mean(found, axis=0))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shifts", type=int, nargs="+", default=[2, 4, 8])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--scores", nargs="+", default=["neighbours", "elbo"])
    options = parser.parse_args()
    heading = ["shifts", "score", "conditional", "plain", "plain, without the shift", "CPU s to train"]
    print(table(heading, on_made(options.shifts, options.seeds, options.scores)))
    print(f"\nMean AUROC over {len(options.seeds)} seeds. {described()}")


if __name__ == "__main__":
    main()
