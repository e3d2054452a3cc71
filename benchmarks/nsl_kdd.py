"""NSL-KDD: a mixed table of network connections, from its files to verdicts by the commands that a user types.

`kilter train` on the normal rows of train.csv.gz, `kilter score` on test.csv.gz, in which some levels are new. The peer
in the same run is the distance to the nearest of the same training rows, all of them, with numbers as log(1 + v),
standardised, and levels as 0 and 1 each (standardised as well they make it worse).

    python -m benchmarks.nsl_kdd --data DIR

DIR holds train.csv.gz and test.csv.gz with a header and the label in `attack`. Prints Markdown.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.clock import Matrix, timed
from benchmarks.figures import Floats, ranked_last
from benchmarks.machine import described
from benchmarks.markdown import number, table
from benchmarks.peers import Scaling, nearest

LABEL, NORMAL = "attack", "normal"
KILTER = Path(sys.executable).with_name("kilter")
FIRST_REASONS = 10


class Spent(NamedTuple):
    """What a command took."""

    wall_s: float
    cpu_s: float


def kilter(*arguments: str | Path, ok: tuple[int, ...] = (0,)) -> Spent:
    """Run a command of ours. Raises RuntimeError with its words if it fails."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run([KILTER, *arguments], capture_output=True, text=True, check=False)
    if done.returncode not in ok:
        raise RuntimeError(f"kilter {arguments[0]} ended with {done.returncode}: {done.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Spent(time.monotonic() - began, cpu)


def prepared(train: pd.DataFrame, test: pd.DataFrame) -> tuple[Matrix, Matrix]:
    """The peer's view of both tables, each (rows, features)."""
    parts: list[tuple[Matrix, Matrix]] = []
    for name in train.columns:
        old, new = (frame[name].to_numpy()[:, None] for frame in (train, test))
        if pd.api.types.is_numeric_dtype(train[name]):
            old, new = (np.log1p(values.astype(np.float64)) for values in (old, new))
            scaling = Scaling.of(old)
            parts.append((scaling(old), scaling(new)))
        else:
            levels = np.array(sorted(train[name].unique()))
            parts.append(((old == levels).astype(np.float32), (new == levels).astype(np.float32)))
    return np.hstack([old for old, _ in parts]), np.hstack([new for _, new in parts])


def neighbour(train: pd.DataFrame, test: pd.DataFrame) -> Floats:
    """The peer's scores of the test rows."""
    known, new = prepared(train, test)
    return nearest(1)(known, 0)(new)


def measure(data: Path, models: Path, seed: int) -> str:
    """Train, score, and hold both against the labels; in Markdown."""
    training, testing, judged = data / "train.csv.gz", data / "test.csv.gz", models / "judged.csv"
    labels = ("--label", LABEL, "--normal", NORMAL)
    trained = kilter("train", training, "--name", "nsl-kdd", "--models", models, "--seed", str(seed), *labels)
    scored = kilter("score", models / "nsl-kdd", testing, "-o", judged, "--force", ok=(0, 1))
    verdicts = pd.read_csv(judged, low_memory=False)
    anomalous = (verdicts[LABEL] != NORMAL).to_numpy()
    flagged = verdicts["kilter_anomaly"].astype(str).str.lower().eq("true").to_numpy()
    scores = verdicts["kilter_score"].to_numpy(np.float64)
    train = pd.read_csv(training).query(f"{LABEL} == @NORMAL").drop(columns=LABEL)
    theirs, peer_s = timed(lambda: neighbour(train, pd.read_csv(testing).drop(columns=LABEL)))
    rows = [
        _row("Kilter", ranked_last(scores, anomalous), anomalous),
        _row("nearest neighbour, log-scaled and one-hot", theirs, anomalous),
    ]
    reasons = [json.loads(text) for text in verdicts["kilter_reasons"][flagged & anomalous].dropna()]
    first = Counter(found[0]["feature"] for found in reasons if found).most_common(FIRST_REASONS)
    return "\n\n".join(
        [
            f"# NSL-KDD, seed {seed}",
            described(),
            table(("on the test file", "ROC AUC", "average precision"), rows),
            f"Training, the report included: {trained.wall_s:.0f} s, {trained.cpu_s:.0f} CPU seconds; scoring "
            f"{len(verdicts):,} rows: {scored.wall_s:.1f} s, {scored.cpu_s:.1f} CPU seconds. The peer takes "
            f"{peer_s:.0f} CPU seconds.",
            f"Rows without a verdict: {int(np.isnan(scores).sum())}. Flagged: {flagged[~anomalous].mean():.2%} of the "
            f"{int((~anomalous).sum()):,} normal test rows, {flagged[anomalous].mean():.2%} of the "
            f"{int(anomalous.sum()):,} attacks.",
            "The most frequent first reasons of flagged attacks: "
            + ", ".join(f"`{name}` ({count:,})" for name, count in first)
            + ".",
        ]
    )


def _row(name: str, scores: Floats, anomalous: npt.NDArray[np.bool_]) -> list[str]:
    figures = (roc_auc_score(anomalous, scores), average_precision_score(anomalous, scores))
    return [name, *[number(float(figure), 4) for figure in figures]]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="holds train.csv.gz and test.csv.gz")
    parser.add_argument("--seed", type=int, default=0, help="[default: 0]")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as models:
        print(measure(args.data, Path(models), args.seed))


if __name__ == "__main__":
    main()
