"""Runs that are killed at any moments and resumed come to what they would have come to, and leave nothing else.

`python -m pytest tests/e2e/test_kills.py --kills 50` kills fifty times for each kind of output.
"""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kilter.service.formats.merging import merge_shards
from tests.support.killed import contents, in_form, kill_after, kill_at, lines_of, score, set_small_steps, write_tables
from tests.support.stores import BUCKET, s3_server

ROWS = (600, 45, 900)


class Case(NamedTuple):
    """What is read and written."""

    form: str
    """Of the tables."""
    out: str
    reject: str | None = None
    remote: bool = False


CASES = {
    "a file": Case("csv", "out.csv"),
    "a compressed file": Case("csv", "out.csv.gz", "rejects.csv.gz"),
    "a stored file": Case("parquet", "out.parquet"),
    "a folder": Case("csv", "out", "rejects.parquet"),
    "a folder of stored files": Case("parquet", "out"),
    "a folder in S3": Case("csv", "out", remote=True),
}


@pytest.fixture(autouse=True)
def steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Small blocks, each of which is remembered; and a folder of its own for temporary files, here and below."""
    set_small_steps(monkeypatch)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "temporary"))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))


class Places:
    """Where the outputs of a case go, each to a place of its own."""

    def __init__(self, folder: Path, files: Any) -> None:
        self._folder = folder
        self._files = files

    def new(self, name: str) -> str:
        """The place for another output."""
        if self._files is None:
            (self._folder / name).mkdir()
            return str(self._folder / name)
        return f"s3://{BUCKET}/{self._folder.name}/{name}"

    def contents(self, place: str) -> dict[str, bytes]:
        """Every file that is there; empty folders count."""
        if self._files is not None:
            root = place.partition("://")[2]
            return {path.removeprefix(root): self._files.cat_file(path) for path in self._files.find(root)}
        paths = [*Path(place).rglob("*")]
        return {str(path.relative_to(place)): path.read_bytes() if path.is_file() else b"folder" for path in paths}


@pytest.fixture
def places(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Places]:
    if not CASES[case].remote:
        yield Places(tmp_path, None)
        return
    with s3_server(monkeypatch) as files:
        yield Places(tmp_path, files)


@pytest.mark.e2e
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("case", CASES)
def test_runs_that_are_killed(case: str, places: Places, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """From within, before any line of the code that writes, and from without, at any time; some more than once."""
    form, out, reject, _ = CASES[case]
    tables = in_form(write_tables(tmp_path / "in", ROWS), tmp_path / "formed", form)

    def options(place: str) -> list[str]:
        return ["--resume", *([f"--reject={place}/{reject}"] if reject else [])]

    def whole(place: str) -> dict[str, bytes]:
        summary = score([tables], f"{place}/{out}", resume=True, reject=f"{place}/{reject}" if reject else None)
        assert (summary.records, summary.errors) == (sum(ROWS), 3)
        return places.contents(place)

    expected = whole(places.new("expected"))
    began = time.monotonic()
    whole(places.new("again"))
    seconds = time.monotonic() - began
    traced = places.new("traced")
    lines = lines_of(tables, f"{traced}/{out}", *options(traced))
    rng = random.Random(case)
    kills = 0
    wanted: int = pytestconfig.getoption("--kills")
    for number in range(2 * wanted):
        if kills >= wanted:
            break
        place = places.new(f"killed-{number}")
        target, chosen = f"{place}/{out}", options(place)
        while (
            kill_at(rng.randrange(lines), tables, target, *chosen)
            if number % 2
            else kill_after(rng.uniform(0, seconds), tables, target, *chosen)
        ):
            kills += 1
            if rng.random() < 0.5:
                break
        assert whole(place) == expected
        assert not list((tmp_path / "temporary").glob("kilter-*"))
    assert kills >= wanted
    print(f"{case}: {kills} kills")  # noqa: T201


@pytest.mark.e2e
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_shards_of_large_files_that_are_killed(form: str, tmp_path: Path, pytestconfig: pytest.Config) -> None:
    """Before any line of the code that writes: each shard in turn, and the merge, until all are done."""
    tables = in_form(write_tables(tmp_path / "in", ROWS), tmp_path / "formed", form)
    (tmp_path / "expected").mkdir()
    score([tables], tmp_path / "expected" / "out", reject=tmp_path / "expected" / "rejects.csv")
    expected = contents(tmp_path / "expected")
    rng = random.Random(form)
    kills = runs = 0
    wanted: int = pytestconfig.getoption("--kills")
    while kills < wanted:
        out = tmp_path / f"out-{runs}" / "out"
        out.parent.mkdir()
        options = ("--range=12000", "--resume", f"--reject={out.parent / 'rejects.csv'}")
        for shard in range(2):
            while kill_at(rng.randrange(1800), tables, out, f"--shard={shard}/2", *options):
                kills += 1
        for _ in range(3):
            kills += kill_at(rng.randrange(600), tables, out, "--merge")
        merge_shards(out)
        assert contents(out.parent) == expected
        assert not [path for path in out.rglob("_*") if path.name != "_SUCCESS"]
        runs += 1
    print(f"shards, {form}: {kills} kills in {runs} runs")  # noqa: T201
