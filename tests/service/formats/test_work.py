"""What becomes of a block depends on nothing else, so that the output is the same however the work is divided."""

import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import polars as pl
import pytest

from kilter.service.formats.scoring import score_file
from kilter.service.formats.threads import Map, map_in_threads
from tests.support import detectors

T = TypeVar("T")
R = TypeVar("R")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    """A CSV of 3,000 records, some strange, some in error."""
    rows = detectors.joined(detectors.rows(2900, 3), detectors.rows(100, 4, shift=8.0))
    frame = pl.DataFrame(rows.columns).sample(fraction=1, shuffle=True, seed=0)
    path = tmp_path / "in.csv"
    lines = frame.write_csv().splitlines()
    lines[700] = "x" + lines[700]
    lines[1500] += ",more"
    path.write_text("\n".join([*lines, ""]))
    return path


def map_twice(function: Callable[[T], R], items: Iterable[T], /) -> Iterator[R]:
    """Does all work in any order, and some of it twice."""
    blocks = list(items)
    order = [*range(len(blocks)), 0, len(blocks) // 2]
    random.Random(0).shuffle(order)
    done = {place: function(blocks[place]) for place in order}
    return iter([done[place] for place in range(len(blocks))])


@pytest.mark.parametrize("ending", ["csv", "csv.gz", "parquet"])
@pytest.mark.parametrize("mapped", [map_in_threads(3), map_twice])
def test_the_output_is_the_same_however_it_is_made(
    table: Path, ending: str, mapped: Map, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """To the last byte, and so is what is said of it."""
    monkeypatch.setattr("kilter.service.formats.text.HEAD", 4096)
    monkeypatch.setattr("kilter.service.formats.text.BYTES", 4096)
    model = detectors.detector()
    first = score_file(model, table, tmp_path / f"a.{ending}")
    second = score_file(model, table, tmp_path / f"b.{ending}", mapped=mapped)
    assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()
    assert first._replace(seconds=0) == second._replace(seconds=0)
    assert (first.records, first.errors) == (3000, 2)
    assert first.anomalies >= 50
