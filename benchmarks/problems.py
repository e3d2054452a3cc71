"""Problems of detection: a table, a task on it and a split, from the collections that detectors are compared on.

A collection is told by what a folder holds: npz files with X and y (ADBench, its embeddings), gzipped CSV files with a
header whose last column is `class` (KEEL), or the train.csv.gz and test.csv.gz of NSL-KDD.

Every problem is made by the protocol of `benchmarks.sets`: half of the normal rows to fit, the other half and all
anomalies to test. A table of classes gives up to two tasks: `one`, in which its largest class is normal, and `rare`, in
which its smallest class of at least ten rows is anomalous, if that is at most a fifth of the table.
"""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import polars as pl

from benchmarks import sets
from benchmarks.clock import Matrix
from benchmarks.made import made_anomalies
from benchmarks.peers import Scaling

LEAST_FITTED = 40
"""A task with fewer rows to fit is left out."""
LEAST_RARE, MOST_RARE = 10, 0.2
MOST_TESTED = 6_000
"""Most test rows of a table of classes, and of NSL-KDD."""
LABEL = "class"
NSL_LABEL, NSL_NORMAL = "attack", "normal"
LEVEL_WEIGHT = 0.5**0.5
"""The weight of a one-hot level in the peers' matrix: rows that differ in a level are at a squared distance of 1."""

Flags = npt.NDArray[np.bool_]


class Problem(NamedTuple):
    """A task on a table in one split."""

    collection: str
    table: str
    task: str
    seed: int
    train: pl.DataFrame
    test: pl.DataFrame
    anomalous: Flags
    """(test rows,)"""
    hidden: int
    """Anomalies among the training rows."""

    def __str__(self) -> str:
        return f"{self.collection}/{self.table}/{self.task}/{self.seed}"

    @property
    def target_fpr(self) -> float | None:
        """The rate to ask for; None for the product's default."""
        normal = self.train.height - self.hidden + int((~self.anomalous).sum())
        return sets.FEW_NORMAL_RATE if normal < sets.FEW_NORMAL else None

    def made(self) -> dict[str, pl.DataFrame]:
        """Made anomalies over the normal rows, by kind."""
        return made_anomalies(self.train, self.test.filter(~pl.Series(self.anomalous)), self.seed)


class ProblemSource(NamedTuple):
    """What a problem is made from."""

    collection: str
    path: Path
    task: str
    seed: int
    contamination: float = 0.0

    @property
    def table(self) -> str:
        """The name of the table."""
        return self.path.name.split(".csv")[0].removesuffix(".npz")

    def __str__(self) -> str:
        return f"{self.collection}/{self.table}/{self.task}/{self.seed}"


def problem_sources(folder: Path, seeds: list[int], contamination: float = 0.0) -> list[ProblemSource]:
    """The tasks of a collection, table by table. Raises FileNotFoundError if the folder holds none."""
    name = folder.name
    if (folder / "train.csv.gz").exists():
        found = [(folder, "attacks")]
    elif arrays := sorted(folder.glob("*.npz")):
        found = [(path, "labels") for path in arrays]
    else:
        found = [(path, task) for path in sorted(folder.glob("*.csv.gz")) for task in class_tasks(path)]
    if not found:
        raise FileNotFoundError(f"{folder} holds neither .npz nor .csv.gz files")
    return [ProblemSource(name, path, task, seed, contamination) for path, task in found for seed in seeds]


def class_tasks(path: Path) -> list[str]:
    """Which of the two tasks a table of classes gives."""
    counts = pl.read_csv(path, columns=[LABEL], infer_schema=False)[LABEL].value_counts(sort=True)["count"]
    found = ["one"] if counts[0] // 2 >= LEAST_FITTED else []
    rare = counts.filter(counts >= LEAST_RARE).min()
    if len(counts) > 2 and isinstance(rare, int) and rare <= MOST_RARE * int(counts.sum()):
        found.append("rare")
    return found


