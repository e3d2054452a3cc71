"""Breast-cancer data of scikit-learn: does Kilter rank malignant biopsies above benign ones, and keep its rate?

For each split 70 % of the benign rows are learned from, by Kilter's own path at a target false-positive rate of 0.05;
the other benign rows and all malignant ones are the test. Baselines on the same rows, standardised: the distance to
the nearest training row, and the sum of squared deviations from the training mean.

    python -m benchmarks.breast_cancer --splits 10

Prints a table in Markdown. The data come with scikit-learn.
"""

import argparse
from typing import NamedTuple

import numpy as np
from sklearn.datasets import load_breast_cancer
from sklearn.metrics import roc_auc_score

from benchmarks import ours
from benchmarks.figures import Floats, mean_error, promised
from benchmarks.machine import described
from benchmarks.markdown import number, table, with_error
from benchmarks.peers import Scaling, nearest
from benchmarks.pool import spread
from benchmarks.sets import frame
from kilter.training.config import TrainConfig

SHARE = 0.7
TARGET_FPR = 0.05


class Split(NamedTuple):
    """The figures of one split."""

    auroc: float
    neighbour: float
    deviations: float
    """ROC AUC of ours, of the nearest neighbour, and of the sum of squared deviations."""
    flagged: int
    normal: int
    """Benign test rows that are flagged, and all of them."""
    low: int
    high: int
    """The 95 % beta-binomial interval of the flagged ones."""


def measure(seed: int) -> Split:
    """Fit and test on one split."""
    data = load_breast_cancer()
    x, benign = data.data, np.flatnonzero(data.target == 1)
    order = np.random.default_rng(seed).permutation(benign)
    train, normal = np.split(x[order], [round(SHARE * len(order))])
    test = np.concatenate([normal, x[data.target == 0]])
    anomalous = np.arange(len(test)) >= len(normal)
    model = ours.fit(frame(train), TrainConfig(target_fpr=TARGET_FPR, seed=seed, device="cpu"))
    scores = model.score(frame(test))
    scaling = Scaling.of(train)
    neighbour: Floats = nearest(1)(scaling(train), seed)(scaling(test))
    ours_auroc, neighbour_auroc, deviations_auroc = (
        float(roc_auc_score(anomalous, found)) for found in (scores, neighbour, np.square(scaling(test)).sum(1))
    )
    flagged = int(model.calibration.anomalies(scores[: len(normal)]).sum())
    low, high = promised(len(normal), model.calibration.rank, model.calibration.size)
    return Split(ours_auroc, neighbour_auroc, deviations_auroc, flagged, len(normal), low, high)


def report(splits: dict[int, Split]) -> str:
    """The figures in Markdown, split by split."""
    fields = ("auroc", "neighbour", "deviations")
    rows = [
        [
            str(seed),
            *[number(getattr(split, field), 4) for field in fields],
            f"{split.flagged} of {split.normal}",
            f"{split.low} to {split.high}",
            "yes" if split.low <= split.flagged <= split.high else "no",
        ]
        for seed, split in sorted(splits.items())
    ]
    means = [mean_error([getattr(split, field) for split in splits.values()]) for field in fields]
    inside = sum(split.low <= split.flagged <= split.high for split in splits.values())
    share = mean_error([split.flagged / split.normal for split in splits.values()]).mean
    rows.append(
        ["mean ± s.e.", *[with_error(m.mean, m.error, 4) for m in means], number(share), "", f"{inside} of {len(rows)}"]
    )
    head = ("split", "Kilter", "nearest neighbour", "squared deviations", "benign flagged", "95 % interval", "inside")
    return "\n\n".join(["# Breast cancer: ROC AUC and false alarms", described(), table(head, rows)]) + "\n"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--splits", type=int, default=10, help="[default: 10]")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each [default: 1]")
    args = parser.parse_args()
    print(report(dict(spread(measure, range(args.splits), args.jobs))))


if __name__ == "__main__":
    main()
