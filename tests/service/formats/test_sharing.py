"""One large file that is shared out comes to what one run makes of it, whoever does what, and whoever is killed."""

import gzip
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.service.detector import Schema
from kilter.service.detector.columns import NumericColumn
from kilter.service.formats import ranges
from kilter.service.formats.contents import ContentRead
from kilter.service.formats.inputs import Shard, find_inputs, find_target, take_shard
from kilter.service.formats.merging import merge_shards
from kilter.service.formats.partial import UnfinishedError
from kilter.service.formats.scoring import score_inputs
from kilter.service.formats.sharing import CutOrder, cut_input, find_shared, without_shared
from kilter.service.formats.source import NO_HINTS
from kilter.service.formats.threads import map_in_threads
from kilter.service.formats.workplaces import ThisProcess, facts_of
from tests.support.detectors import SCHEMA, detector
from tests.support.killed import contents, in_form, kill_at, score, set_small_steps, write_tables
from tests.support.workplaces import Here, Shuffled, go_on_after_losses

RANGE = 12_000
ROWS = (1300, 45)


@pytest.fixture(autouse=True)
def steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks, each of which is remembered, and small ranges."""
    set_small_steps(monkeypatch)
    monkeypatch.setattr(ranges, "RANGE", RANGE)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two CSV files in folders of a folder, one of them large, in which a line is in a field here and there."""
    folder = write_tables(tmp_path_factory.mktemp("sharing") / "in", ROWS)
    path = folder / "day=0" / "0.csv"
    header, *lines = path.read_text().splitlines()
    notes = ['"two\nlines, and a comma"', "one line"]
    lines = [f"{line},{notes[row % 7 > 0]}" for row, line in enumerate(lines)]
    lines[300] = "1"
    path.write_text("\n".join([f"{header},note", *lines, ""]))
    return folder


def everything(folder: Path) -> dict[str, bytes]:
    """Every file and folder below one."""
    return {path.relative_to(folder).as_posix(): b"" for path in folder.rglob("*")} | contents(folder)


def by_shards(stated: Path, out: Path, count: int, **options: Any) -> None:
    for place in reversed(range(count)):
        score([stated], out, shard=Shard(place, count), **options)
        again = score([stated], out, shard=Shard(place, count), resume=True, **options)
        assert again.notes == (f"{out} is finished already",)
    merge_shards(out)


@pytest.mark.parametrize("form", ["csv", "parquet", "ipc", "ndjson"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"form": "parquet", "only_anomalies": True},
        {"form": "ndjson", "top": 40},
        {"form": "arrow", "fdr": 0.2, "tails": True},
    ],
)
def test_the_output_is_that_of_one_run(tables: Path, tmp_path: Path, form: str, options: dict[str, Any]) -> None:
    """To the last byte, `_SUCCESS` included, from any format to any other, by workers and by shards."""
    stated = tables if form == "csv" else in_form(tables, tmp_path / "in", form)
    one, many, shards = (tmp_path / name for name in ("one", "many", "shards"))
    first = score([stated], one, **options)
    cluster = Shuffled(0)
    second = score([stated], many, cluster=cluster, **options)
    assert cluster.done > 4
    assert second._replace(seconds=0, shifts=()) == first._replace(seconds=0, shifts=())
    assert everything(many) == everything(one)
    by_shards(stated, shards, 3, **options)
    assert everything(shards) == everything(one)