def read_problem(source: ProblemSource) -> Problem:
    """The problem of a source."""
    if source.task == "attacks":
        return _attacks(source)
    return _labelled(source) if source.task == "labels" else _classes(source)


def _labelled(source: ProblemSource) -> Problem:
    sample = sets.load(source.path.parent, source.path.stem, source.seed, source.contamination)
    return Problem(
        source.collection,
        source.table,
        source.task,
        source.seed,
        sets.frame(sample.train),
        sets.frame(sample.test),
        sample.anomalous,
        sample.hidden,
    )


def _classes(source: ProblemSource) -> Problem:
    frame = pl.read_csv(source.path, infer_schema_length=None)
    label = frame[LABEL].cast(pl.String)
    counts = label.value_counts().sort(["count", LABEL], descending=[True, False])
    if source.task == "one":
        anomalous = (label != counts[LABEL][0]).to_numpy()
    else:
        rare = counts.filter(pl.col("count") >= LEAST_RARE)[LABEL][-1]
        anomalous = (label == rare).to_numpy()
    # The split is that of any table, of the numbers of the rows.
    numbers = np.arange(frame.height, dtype=np.float64)[:, None]
    sample = sets.divide(source.path.name, numbers, anomalous, source.seed, source.contamination)
    test = sample.test[:, 0].astype(np.int64)
    kept = np.sort(np.random.default_rng(source.seed).permutation(len(test))[:MOST_TESTED])
    values = frame.drop(LABEL)
    return Problem(
        source.collection,
        source.table,
        source.task,
        source.seed,
        values[sample.train[:, 0].astype(np.int64)],
        values[test[kept]],
        sample.anomalous[kept],
        sample.hidden,
    )


def _attacks(source: ProblemSource) -> Problem:
    train, test = (pl.read_csv(source.path / f"{part}.csv.gz", infer_schema_length=None) for part in ("train", "test"))
    rng = np.random.default_rng(source.seed)
    normal, attacks = (train.filter(pl.col(NSL_LABEL) == NSL_NORMAL), train.filter(pl.col(NSL_LABEL) != NSL_NORMAL))
    hidden = round(source.contamination * normal.height / (1 - source.contamination))
    fitted = pl.concat([normal, attacks[rng.permutation(attacks.height)[:hidden]]])
    test = test[np.sort(rng.permutation(test.height)[:MOST_TESTED])]
    anomalous = (test[NSL_LABEL] != NSL_NORMAL).to_numpy()
    fitted = fitted[rng.permutation(fitted.height)].drop(NSL_LABEL)
    place = (source.collection, source.table, source.task, source.seed)
    return Problem(*place, fitted, test.drop(NSL_LABEL), anomalous, hidden)


def matrix_of(train: pl.DataFrame) -> Callable[[pl.DataFrame], Matrix]:
    """The peers' view of a table: numbers standardised, the median where one is missing, and one-hot levels."""
    numbers = [name for name, kind in train.schema.items() if kind.is_numeric()]
    texts = [name for name in train.columns if name not in numbers]
    medians = {name: train[name].median() or 0.0 for name in numbers}
    levels = {name: train[name].drop_nulls().unique().sort() for name in texts}

    def view(frame: pl.DataFrame) -> sets.Floats:
        filled = frame.select(pl.col(name).cast(pl.Float64).fill_null(medians[name]) for name in numbers)
        return filled.to_numpy().reshape(frame.height, len(numbers))

    scaling = Scaling.of(view(train))

    def matrix(frame: pl.DataFrame) -> Matrix:
        parts = [scaling(view(frame))]
        for name in texts:
            hits = frame[name].to_numpy()[:, None] == levels[name].to_numpy()[None, :]
            parts.append(hits.astype(np.float32) * np.float32(LEVEL_WEIGHT))
        return np.concatenate(parts, axis=1)

    return matrix
