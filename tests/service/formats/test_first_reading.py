"""What is known of all records after a first reading does not depend on who reads which file."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import Detector, KilterError
from kilter.service.formats.first_reading import discover, find_top, highest
from kilter.service.formats.workplaces import Cluster, Workplace
from tests.support.detectors import detector
from tests.support.killed import write_tables

T = TypeVar("T")
R = TypeVar("R")


class Backwards(Workplace, Cluster):
    """Does all work here, the last piece first."""

    name = "the worker here"

    @property
    def detector(self) -> Detector:
        return detector()

    def check(self, *_: object) -> None:
        return

    def run(self, work: Callable[[Workplace, T], R], items: Iterable[T]) -> Iterator[tuple[int, R]]:
        return iter([(place, work(self, item)) for place, item in reversed([*enumerate(items)])])


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> Sequence[Path]:
    """Three files, two of which hold the same rows."""
    folder = write_tables(tmp_path_factory.mktemp("first") / "in", (90, 40, 120))
    found = sorted(folder.rglob("*.csv"))
    return [*found, found[0]]


@pytest.mark.parametrize("count", [1, 7, 60, 1000])
def test_the_top_is_the_same_wherever_it_is_found(paths: Sequence[Path], tmp_path: Path, count: int) -> None:
    """Equal scores included, of which those of the first file count."""
    here, there = (find_top(detector(), paths, tmp_path / "out", count, cluster=one) for one in (None, Backwards()))
    assert {place: rows.tolist() for place, rows in here.items()} == {
        place: rows.tolist() for place, rows in there.items()
    }
    assert sum(map(len, here.values())) == min(count, 340 - 4)  # a row of each file is in error


def test_discoveries_are_the_same_wherever_they_are_made(paths: Sequence[Path], tmp_path: Path) -> None:
    """Of all files together."""
    here, there = (discover(detector(), paths, tmp_path / "out", 0.2, cluster=one) for one in (None, Backwards()))
    assert here == there
    assert here.judged == 340 - 4
    assert here.declared >= 40
    with pytest.raises(KilterError, match="between 0 and 1"):
        discover(detector(), paths, tmp_path / "out", 1.5)
    with pytest.raises(KilterError, match="not standard output"):
        discover(detector(), paths, "-", 0.5)


@given(st.lists(st.integers(0, 5), max_size=30), st.integers(0, 9), st.integers(0, 30))
def test_the_highest_of_parts_are_those_of_the_whole(scores: list[int], count: int, cut: int) -> None:
    """With ties, of which the first count."""
    rows = np.stack([np.array(scores, float), np.arange(len(scores))], axis=1).reshape(-1, 2)
    whole = highest(rows, count)
    parts = highest(np.concatenate([highest(rows[:cut], count), highest(rows[cut:], count)]), count)
    assert whole.tolist() == parts.tolist()