@pytest.mark.parametrize("name", ["out.csv", "out.csv.gz", "out.parquet"])
def test_one_file_becomes_one_file(tables: Path, tmp_path: Path, name: str) -> None:
    """By workers; a name without an ending of a format is a folder's, and shards have no other."""
    large = tables / "day=0" / "0.csv"
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    score([large], tmp_path / "one" / name)
    score([large], tmp_path / "many" / name, cluster=Shuffled(1))
    assert everything(tmp_path / "one") == everything(tmp_path / "many")
    (tmp_path / "folder").mkdir()
    score([large], tmp_path / "folder")
    score([large], tmp_path / "by-workers", cluster=Shuffled(2))
    by_shards(large, tmp_path / "by-shards", 4)
    assert everything(tmp_path / "folder") == everything(tmp_path / "by-workers") == everything(tmp_path / "by-shards")


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_types_are_those_of_the_whole_file(tmp_path: Path, form: str) -> None:
    """A column of whole numbers that has a fraction in the last range is one of fractions."""
    numbers = [
        NumericColumn(name, center=0.0, scale=1.0, minimum=-4.0, maximum=4.0, integer=True)
        for name in ("amount", "age")
    ]
    own = detector(schema=Schema((*numbers, SCHEMA.columns[2]), rows=100))
    lines = ["amount,age,colour", *(f"{row % 5},{row % 3},red" for row in range(3000)), "1,0.5,blue", ""]
    (tmp_path / "in.csv").write_text("\n".join(lines))
    (tmp_path / "one").mkdir()
    score_inputs(own, [tmp_path / "in.csv"], tmp_path / "one", form=form)
    for place in range(2):
        score_inputs(own, [tmp_path / "in.csv"], tmp_path / "many", form=form, shard=Shard(place, 2))
    assert len([*(tmp_path / "many").glob("_parts-*/*")]) > 1
    merge_shards(tmp_path / "many")
    assert everything(tmp_path / "many") == everything(tmp_path / "one")
    written = next((tmp_path / "many").glob("in.*"))
    frame = pl.read_parquet(written) if form == "parquet" else pl.read_ipc(written)
    assert [frame.schema[name] for name in ("amount", "age")] == [pl.Int64(), pl.Float64()]


def test_records_in_error_are_put_aside_by_shards(tables: Path, tmp_path: Path) -> None:
    """Each with its place in the whole file, in one file in order."""
    for name in ("one", "many"):
        (tmp_path / name).mkdir()
    score([tables], tmp_path / "one" / "out", reject=tmp_path / "one" / "rejects.csv")
    by_shards(tables, tmp_path / "many" / "out", 3, reject=tmp_path / "many" / "rejects.csv")
    assert everything(tmp_path / "many") == everything(tmp_path / "one")
    assert pl.read_csv(tmp_path / "one" / "rejects.csv")["kilter_row"].to_list() == [300, 649, 21]


@settings(max_examples=8)
@given(seed=st.integers(0, 99), stops=st.lists(st.tuples(st.booleans(), st.integers(0, 7)), max_size=4))
def test_any_engine_goes_on_where_another_was_lost(tables: Path, seed: int, stops: list[tuple[bool, int]]) -> None:
    """After any number of kills of either, the outputs are those of one run, and nothing else is left."""
    with TemporaryDirectory() as name:
        expected, out = Path(name) / "expected", Path(name) / "out"
        score([tables], expected)
        go_on_after_losses(tables, out, seed, stops, 4)
        assert everything(out) == everything(expected)


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_shard_that_is_killed_goes_on(tables: Path, tmp_path: Path, form: str) -> None:
    """At moments spread over the lines that write."""
    stated = tables if form == "csv" else in_form(tables, tmp_path / "in", form)
    score([stated], tmp_path / "expected")
    out = tmp_path / "out"
    for place, moment in ((1, 700), (0, 1300)):
        assert kill_at(moment, stated, out, f"--shard={place}/2", f"--range={RANGE}")
        score([stated], out, shard=Shard(place, 2), resume=True)
    for moment in (60, 200, 240):
        assert kill_at(moment, stated, out, "--merge")
    merge_shards(out)
    assert everything(out) == everything(tmp_path / "expected")


