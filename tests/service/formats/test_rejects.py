"""Records in error go to a file of their own, in order, as they were, and to no other."""

import gzip
import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.service.detector import KilterError
from kilter.service.formats import partial, text
from kilter.service.formats.inputs import Shard
from kilter.service.formats.merging import merge_shards
from kilter.service.formats.reading import open_table
from kilter.service.formats.scoring import Summary, score_file, score_inputs
from tests.support import detectors
from tests.support.disk import disk_of
from tests.support.killed import score, write_tables

MODEL = detectors.detector()
HEADER = "amount,age,colour"
GOOD = ["0.5,1,red", "1e1,,blue", '"0.25",-1,"red"', "9,9,green"]
BAD = ["x,1,red", '0,"many, ""many""",red', "1,2", "1,2,red,4", "1e99,0,blue"]
NAMES = ["kilter_file", "kilter_row", "kilter_error", "kilter_record"]


def frame_of(path: Path) -> pl.DataFrame:
    """A table that was written, its rows as numbers."""
    with_content = path.stat().st_size > 0
    if not with_content:
        return pl.DataFrame(schema=dict.fromkeys(NAMES, pl.String))
    with open_table(path) as table:
        frame = pl.concat([batch.frame for batch in table.batches()])
    return frame.with_columns(pl.col("kilter_row").cast(pl.Int64))


def into(folder: Path, *, ending: str = ".csv", reject: str = "rejects.csv", **options: Any) -> Summary:
    """Score `in.csv` of a folder into `out`."""
    return score_file(MODEL, folder / "in.csv", folder / f"out{ending}", reject=folder / reject, **options)


