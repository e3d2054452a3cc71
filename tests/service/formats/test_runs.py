"""Files become files: of every format, one or many, whole or not at all, and the same after any number of kills."""

import gzip
import io
import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import msgspec
import polars as pl
import pytest

from kilter.service.detector import KilterError
from kilter.service.formats.counting import Tally
from kilter.service.formats.inputs import Shard
from kilter.service.formats.lines import COLUMNS, FILE, ROW
from kilter.service.formats.merging import merge_shards
from kilter.service.formats.reading import open_table
from kilter.service.formats.runs import Watch
from tests.support.disk import disk_of
from tests.support.killed import NEVER, contents, in_form, kill_at, lines_of, score, set_small_steps, write_tables

ROWS = (600, 45, 900)


@pytest.fixture
def tables(tmp_path: Path) -> Path:
    """Three CSV files in folders of a folder."""
    return write_tables(tmp_path / "in", ROWS)


@pytest.fixture(autouse=True)
def steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks, each of which is remembered."""
    set_small_steps(monkeypatch)


def test_a_folder_is_mirrored(tables: Path, tmp_path: Path) -> None:
    """A file for each, by its path, as if it had been scored alone; at the end it is said what each was made of."""
    summary = score([tables], tmp_path / "out")
    written = contents(tmp_path / "out")
    assert sorted(written) == ["_SUCCESS", "day=0/0.csv", "day=1/1.csv", "day=2/2.csv"]
    for place in range(3):
        name = f"day={place}/{place}.csv"
        score([tables / name], tmp_path / "alone.csv", force=True)
        assert written[name] == (tmp_path / "alone.csv").read_bytes()
    said = msgspec.json.decode(written["_SUCCESS"])
    assert [one["records"] for one in said["inputs"]] == [*ROWS]
    assert sum(one["anomalies"] for one in said["inputs"]) == summary.anomalies == said["anomalies"]
    assert (summary.records, summary.errors) == (sum(ROWS), 3)
    assert len({one["sha256"] for one in said["inputs"]}) == 3


@pytest.mark.parametrize("form", ["parquet", "arrow"])
def test_a_folder_in_another_format(tables: Path, tmp_path: Path, form: str) -> None:
    """The names have its ending."""
    score([tables], tmp_path / "out", form=form)
    for place, rows in enumerate(ROWS):
        with open_table(tmp_path / "out" / f"day={place}" / f"{place}.{form}") as table:
            frame = pl.concat([batch.frame for batch in table.batches()])
        assert frame.height == rows
        assert frame.columns[-5:] == [*COLUMNS]


def test_many_files_are_one(tables: Path, tmp_path: Path) -> None:
    """Each row names its file and its place in it; text keeps its bytes, with one header."""
    score([tables], tmp_path / "out.csv")
    score([tables], tmp_path / "out.parquet")
    frame = pl.read_csv(tmp_path / "out.csv", infer_schema=False)
    assert frame[FILE].to_list() == [f"day={place}/{place}.csv" for place, rows in enumerate(ROWS) for _ in range(rows)]
    assert frame[ROW].cast(int).to_list() == [row for rows in ROWS for row in range(rows)]
    stored = pl.read_parquet(tmp_path / "out.parquet")
    assert stored[FILE].to_list() == frame[FILE].to_list()
    assert stored["kilter_score"].to_list() == frame["kilter_score"].cast(float).to_list()


@pytest.mark.parametrize("ending", ["csv", "parquet"])
def test_only_anomalies_are_written(tables: Path, tmp_path: Path, ending: str) -> None:
    """Each with its own bytes and its place; all are counted, and so are the fields to blame."""
    all_of_them = score([tables], tmp_path / f"all.{ending}")
    some = score([tables], tmp_path / f"some.{ending}", only_anomalies=True)
    assert some._replace(seconds=0) == all_of_them._replace(seconds=0)
    assert {name for name, _ in some.blamed} == {"amount", "age"}
    assert 0.9 * some.anomalies < sum(count for _, count in some.blamed) <= some.anomalies
    if ending == "csv":
        header, *lines = (tmp_path / "all.csv").read_bytes().splitlines()
        flagged = [line for line in lines if b",true," in line]
        assert (tmp_path / "some.csv").read_bytes().splitlines() == [header, *flagged]
    else:
        whole = pl.read_parquet(tmp_path / "all.parquet")
        assert pl.read_parquet(tmp_path / "some.parquet").equals(whole.filter("kilter_anomaly"))
    one = tables / "day=0" / "0.csv"
    score([one], tmp_path / f"one.{ending}", only_anomalies=True)
    with open_table(tmp_path / f"one.{ending}") as table:
        rows = pl.concat([batch.frame for batch in table.batches()])[ROW].cast(int).to_list()
    score([one], tmp_path / "whole.parquet")
    assert rows == pl.read_parquet(tmp_path / "whole.parquet")["kilter_anomaly"].arg_true().to_list()


@pytest.mark.parametrize("shards", [1, 2, 4])
def test_shards_come_to_the_same(tables: Path, tmp_path: Path, shards: int) -> None:
    """In any order, with one that is killed and resumed, and one that has nothing to do; merged, to the last byte."""
    whole, out = tmp_path / "whole", tmp_path / "out"
    score([tables], whole, fdr=0.1)
    for place in reversed(range(shards)):
        with pytest.raises(KilterError, match=r"complete|lacks the shard"):
            merge_shards(out)
        score([tables], out, fdr=0.1, shard=Shard(place, shards))
        again = score([tables], out, fdr=0.1, shard=Shard(place, shards), resume=True)
        assert again.notes == (f"{out} is finished already",)
    said = msgspec.json.decode((whole / "_SUCCESS").read_bytes())
    assert merge_shards(out) == (said["records"], said["anomalies"], said["errors"])
    assert contents(out) == contents(whole)
    with pytest.raises(KilterError, match="holds files already"):
        score([tables], out, fdr=0.1, shard=Shard(0, shards))


def test_a_shard_goes_on_in_the_middle_of_any_of_its_files(tables: Path, tmp_path: Path) -> None:
    """One that is not the first of all, too: no row is doubled."""
    shard = Shard(2, 3)
    score([tables], tmp_path / "whole", shard=shard)
    for blocks in (1, 2):
        out = tmp_path / f"out-{blocks}"
        moments = iter(range(blocks))

        def watch(tally: object, share: object, moments: Iterator[int] = moments) -> None:
            if next(moments, None) is None:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt, match="add --resume"):
            score([tables], out, shard=shard, jobs=1, watch=watch)
        score([tables], out, shard=shard, resume=True)
        assert contents(out) == contents(tmp_path / "whole")


def test_shards_of_different_runs_are_not_merged(tables: Path, tmp_path: Path) -> None:
    """Of another number or other options; nor is one that has lost a file. One file has none."""
    out = tmp_path / "out"
    score([tables], out, shard=Shard(0, 2))
    score([tables], out, shard=Shard(1, 2), tails=True)
    with pytest.raises(KilterError, match="options differs"):
        merge_shards(out)
    score([tables], out, shard=Shard(1, 2), force=True)
    (out / "day=1" / "1.csv").rename(tmp_path / "moved.csv")
    with pytest.raises(KilterError, match=r"lacks day=1/1\.csv"):
        merge_shards(out)
    score([tables], out, shard=Shard(0, 3), force=True)
    with pytest.raises(KilterError, match="of different runs, of 2 and of 3"):
        merge_shards(out)
    with pytest.raises(KilterError, match="share the files of a folder"):
        score([tables], tmp_path / "out.csv", shard=Shard(0, 2))


def test_strictly_no_record_is_in_error(tables: Path, tmp_path: Path) -> None:
    """The first that is ends all, with its file and its place, and nothing is left."""
    with pytest.raises(KilterError, match=r"day=0/0\.csv: record 299: field 'amount': a number .* as --strict asks"):
        score([tables], tmp_path / "out.csv", strict=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]


def test_files_that_are_not_alike_do_not_become_one(tables: Path, tmp_path: Path) -> None:
    """The message names both and says what to do; nothing is left."""
    odd = tables / "day=2" / "2.csv"
    plain = odd.read_text()
    more = "\n".join(f"1,{line}" for line in plain.splitlines()).replace("1,", "id,", 1)
    for wrong, message in ((plain.replace(",", ";"), "is not written like"), (more, "has not the columns of")):
        odd.write_text(wrong)
        with pytest.raises(KilterError, match=rf"2\.csv {message} .*0\.csv.*: name a folder to write to"):
            score([tables], tmp_path / "out.csv")
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
    score([tables], tmp_path / "out")


@pytest.mark.parametrize("out", ["out", "out.csv", "out.csv.gz", "out.parquet"])
def test_a_killed_run_is_resumed(tables: Path, tmp_path: Path, out: str) -> None:
    """At some moments; the output is to the last byte that of a run that was not, and nothing else is left."""
    kill_often(tables, tmp_path, out, 3)


@pytest.mark.parametrize("out", ["out", "out.csv"])
def test_a_killed_run_that_rejects_is_resumed(tables: Path, tmp_path: Path, out: str) -> None:
    """Each record in error is there once, too."""
    kill_often(tables, tmp_path, out, 2, rejecting=True)


def kill_often(tables: Path, tmp_path: Path, out: str, times: int, *, rejecting: bool = False) -> None:
    """Kill runs at random moments, some of them more than once, and compare."""
    expected = tmp_path / "expected"
    expected.mkdir()
    score([tables], expected / out, resume=True, reject=expected / "rejects.csv" if rejecting else None)
    rng = random.Random(out)
    traced = tmp_path / "traced"
    traced.mkdir()
    lines = lines_of(tables, traced / out, *([f"--reject={traced / 'rejects.csv'}"] if rejecting else []))
    killed = 0
    for _ in range(times):
        place = tmp_path / f"killed-{rng.random()}"
        place.mkdir()
        reject = place / "rejects.csv" if rejecting else None
        options = ["--resume", *([f"--reject={reject}"] if rejecting else [])]
        while kill_at(rng.randrange(lines), tables, place / out, *options):
            killed += 1
            if rng.random() < 0.5:
                break
        summary = score([tables], place / out, resume=True, reject=reject)
        assert (summary.records, summary.errors) == (sum(ROWS), 3)
        assert contents(place) == contents(expected)
        assert sorted(map(str, place.rglob("*"))) == sorted(
            str(place / path.relative_to(expected)) for path in expected.rglob("*")
        )
    assert killed >= times // 2


def test_what_is_finished_is_left(tables: Path, tmp_path: Path) -> None:
    """At once, for a folder and for a file; the counts are those of before."""
    for out in (tmp_path / "out", tmp_path / "out.csv"):
        first = score([tables], out, resume=True)
        again = score([tables], out, resume=True)
        assert again[:4] == first[:4]
        assert again.notes == (f"{out} is finished already",)


def test_what_was_made_of_something_else_is_not_resumed(tables: Path, tmp_path: Path) -> None:
    """Neither a finished output nor one that was killed; the message says what differs."""
    for out, moment in ((tmp_path / "a", NEVER), (tmp_path / "b", 900)):
        assert kill_at(moment, tables, out, "--resume") == (moment == 900)
        with pytest.raises(KilterError, match=r"options differs: it was .*\"tails\":false.* and is .*\"tails\":true"):
            score([tables], out, resume=True, tails=True)
    path = tables / "day=1" / "1.csv"
    before = path.read_bytes()
    path.write_bytes(before + b"0,0,red\n")
    for out in (tmp_path / "a", tmp_path / "b"):
        with pytest.raises(KilterError, match=r"inputs differs: it was \{\"name\":\"day=1/1.csv\",\"bytes\""):
            score([tables], out, resume=True)
    score([tables], tmp_path / "b", force=True)
    assert msgspec.json.decode((tmp_path / "b" / "_SUCCESS").read_bytes())["records"] == sum(ROWS) + 1


def stop_after(records: int) -> Watch:
    """Interrupts a run once it has judged so many records."""

    def watch(tally: Tally, share: float | None) -> None:
        if tally.records >= records:
            raise KeyboardInterrupt

    return watch


def stopped(tables: Path, out: Path, records: int) -> None:
    """A run that was interrupted after so many records, of which the journal tells most."""
    with pytest.raises(KeyboardInterrupt):
        score([tables], out, resume=True, watch=stop_after(records))


def verdicts(out: Path) -> dict[str, bytes]:
    return {name: content for name, content in contents(out).items() if name != "_SUCCESS"}


def later(path: Path) -> None:
    """Give a file another time of change."""
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000_000_007))


def changed(path: Path) -> None:
    """Give a file another content of the same size: a digit near its end, or wherever there is one."""
    content = bytearray(path.read_bytes())
    place = max(content.rfind(b"-0."), 0) + 3
    content[place] = ord("1") if content[place] != ord("1") else ord("2")
    path.write_bytes(content)
    later(path)


FORMS = pytest.mark.parametrize("form", ["csv", "csv.gz", "parquet", "ndjson"])


@pytest.fixture
def formed(tables: Path, tmp_path: Path, form: str) -> Path:
    """The tables in a format."""
    if form != "csv.gz":
        return in_form(tables, tmp_path / "formed", form)
    for path in tables.rglob("*.csv"):
        path.with_suffix(".csv.gz").write_bytes(gzip.compress(path.read_bytes(), mtime=0))
        path.unlink()
    return tables


@FORMS
@pytest.mark.parametrize("records", [300, 1000, 10**9])
def test_the_same_content_of_another_time_goes_on(formed: Path, tmp_path: Path, form: str, records: int) -> None:
    """As if nothing had been, whether it was read, or in part, or not yet; what is finished is finished."""
    expected, out = tmp_path / "expected", tmp_path / "out"
    score([formed], expected)
    if records < sum(ROWS):
        stopped(formed, out, records)
    else:
        score([formed], out)
    for path in formed.rglob("*.*"):
        later(path)
    summary = score([formed], out, resume=True)
    assert (summary.notes == (f"{out} is finished already",)) == (records > sum(ROWS))
    assert verdicts(out) == verdicts(expected)


@pytest.mark.parametrize("form", ["csv", "parquet", "ndjson"])
def test_another_content_of_what_was_read_is_refused(formed: Path, tmp_path: Path, form: str) -> None:
    """At its size, in what is finished, and of a file that is in the middle; of one not begun it is taken as it is."""
    out = tmp_path / "out"
    score([formed], tmp_path / "whole")
    stopped(formed, out, 1000)
    first, last = (formed / f"day={place}" / f"{place}.{form}" for place in (0, 2))
    for path, places in ((first, (out, tmp_path / "whole")), (last, (tmp_path / "whole",))):
        before = path.read_bytes()
        changed(path)
        for place in places:
            with pytest.raises(
                KilterError, match=rf"{path.name} is not the file that .* another SHA-256\. Leave --res"
            ):
                score([formed], place, resume=True)
        path.write_bytes(before)
        later(path)
    assert score([formed], tmp_path / "whole", resume=True).notes
    begun = tmp_path / "begun"
    stopped(formed, begun, 300)
    changed(last)
    score([formed], begun, resume=True)
    score([formed], tmp_path / "expected")
    assert verdicts(begun) == verdicts(tmp_path / "expected")


def test_the_beginning_of_a_file_that_was_read_is_known(tables: Path, tmp_path: Path) -> None:
    """A change in what was read is refused, one behind it is not; nor is anything where all was read beforehand."""
    table = tables / "day=2" / "2.csv"
    lines = table.read_bytes().splitlines(keepends=True)
    content = b"".join([lines[0], *(10 * lines[1:])])
    table.write_bytes(content)
    for place, known in ((60, True), (len(content) - 8, False)):
        out = tmp_path / f"out-{place}.csv"
        stopped(table, out, 400)
        table.write_bytes(content[:place] + (b"7" if content[place] != b"7"[0] else b"8") + content[place + 1 :])
        later(table)
        if known:
            with pytest.raises(KilterError, match=r"its first [\d,]+ bytes have another SHA-256"):
                score([table], out, resume=True)
        else:
            score([table], out, resume=True)
            score([table], tmp_path / "expected.csv", force=True)
            assert out.read_bytes() == (tmp_path / "expected.csv").read_bytes()
        table.write_bytes(content)
    out = tmp_path / "top"
    with pytest.raises(KeyboardInterrupt):
        score([tables], out, resume=True, top=5, watch=stop_after(300))
    later(table)
    with pytest.raises(KilterError, match=r"inputs differs: it was .*2.csv"):
        score([tables], out, resume=True, top=5)


@pytest.mark.parametrize("share", [0.05, 0.9])
@pytest.mark.parametrize("out", ["out.csv", "out.csv.gz", "out.parquet", "out"])
def test_a_full_disk_can_be_resumed(tables: Path, tmp_path: Path, out: str, share: float) -> None:
    """It is told, nothing half-written stands under a final name, and with room all of it is there."""
    (tmp_path / "expected").mkdir()
    expected = tmp_path / "expected" / out
    place = tmp_path / "made"
    place.mkdir()
    score([tables], expected, resume=True)
    whole = contents(tmp_path / "expected")
    size = max(len(content) for content in whole.values())
    with (
        pytest.raises(KilterError, match=r"cannot write .*: .*(File too large).*(kept|left behind)"),
        disk_of(int(size * share)),
    ):
        score([tables], place / out, resume=True)
    made = {name: content for name, content in contents(place).items() if "partial" not in name}
    assert made.items() < whole.items()
    score([tables], place / out, resume=True)
    assert contents(place) == whole


def test_streams_may_go_into_a_folder(tables: Path, tmp_path: Path) -> None:
    """Standard input and a pipe, of whose content nothing is known then."""
    content = (tables / "day=1" / "1.csv").read_bytes()
    pipe, out = tmp_path / "pipe", tmp_path / "out"
    os.mkfifo(pipe)
    out.mkdir()
    writer = threading.Thread(target=pipe.write_bytes, args=(content,))
    writer.start()
    score([Path("-"), pipe], out, stdin=io.BytesIO(content))
    writer.join()
    written = contents(out)
    assert written["table.csv"] == written["pipe.csv"]
    assert [one["sha256"] for one in msgspec.json.decode(written["_SUCCESS"])["inputs"]] == ["", ""]


def test_streams_cannot_be_resumed(tables: Path, tmp_path: Path) -> None:
    """Neither what is read nor what is written."""
    for stated, out in ((Path("-"), tmp_path / "out.csv"), (tables / "day=1" / "1.csv", Path("-"))):
        with pytest.raises(KilterError, match="cannot be resumed: name files"):
            score([stated], out, resume=True)