def test_what_was_done_is_not_done_again(tables: Path, tmp_path: Path) -> None:
    """But for parts of a file that is another one now, or of other ranges."""
    source = Path(shutil.copytree(tables, tmp_path / "in"))
    with pytest.raises(UnfinishedError, match="What was finished is kept"):
        score([source], tmp_path / "out", cluster=Shuffled(0, 4))
    parts = [path.name for path in (tmp_path / "out" / "_partial").glob("unit-*")]
    assert len(parts) >= 3
    (source / "day=0" / "0.csv").touch()  # the same content at another time
    cluster = Shuffled(0)
    score([source], tmp_path / "out", cluster=cluster, resume=True)
    assert cluster.done < 7
    score([tables], tmp_path / "one")
    assert {p: c for p, c in everything(tmp_path / "out").items() if p != "_SUCCESS"} == {
        p: c for p, c in everything(tmp_path / "one").items() if p != "_SUCCESS"
    }


def test_other_ranges_are_made_again(tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a release that cuts in another way."""
    with pytest.raises(UnfinishedError):
        score([tables], tmp_path / "out", cluster=Shuffled(0, 4))
    monkeypatch.setattr(ranges, "RANGE", 2 * RANGE)
    score([tables], tmp_path / "out", cluster=Shuffled(0), resume=True)
    score([tables], tmp_path / "one")
    assert everything(tmp_path / "out") == everything(tmp_path / "one")


def test_each_shard_has_its_ranges(tables: Path, tmp_path: Path) -> None:
    """Every range of every large file is that of one shard, and all shards have as many; small files are made whole."""
    shutil.copytree(tables, tmp_path / "in")
    shutil.copy(tables / "day=0" / "0.csv", tmp_path / "in" / "second.csv")
    inputs = find_inputs([tmp_path / "in"])
    target = find_target(inputs, [tmp_path / "in"], tmp_path / "out", None)
    here = ThisProcess(detector(), map)
    own: list[tuple[int, int]] = []
    counts = []
    for place in range(3):
        shard = target._replace(shard=Shard(place, 3))
        shared = find_shared(inputs, shard, NO_HINTS, here)
        assert [*shared] == [0, 2]
        counts.append(sum(len(one.own) for one in shared.values()))
        own += [(number, cut) for number, one in shared.items() for cut in one.own]
        whole = take_shard(without_shared(shard, shared), Shard(place, 3))
        assert [file.inputs for file in whole.files] == ([(1,)] if place == 0 else [])
    assert sorted(own) == [(place, number) for place in (0, 2) for number in range(len(shared[0].ranges))]
    assert max(counts) - min(counts) <= 1


def test_what_is_small_or_can_only_be_read_whole_is_not_cut(tables: Path, tmp_path: Path) -> None:
    """It is one unit."""
    large = tables / "day=0" / "0.csv"
    order = CutOrder(facts_of(find_inputs([large])[0]), 10**9)
    assert cut_input(Here(), order, NO_HINTS)[1] == ()
    content, cut = cut_input(Here(), order._replace(size=RANGE), NO_HINTS)
    assert len(cut) > 2
    assert content.bytes == large.stat().st_size
    with pytest.raises(UnfinishedError, match="it was ended"):
        cut_input(Here(2), order._replace(size=RANGE), NO_HINTS)
    packed = tmp_path / "large.csv.gz"
    packed.write_bytes(gzip.compress(large.read_bytes()))
    whole = tmp_path / "large.json"
    whole.write_text("[" + ",".join(['{"amount": 1, "age": 2, "colour": "red"}'] * 1000) + "]")
    for path in (packed, whole):
        assert cut_input(Here(), CutOrder(facts_of(find_inputs([path])[0]), 1000), NO_HINTS) == (ContentRead(), ())
    here = ThisProcess(detector(), map_in_threads(2))
    for name in ("out.arrows", "-"):
        target = find_target(find_inputs([large]), [large], Path(name), None)
        assert find_shared(find_inputs([large]), target, NO_HINTS, here) == {}
