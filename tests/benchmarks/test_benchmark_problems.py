"""Tests of the problems that detectors are compared on, and of the anomalies made over them."""

import gzip
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.made import KINDS, made_anomalies
from benchmarks.problems import class_tasks, matrix_of, problem_sources, read_problem


def classes(folder: Path, sizes: dict[str, int]) -> Path:
    """A table of classes, of so many rows each, whose first column tells the row."""
    lines = ["row,colour,class"]
    for name, size in sizes.items():
        lines += [f"{len(lines) + i - 1},{'red' if i % 2 else 'blue'},{name}" for i in range(size)]
    path = folder / "made.csv.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    return path


@pytest.mark.parametrize(
    ("sizes", "tasks"),
    [
        ({"a": 100, "b": 60}, ["one"]),
        ({"a": 100, "b": 60, "c": 20}, ["one", "rare"]),
        ({"a": 70, "b": 60, "c": 20}, ["rare"]),
        ({"a": 100, "b": 60, "c": 9}, ["one"]),
    ],
)
def test_tasks_of_classes(tmp_path: Path, sizes: dict[str, int], tasks: list[str]) -> None:
    """The largest class is normal if half of it is enough, and a small third class is rare."""
    assert class_tasks(classes(tmp_path, sizes)) == tasks


def test_classes_are_split_without_overlap(tmp_path: Path) -> None:
    """The rows of the task `rare` are those of the table, each once, and only the smallest class is anomalous."""
    classes(tmp_path, {"a": 100, "b": 60, "c": 20})
    problem = read_problem(problem_sources(tmp_path, [1])[1])
    rows = pl.concat([problem.train["row"], problem.test["row"]])
    assert sorted(rows) == list(range(180))
    assert (problem.test["row"].to_numpy() >= 160).tolist() == problem.anomalous.tolist()
    assert problem.train.height == 80
    assert str(problem).endswith("/made/rare/1")


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    """The folder is named."""
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        problem_sources(tmp_path, [0])


def test_the_peers_see_levels_and_gaps() -> None:
    """Levels are one-hot, an unseen one is none of them, and a missing number is the median."""
    train = pl.DataFrame({"n": [1.0, 3.0, None], "c": ["x", "y", "x"]})
    matrix = matrix_of(train)(pl.DataFrame({"n": [None, 2.0], "c": ["z", "y"]}))
    assert matrix[0].tolist() == [0.0, 0.0, 0.0]
    assert matrix[1] == pytest.approx([0.0, 0.0, 0.5**0.5])


@settings(max_examples=20)
@given(st.integers(0, 1000), st.integers(1, 6), st.booleans())
def test_made_anomalies_look_like_the_table(seed: int, numbers: int, levels: bool) -> None:
    """Whatever the kind, columns keep their types, whole numbers stay whole, and levels are known ones."""
    rng = np.random.default_rng(seed)
    columns: dict[str, object] = {f"n{i}": rng.normal(size=80) for i in range(numbers)}
    columns["whole"] = rng.integers(0, 9, 80)
    if levels:
        columns["level"] = rng.choice(["a", "b", "c"], 80)
    table = pl.DataFrame(columns)
    found = made_anomalies(table[:40], table[40:], seed)
    assert tuple(found) == KINDS
    for frame in found.values():
        assert frame.schema == table.schema
        assert frame.null_count().sum_horizontal()[0] == 0
        assert not levels or set(frame["level"]) <= {"a", "b", "c"}


def test_swapped_fields_come_from_other_rows() -> None:
    """A tenth of the fields, at least one, differ from the row that they were swapped into."""
    table = pl.DataFrame({f"x{i}": np.arange(50.0) + 1000 * i for i in range(20)})
    swapped = made_anomalies(table, table, 0)["swapped"].to_numpy()
    base = np.median(swapped - 1000 * np.arange(20), axis=1)
    changed = ((swapped - 1000 * np.arange(20)) != base[:, None]).sum(1)
    assert changed.max() == 2
    assert (changed >= 1).mean() > 0.9