@settings(max_examples=30)
@given(
    st.lists(st.sampled_from([*GOOD, *BAD]), min_size=1, max_size=12), st.sampled_from(["\n", "\r\n"]), st.booleans()
)
def test_every_record_is_in_one_of_two_files(lines: list[str], newline: str, last: bool) -> None:
    """As it was, and in its order; the verdicts on the others are those that they have beside them."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "in.csv").write_bytes((newline.join([HEADER, *lines]) + newline * last).encode())
        whole = score_file(MODEL, folder / "in.csv", folder / "whole.csv")
        summary = into(folder)
        assert summary._replace(seconds=0) == whole._replace(seconds=0)
        bad = [place for place, line in enumerate(lines) if line in BAD]
        rejects = frame_of(folder / "rejects.csv")
        assert rejects.columns == NAMES
        assert rejects["kilter_row"].to_list() == bad
        assert rejects["kilter_record"].to_list() == [lines[place] for place in bad]
        assert set(rejects["kilter_file"]) <= {"in.csv"}
        assert all(rejects["kilter_error"].str.len_chars() > 10)
        header, *written = (folder / "whole.csv").read_bytes().splitlines()
        kept = [line for place, line in enumerate(written) if place not in bad]
        assert (folder / "out.csv").read_bytes().splitlines() == [header, *kept]


def test_plain_lines_stay_plain(tmp_path: Path) -> None:
    """Of thousands of records, of which one is in error, the others are those of the usual output."""
    lines = [f"{place / 1000},{place % 7},red" for place in range(3000)]
    lines[1234] = "x" + lines[1234]
    (tmp_path / "in.csv").write_text("\n".join([HEADER, *lines, ""]))
    score_file(MODEL, tmp_path / "in.csv", tmp_path / "whole.csv")
    assert into(tmp_path).errors == 1
    written = (tmp_path / "whole.csv").read_bytes().splitlines()
    del written[1235]
    assert (tmp_path / "out.csv").read_bytes().splitlines() == written


@pytest.mark.parametrize("ending", [".csv", ".tsv.gz", ".ndjson", ".ndjson.zst", ".parquet", ".arrow"])
def test_any_format_holds_the_same(tmp_path: Path, ending: str) -> None:
    """With the verdicts in another one; and a file without a record in error appears too."""
    (tmp_path / "in.csv").write_text("\n".join([HEADER, *GOOD, *BAD, ""]))
    into(tmp_path, ending=".parquet", reject=f"rejects{ending}")
    rejects = frame_of(tmp_path / f"rejects{ending}")
    assert rejects[NAMES].rows() == [
        ("in.csv", len(GOOD) + place, error, BAD[place]) for place, error in enumerate(rejects["kilter_error"])
    ]
    assert pl.read_parquet(tmp_path / "out.parquet").height == len(GOOD)
    (tmp_path / "in.csv").write_text("\n".join([HEADER, *GOOD, ""]))
    into(tmp_path, ending=".parquet", reject=f"rejects{ending}", force=True)
    content = (tmp_path / f"rejects{ending}").read_bytes()
    if ending == ".tsv.gz":
        assert gzip.decompress(content).decode() == ",".join(NAMES) + "\n"
    elif ending == ".parquet":
        assert pl.read_parquet(content).schema == {NAMES[0]: pl.String, NAMES[1]: pl.Int64} | dict.fromkeys(
            NAMES[2:], pl.String
        )


def test_records_that_are_no_lines(tmp_path: Path) -> None:
    """A line of NDJSON stands as it is, even if it is no JSON; values of other kinds are JSON."""
    lines = ['{"amount": 1.50, "age": 2, "colour": "red"}', '{"amount": "x",  "age": 2}', "{nonsense", "[1, 2]"]
    (tmp_path / "a.ndjson").write_text("\n".join([*lines, ""]))
    (tmp_path / "b.json").write_text('[{"amount": 1, "age": 2, "colour": "red"}, 7, {"amount": "é", "age": 1.50}]')
    rows = {"amount": [1.0, float("inf"), 1e99], "age": [1, 2, None], "colour": ["red", "red", "é"]}
    pl.DataFrame(rows).write_parquet(tmp_path / "c.parquet")
    score_inputs(
        MODEL,
        [tmp_path / name for name in ("a.ndjson", "b.json", "c.parquet")],
        tmp_path / "out",
        form="csv",
        reject=tmp_path / "rejects.parquet",
    )
    rejects = pl.read_parquet(tmp_path / "rejects.parquet")
    assert rejects["kilter_file"].to_list() == 3 * ["a.ndjson"] + 2 * ["b.json"] + 2 * ["c.parquet"]
    assert rejects["kilter_row"].to_list() == [1, 2, 3, 1, 2, 1, 2]
    assert rejects["kilter_record"].to_list()[:4] == [*lines[1:], "7"]
    assert [json.loads(one) for one in rejects["kilter_record"][4:]] == [
        {"amount": "é", "age": 1.5},
        {"amount": "inf", "age": 2, "colour": "red"},
        {"amount": 1e99, "age": None, "colour": "é"},
    ]


def test_texts_of_any_encoding(tmp_path: Path) -> None:
    """Are read as the file's own."""
    (tmp_path / "in.csv").write_bytes("\n".join([HEADER, "é,1,red", ""]).encode("cp1252"))
    into(tmp_path)
    assert frame_of(tmp_path / "rejects.csv")["kilter_record"].to_list() == ["é,1,red"]
    (tmp_path / "in.csv").write_bytes("\n".join([HEADER, "é,1,red", ""]).encode("utf-16"))
    into(tmp_path, force=True)
    assert frame_of(tmp_path / "rejects.csv")["kilter_record"].to_list() == ["é,1,red"]


@pytest.mark.parametrize(
    "options", [{"only_anomalies": True}, {"top": 2}, {"columns": ("age",)}, {"fdr": 0.1}, {"tails": True}]
)
def test_what_is_chosen_of_the_others_changes_nothing(tmp_path: Path, options: dict[str, Any]) -> None:
    """The records in error are the same, whole, and not in the output."""
    (tmp_path / "in.csv").write_text("\n".join([HEADER, *BAD, *GOOD, ""]))
    into(tmp_path, **options)
    assert frame_of(tmp_path / "rejects.csv")["kilter_record"].to_list() == BAD
    assert "many" not in (tmp_path / "out.csv").read_text()


