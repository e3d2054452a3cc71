"""What becomes of a block depends on nothing else, so that the output is the same however the work is divided."""

import gzip
import random
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TypeVar

import polars as pl
import pytest

from kilter.service.detector import KilterError
from kilter.service.formats.scoring import score_file, score_inputs
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


@pytest.mark.parametrize("count", [1, 40, 5_000])
def test_the_highest_scores_of_all_files_are_written(
    table: Path, count: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As many as are asked for, or all that have one, with the verdicts that they have among all others."""
    monkeypatch.setattr("kilter.service.formats.text.HEAD", 4096)
    monkeypatch.setattr("kilter.service.formats.text.BYTES", 4096)
    lines = table.read_text().splitlines()
    more = tmp_path / "more.csv"
    more.write_text("\n".join([lines[0], *lines[1200:1700:2], ""]))
    model, mapped = detectors.detector(), map_in_threads(3)
    score_inputs(model, [table, more], tmp_path / "all.csv", mapped=mapped)
    summary = score_inputs(model, [table, more], tmp_path / "top.csv", top=count, mapped=mapped)
    whole, top = (
        pl.read_csv(tmp_path / f"{name}.csv", infer_schema=False, truncate_ragged_lines=True) for name in ("all", "top")
    )
    wanted = whole.with_columns(score=pl.col("kilter_score").cast(pl.Float64, strict=False)).filter(
        pl.col("score").is_not_null()
    )
    wanted = wanted.with_row_index().sort("score", descending=True, maintain_order=True).head(count).sort("index")
    assert top.equals(wanted.drop("index", "score"))
    assert (summary.records, top.height) == (whole.height, min(count, wanted.height))


def test_the_highest_scores_need_files(table: Path, tmp_path: Path) -> None:
    """Which are read twice; and they are no other choice of records."""
    model = detectors.detector()
    with pytest.raises(KilterError, match="needs a file to write to"):
        score_file(model, table, "-", top=3)
    with pytest.raises(KilterError, match="read twice, not a stream"):
        score_file(model, "-", tmp_path / "out.csv", top=3)
    with pytest.raises(KilterError, match="leave one out"):
        score_file(model, table, tmp_path / "out.csv", top=3, only_anomalies=True)


@pytest.mark.parametrize("ending", ["csv", "csv.gz"])
def test_how_far_it_is_is_told(table: Path, ending: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """After each block, with the share of all inputs that is read, which only grows, to the whole."""
    monkeypatch.setattr("kilter.service.formats.text.HEAD", 4096)
    monkeypatch.setattr("kilter.service.formats.text.BYTES", 4096)
    other = tmp_path / f"other.{ending}"
    content = table.read_bytes()
    other.write_bytes(gzip.compress(content) if ending == "csv.gz" else content)
    said: list[tuple[int, float | None]] = []
    score_inputs(
        detectors.detector(),
        [table, other],
        tmp_path / "out",
        mapped=map_in_threads(2),
        watch=lambda tally, share: said.append((tally.records, share)),
    )
    records, shares = zip(*said, strict=True)
    assert records[-1] == 6000
    assert list(records) == sorted(records)
    assert None not in shares
    assert list(shares) == sorted(shares)
    assert 0 < shares[0] < 0.75
    assert shares[-1] == 1
