"""Tests of the peers, and of the summary and the picture that a run ends with."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from benchmarks.measurement import OURS, REAL, Measurement
from benchmarks.peers import PEERS, Scaling
from benchmarks.picture import draw
from benchmarks.summary import by_collection, by_method, by_table, report


def lines() -> Iterator[Measurement]:
    """Ours and a peer on two tables, two seeds, clean and with anomalies hidden; the peer fails once."""
    for table, lead in (("one", 0.1), ("two", -0.05)):
        for seed in (0, 1):
            for share in (0.0, 0.05):
                place = ("some", table, "labels", seed, share)
                sizes = (share, 3, 50, 50, 10)
                yield Measurement(*place, OURS, REAL, *sizes, 0.9 - share, 0.8, 1.0, 5.0, 50.0)
                yield Measurement(*place, OURS, "swapped", *sizes, 0.7, 0.6)
                failed = (table, seed, share) == ("two", 1, 0.05)
                auroc = None if failed else 0.9 - lead
                error = "ValueError: no" if failed else None
                yield Measurement(*place, "knn1", REAL, *sizes, auroc, auroc, 0.1, 1.0, 9.0, error=error)


@pytest.mark.parametrize("name", [name for name in PEERS if not name.startswith("pyod-")])
def test_peers_rank_what_is_far_off_last(name: str) -> None:
    """Each peer gives every distant row a higher score than any row like those it was fitted on."""
    rng = np.random.default_rng(0)
    train = rng.normal(size=(200, 5)) @ rng.normal(size=(5, 5)) + 3
    scaling = Scaling.of(train)
    score = PEERS[name](scaling(train[:150]), 0)
    far = scaling(train[:20]) + rng.choice([-30.0, 30.0], (20, 5)).astype(np.float32)
    assert score(far).min() > score(scaling(train[150:])).max()


def test_constant_columns_are_only_centred() -> None:
    """A column without spread divides by nothing."""
    scaling = Scaling.of(np.full((10, 2), 7.0))
    assert scaling(np.array([[7.0, 9.0]])).tolist() == [[0.0, 2.0]]


def test_seeds_are_averaged_within_tables() -> None:
    """A table with a failed seed has no mean."""
    dirty = by_collection(lines())["some", 0.05]
    assert by_table(by_method(dirty)["knn1"], "auroc") == {"one": pytest.approx(0.8)}


def test_report_tells_gains_and_failures() -> None:
    """The gain over the peer, wins and losses, and each failure with its reason are all there."""
    text = report(list(lines()))
    assert "| knn1 | +0.0250 ± 0.0750 | 1 / 1 |" in text
    assert "knn1 on two, seed 1: ValueError: no" in text
    assert "| kilter | -0.050 / +0.000 |" in text
    assert "| method | swapped |\n| --- | ---: |\n| kilter | 0.700 |" in text


def test_picture_names_every_table(tmp_path: Path) -> None:
    """The picture is an SVG with a row for each table."""
    path = tmp_path / "detection.svg"
    draw(by_method(by_collection(lines())["some", 0.0]), path)
    text = path.read_text()
    assert "<svg" in text
    assert all(f"<!-- {table} -->" in text for table in ("one", "two"))
