"""Labelled tables for anomaly detection, in folders of ADBench's npz files, and the protocol by which they are used.

The protocol that the literature calls semi-supervised: train on a random half of the normal rows, test on the other
half and on every anomaly. Tables above 10,000 rows are sampled down, at the anomaly rate that they have.
"""

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

MOST_ROWS = 10_000
LEAST_ANOMALIES = 30
"""A table that is sampled down keeps at least so many anomalies, if it has them."""
MOST_HIDDEN = 0.5
"""At most this share of the anomalies goes into training; the others are needed to test."""
FEW_NORMAL = 600
FEW_NORMAL_RATE = 0.1
"""The target false-positive rate for tables with fewer than `FEW_NORMAL` normal rows, which cannot support 0.01."""

Floats = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]


class Sample(NamedTuple):
    """One split of one table, values as they came."""

    name: str
    train: Floats
    """(n, columns): normal rows, and `hidden` anomalies among them."""
    test: Floats
    """(m, columns)"""
    anomalous: npt.NDArray[np.bool_]
    """(m,)"""
    hidden: int

    @property
    def contamination(self) -> float:
        """The share of anomalies that the training rows really have."""
        return self.hidden / len(self.train)

    @property
    def target_fpr(self) -> float | None:
        """The rate to ask for; None for the product's default."""
        normal = len(self.train) - self.hidden + int((~self.anomalous).sum())
        return FEW_NORMAL_RATE if normal < FEW_NORMAL else None


def names(folder: Path) -> list[str]:
    """The tables of a folder, by the number that leads their names, then by name. Raises FileNotFoundError."""
    found = [path.stem for path in folder.glob("*.npz")]
    if not found:
        raise FileNotFoundError(f"there is no .npz file in {folder}")

    def key(name: str) -> tuple[int, str]:
        number = re.match(r"\d+", name)
        return int(number[0]) if number else 0, name

    return sorted(found, key=key)


def load(folder: Path, name: str, seed: int, contamination: float = 0.0) -> Sample:
    """One split of a table whose file holds X, (rows, columns), and y, (rows,), 1 for an anomaly."""
    with np.load(folder / f"{name}.npz") as arrays:
        x, y = arrays["X"].astype(np.float64), arrays["y"].astype(np.int64)
    return divide(name, x, y == 1, seed, contamination)


def load_whole(folder: Path, name: str, most: int, seed: int) -> tuple[Floats, npt.NDArray[np.bool_]]:
    """All rows of a table, (rows, columns), and which are anomalous, (rows,), in the order of its file.

    Of a table of more than `most` rows as many are drawn, at the share of anomalies that it has, and at least one.
    """
    with np.load(folder / f"{name}.npz") as arrays:
        x, anomalous = arrays["X"].astype(np.float64), arrays["y"].astype(np.int64) == 1
    if len(x) <= most:
        return x, anomalous
    rng = np.random.default_rng(seed)
    odd = max(1, round(most * float(anomalous.mean())))
    parts = [
        rng.choice(np.flatnonzero(anomalous == kind), count, replace=False)
        for kind, count in ((1, odd), (0, most - odd))
    ]
    rows = np.sort(np.concatenate(parts))
    return x[rows], anomalous[rows]


def divide(name: str, x: Floats, anomalous: npt.NDArray[np.bool_], seed: int, contamination: float = 0.0) -> Sample:
    """Split rows by the protocol, and hide anomalies among the training rows up to a share of `contamination`.

    The draws of a seed are the same at every level of contamination, and what is hidden at a low level is hidden at
    every higher one, so that levels compare. Hidden anomalies are not tested on.
    """
    rng = np.random.default_rng(seed)
    anomalies, normal = np.flatnonzero(anomalous), np.flatnonzero(~anomalous)
    if len(x) > MOST_ROWS:
        anomalies, normal = _sampled(anomalies, normal, rng)
    order = rng.permutation(normal)
    train, test = np.split(order, [len(order) // 2])
    hidden, tested = _hide(anomalies, len(train), contamination, seed)
    if len(hidden):
        train = np.random.default_rng([seed, 1]).permutation(np.concatenate([train, hidden]))
    rows = np.concatenate([test, tested])
    return Sample(name, x[train], x[rows], np.arange(len(rows)) >= len(test), len(hidden))


def _sampled(anomalies: Positions, normal: Positions, rng: np.random.Generator) -> tuple[Positions, Positions]:
    share = len(anomalies) / (len(anomalies) + len(normal))
    kept = min(len(anomalies), max(LEAST_ANOMALIES, round(MOST_ROWS * share)))
    few = rng.choice(anomalies, kept, replace=False)
    return few, rng.choice(normal, MOST_ROWS - kept, replace=False)


def _hide(anomalies: Positions, normal: int, contamination: float, seed: int) -> tuple[Positions, Positions]:
    """The anomalies that go into training with `normal` rows, and those that stay."""
    wanted = round(contamination * normal / (1 - contamination))
    count = min(wanted, int(MOST_HIDDEN * len(anomalies)))
    hidden = np.random.default_rng([seed, 2]).permutation(anomalies)[:count]
    return hidden, anomalies[~np.isin(anomalies, hidden)]


def frame(x: npt.NDArray[Any]) -> pl.DataFrame:
    """Rows as a frame with the columns x0, x1, ..."""
    return pl.DataFrame({f"x{i}": np.ascontiguousarray(column) for i, column in enumerate(x.T)})