def test_verdicts_may_go_to_a_stream(tmp_path: Path) -> None:
    """The records in error are in their file then, too."""
    (tmp_path / "in.csv").write_text("\n".join([HEADER, BAD[0], *GOOD, ""]))
    with (tmp_path / "stream").open("w+b") as stream:
        score_file(MODEL, tmp_path / "in.csv", "-", stdout=stream, reject=tmp_path / "rejects.csv")
    assert len((tmp_path / "stream").read_text().splitlines()) == 1 + len(GOOD)
    assert frame_of(tmp_path / "rejects.csv")["kilter_record"].to_list() == [BAD[0]]


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three CSV files, read in small blocks."""
    monkeypatch.setattr(text, "HEAD", 4096)
    monkeypatch.setattr(text, "BYTES", 4096)
    monkeypatch.setattr(partial, "SECONDS", 0.0)
    return write_tables(tmp_path / "in", (600, 45, 900))


@pytest.mark.parametrize("shards", [2, 4])
def test_shards_come_to_the_same_file(tables: Path, tmp_path: Path, shards: int) -> None:
    """Once they are merged, and before that to none; no part is left."""
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    score([tables], tmp_path / "a" / "out", reject=tmp_path / "a" / "rejects.csv")
    for place in range(shards):
        score([tables], tmp_path / "b" / "out", reject=tmp_path / "b" / "rejects.csv", shard=Shard(place, shards))
    assert not (tmp_path / "b" / "rejects.csv").exists()
    merge_shards(tmp_path / "b" / "out")
    whole, merged = (
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*.*")}
        for name in ("a", "b")
    )
    assert merged == whole
    files = [path.name for path in (tmp_path / "b" / "out").iterdir() if path.is_file()]
    assert files == ["_SUCCESS"]
    rejects = frame_of(tmp_path / "a" / "rejects.csv")
    assert rejects["kilter_row"].to_list() == [299, 21, 449]
    assert rejects["kilter_file"].to_list() == ["day=0/0.csv", "day=1/1.csv", "day=2/2.csv"]


def test_what_is_finished_has_its_file(tables: Path, tmp_path: Path) -> None:
    """Without it, or with another one, it is not; a file that is there is written over only if that is wanted."""
    out, reject = tmp_path / "out", tmp_path / "rejects.csv"
    score([tables], out, resume=True, reject=reject)
    assert score([tables], out, resume=True, reject=reject).notes == (f"{out} is finished already",)
    assert msgspec.json.decode((out / "_SUCCESS").read_bytes())["made"]["options"]["reject"] == "rejects.csv"
    with pytest.raises(KilterError, match=r"options differs: .*\"reject\":\"rejects.csv\""):
        score([tables], out, resume=True)
    with pytest.raises(KilterError, match=r"rejects.csv exists already"):
        score([tables], tmp_path / "other", reject=reject)
    reject.unlink()
    with pytest.raises(KilterError, match="holds files already"):
        score([tables], out, resume=True, reject=reject)


def test_a_full_disk_leaves_neither_file(tables: Path, tmp_path: Path) -> None:
    """And both are there once there is room."""
    out, reject = tmp_path / "out.csv", tmp_path / "rejects.csv"
    with pytest.raises(KilterError, match="What was written before is kept"), disk_of(60_000):
        score([tables], out, reject=reject)
    assert not out.exists()
    assert not reject.exists()
    score([tables], out, reject=reject, resume=True)
    assert frame_of(reject).height == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out.csv", "out.csv.success", "rejects.csv"]


def test_files_that_cannot_be(tables: Path, tmp_path: Path) -> None:
    """A stream, one without a format, and places that are for something else; nothing is written."""
    out = tmp_path / "out"
    for reject, message in (
        (Path("-"), "is a stream"),
        (Path("/dev/null"), "is a stream"),
        (tmp_path / "rejects", "does not say what to write"),
        (out / "rejects.csv", r"lies in .*out"),
        (tables / "rejects.csv", r"lies in .*in, whose files are tables"),
        (tmp_path / "absent" / "rejects.csv", "make it first"),
    ):
        with pytest.raises(KilterError, match=message):
            score([tables], out, reject=reject)
    with pytest.raises(KilterError, match="where the verdicts go"):
        score([tables], tmp_path / "a.csv", reject=tmp_path / "a.csv")
    with pytest.raises(KilterError, match="is the file that is read"):
        score([tables / "day=1" / "1.csv"], tmp_path / "a.csv", reject=tables / "day=1" / "1.csv")
    with pytest.raises(KilterError, match="leave one out"):
        score([tables], out, reject=tmp_path / "rejects.csv", strict=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in"]
