"""Outputs that are made by themselves, in any order, some twice, come to those of one run, with any kill between."""

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.service.detector import KilterError
from kilter.service.formats.inputs import ScoringInput, Shard
from kilter.service.formats.joining import DATA
from kilter.service.formats.merging import merge_shards
from kilter.service.formats.partial import UNIT, UnfinishedError
from kilter.service.formats.source import NO_HINTS
from kilter.service.formats.units import FinishedUnit, UnitOrder, score_unit
from kilter.service.formats.workplaces import facts_of
from tests.support.killed import contents, kill_at, score, set_small_steps, write_tables
from tests.support.workplaces import Here, Shuffled, go_on_after_losses

ROWS = (300, 45, 500, 130)


@pytest.fixture(autouse=True)
def steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks, each of which is remembered."""
    set_small_steps(monkeypatch)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four CSV files in folders of a folder."""
    return write_tables(tmp_path_factory.mktemp("units") / "in", ROWS)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"form": "parquet"},
        {"form": "ndjson", "only_anomalies": True},
        {"top": 40},
        {"fdr": 0.2, "tails": True},
        {"columns": ["age"], "reasons": "all", "keep": ()},
    ],
)
def test_the_outputs_are_those_of_one_run(tables: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    """To the last byte, with `_SUCCESS`; and so is what is said of them."""
    first = score([tables], tmp_path / "one", **options)
    second = score([tables], tmp_path / "many", cluster=Shuffled(0), **options)
    assert contents(tmp_path / "one") == contents(tmp_path / "many")
    assert sorted(map(str, (tmp_path / "many").rglob("*"))) == sorted(
        str(tmp_path / "many" / path.relative_to(tmp_path / "one")) for path in (tmp_path / "one").rglob("*")
    )
    assert second._replace(seconds=0, shifts=()) == first._replace(seconds=0, shifts=())


@settings(max_examples=8)
@given(seed=st.integers(0, 99), stops=st.lists(st.tuples(st.booleans(), st.integers(0, 4)), max_size=4))
def test_any_engine_goes_on_where_another_was_lost(tables: Path, seed: int, stops: list[tuple[bool, int]]) -> None:
    """After any number of kills of either, the outputs are those of one run, and nothing else is left."""
    with TemporaryDirectory() as name:
        expected, out = Path(name) / "expected", Path(name) / "out"
        score([tables], expected)
        go_on_after_losses(tables, out, seed, stops, 3)
        assert contents(out) == contents(expected)
        assert not [path for path in out.rglob("*") if path.is_dir() and path.name.startswith(("_", UNIT))]


def test_what_was_finished_is_kept(tables: Path, tmp_path: Path) -> None:
    """If anything was; it is said how to go on."""
    for results, kept in ((0, False), (2, True)):
        with pytest.raises(UnfinishedError) as raised:
            score([tables], tmp_path / "out", cluster=Shuffled(3, results))
        assert ("What was finished is kept: add --resume to the command" in str(raised.value)) == kept
        assert (tmp_path / "out" / "_partial").exists() == kept
    assert len([*(tmp_path / "out").rglob("*.csv")]) == 2


def test_a_killed_run_is_gone_on_with_elsewhere(tables: Path, tmp_path: Path) -> None:
    """At moments spread over the lines that write, of a process that was killed with all that it had half done."""
    expected = tmp_path / "expected"
    score([tables], expected)
    for moment in (300, 1000):
        out = tmp_path / f"killed-{moment}"
        assert kill_at(moment, tables, out, "--resume")
        score([tables], out, cluster=Shuffled(moment), resume=True)
        assert contents(out) == contents(expected)


def test_shards_are_made_by_units(tables: Path, tmp_path: Path) -> None:
    """Merged they are the same."""
    score([tables], tmp_path / "one")
    for place in range(2):
        score([tables], tmp_path / "many", cluster=Shuffled(place), shard=Shard(place, 2))
    merge_shards(tmp_path / "many")
    assert contents(tmp_path / "one") == contents(tmp_path / "many")


def order_of(tables: Path, folder: Path) -> UnitOrder:
    path = next(tables.rglob("0.csv"))
    settings: dict[str, Any] = {"explained": "anomalies", "limit": 5}
    source = facts_of(ScoringInput(path, path.name))
    return UnitOrder(3, source, folder / "0.csv", folder, settings, NO_HINTS, "all", None, strict=False)


def test_a_unit_is_pure(tables: Path, tmp_path: Path) -> None:
    """Twice it gives the same, each time in a folder of its own; one that is ended leaves nothing."""
    order = order_of(tables, tmp_path)
    first, second = score_unit(Here(), order), score_unit(Here(), order)
    assert first.file != second.file
    assert first.file.startswith(f"{UNIT}-3-")
    assert first[1:3] == second[1:3]
    assert (tmp_path / first.file).read_bytes() == (tmp_path / second.file).read_bytes()
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(UnfinishedError, match="it was ended"):
        score_unit(Here(3), order)
    assert sorted(tmp_path.rglob("*")) == before
    assert [path.name for path in (tmp_path / first.file).parent.iterdir()] == [DATA]
    assert isinstance(first, FinishedUnit)


def test_what_a_worker_does_not_see_is_said(tables: Path, tmp_path: Path) -> None:
    """Another input at its place, and the folder of the output; with what to do."""
    order = order_of(tables, tmp_path)
    changed = tmp_path / "changed.csv"
    changed.write_bytes(order.source.path.read_bytes())
    os.utime(changed, ns=(0, order.source.modified_ns + 1))
    with pytest.raises(UnfinishedError, match=r"sees another .*changed\.csv"):
        score_unit(Here(), order._replace(source=order.source._replace(path=changed)))
    with pytest.raises(UnfinishedError, match=r"the worker here cannot see .*elsewhere"):
        score_unit(Here(), order._replace(folder=tmp_path / "elsewhere"))


def test_what_cannot_be_shared_is_refused(tables: Path, tmp_path: Path) -> None:
    """One file, streams and heat maps, before anything is written."""
    cluster = Shuffled(0)
    with pytest.raises(KilterError, match="workers share the files of a folder: name one with -o"):
        score([tables], tmp_path / "out.csv", cluster=cluster)
    with pytest.raises(KilterError, match="no file or folder that others can read"):
        score([Path("-"), tables], tmp_path / "out", cluster=cluster)
    with pytest.raises(KilterError, match="heat maps"):
        score([tables], tmp_path / "out", cluster=cluster, heatmaps=tmp_path / "maps")
    with pytest.raises(KilterError, match="leave --reject or --engine out"):
        score([tables], tmp_path / "out", cluster=cluster, reject=tmp_path / "bad.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == []
    assert cluster.done == 0


def test_what_was_made_of_other_inputs_is_not_gone_on_with(tables: Path, tmp_path: Path) -> None:
    """An input that was read ahead of others, too: with another time it goes on, with another content it does not."""
    source = Path(shutil.copytree(tables, tmp_path / "in"))
    with pytest.raises(UnfinishedError):
        score([source], tmp_path / "out", cluster=Shuffled(3, 2))
    out = {path.name for path in (tmp_path / "out").rglob("*.csv")}
    files = [path for path in source.rglob("*.csv") if path.name in out]
    assert len(files) == 2
    for path in files:
        path.touch()
    content = files[1].read_bytes()
    files[1].write_bytes(content.replace(b"1", b"2"))
    with pytest.raises(KilterError, match=f"{files[1].name} is not the file that was read before"):
        score([source], tmp_path / "out", resume=True)
    files[1].write_bytes(content)
    score([source], tmp_path / "out", resume=True)
    score([tables], tmp_path / "one")
    assert {p: c for p, c in contents(tmp_path / "out").items() if p != "_SUCCESS"} == {
        p: c for p, c in contents(tmp_path / "one").items() if p != "_SUCCESS"
    }


def test_the_first_record_in_error_ends_it(tables: Path, tmp_path: Path) -> None:
    """With --strict; nothing is said to be complete."""
    with pytest.raises(KilterError, match=r"as --strict asks"):
        score([tables], tmp_path / "out", cluster=Shuffled(1), strict=True)
    assert not (tmp_path / "out" / "_SUCCESS").exists()
    assert not (tmp_path / "out" / "_partial").exists()
