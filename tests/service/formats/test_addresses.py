"""Files that are elsewhere are read, and written, as those of this machine are."""

import gzip
import sys
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any

import msgspec
import polars as pl
import pytest

from kilter.service.detector import KilterError
from kilter.service.formats import partial, text
from kilter.service.formats.addresses import Address, local_path, place_of
from kilter.service.formats.counting import Tally
from kilter.service.formats.inputs import Shard
from kilter.service.formats.merging import merge_shards
from kilter.service.formats.reading import open_table
from kilter.service.formats.whole_files import write_whole
from tests.support.killed import score, write_tables
from tests.support.stores import BUCKET, QuietHandler, gcs_server, s3_server, web_server

ROWS = (600, 45, 900)


@pytest.fixture(scope="module")
def s3() -> Iterator[Any]:
    """The files of an S3 server."""
    with pytest.MonkeyPatch.context() as environment, s3_server(environment) as files:
        yield files


@pytest.fixture
def tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three CSV files in folders of a folder, read in small blocks, each of which is remembered."""
    for module, name, value in ((text, "HEAD", 4096), (text, "BYTES", 4096), (partial, "SECONDS", 0.0)):
        monkeypatch.setattr(module, name, value)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return write_tables(tmp_path / "in", ROWS)


@pytest.fixture
def bucket(s3: Any, tables: Path, tmp_path: Path) -> str:
    """The address of a folder of the tables in a bucket."""
    place = f"s3://{BUCKET}/{tmp_path.name}/in"
    s3.put(str(tables), place, recursive=True)
    return place


def contents(s3: Any, address: str) -> dict[str, bytes]:
    """The files of a folder in a bucket."""
    root = address.partition("://")[2]
    return {path.removeprefix(f"{root}/"): s3.cat_file(path) for path in s3.find(root)}


def local_contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("address", ["s3://bucket/a.csv", "https://host/a.parquet?b=1", "gs://b/c", "S3:/bucket/a.csv"])
def test_an_address_is_known_as_one(address: str) -> None:
    """Also where a path has taken one of its two slashes away; a drive of Windows is none."""
    whole = address if "://" in address else address.replace(":/", "://").replace("S3", "s3")
    assert {str(place_of(stated)) for stated in (address, Path(address))} == {whole}
    assert place_of("c:/data/a.csv") == Path("c:/data/a.csv")
    assert place_of("data/a:b.csv") == Path("data/a:b.csv")
    with pytest.raises(KilterError, match=r"ftp://host/a.csv is an address of a kind that is not read: s3://"):
        place_of("ftp://host/a.csv")
    with pytest.raises(KilterError, match="pictures are read from this machine"):
        local_path(place_of(address))


def test_the_parts_of_an_address() -> None:
    """Are those of a path."""
    one = Address("s3://bucket/x/a.csv.gz")
    assert (one.name, one.suffix, one.suffixes) == ("a.csv.gz", ".gz", [".csv", ".gz"])
    assert one.parent / "b" == Address("s3://bucket/x/b") == one.with_name("b")
    assert one.is_relative_to(Address("s3://bucket/x/"))
    assert not one.is_relative_to(Address("s3://bucket/xy"))
    assert one.relative_to(Address("s3://bucket")).as_posix() == "x/a.csv.gz"
    assert Address("s3://bucket//etc/a").relative_to(Address("s3://bucket")).as_posix() == "etc/a"
    for odd in ("s3://bucket/x/../../a.csv", "https://host/%2e%2e/a.csv"):
        with pytest.raises(KilterError, match="leads out of"):
            Address(odd).relative_to(Address(odd.rpartition("/x/")[0] or "https://host"))
    names = ["a-b/x", "a/x", "a.csv", "B/x"]
    ordered = [str(one) for one in sorted(Address(f"s3://bucket/{name}") for name in names)]
    assert ordered == [f"s3://bucket/{path}" for path in sorted(map(Path, names))]
    web = Address("https://host/a.csv?signed=x/y.z")
    assert (web.name, web.has_magic(), Address("s3://bucket/?.csv").has_magic()) == ("a.csv", False, True)


def test_a_file_that_is_there_goes_before_an_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is called."""
    monkeypatch.chdir(tmp_path)
    Path("gs:").mkdir()
    Path("gs:/a.csv").write_text("x")
    assert place_of("gs:/a.csv") == Path("gs:/a.csv")


def test_a_package_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that brings it."""
    for address, package, extra in (
        ("s3://a/b", "s3fs", "s3"),
        ("gs://a/b", "gcsfs", "gcs"),
        ("https://a", "aiohttp", "http"),
    ):
        monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(KilterError, match=rf"needs the package {package}: pip install 'kilter\[{extra}\]'"):
            Address(address).exists()


def test_folders_patterns_and_files_of_s3(bucket: str, s3: Any, tables: Path, tmp_path: Path) -> None:
    """Come to the output that the same ones of this machine come to, in one file or in a folder."""
    s3.pipe_file(f"{bucket}/_tmp/9.csv", b"no table")
    s3.pipe_file(f"{bucket}/notes.md", b"no table")
    cases: list[tuple[str, list[str | Path], list[str | Path]]] = [
        ("folder", [bucket], [tables]),
        ("pattern", [f"{bucket}/*/[12].csv"], [tables / "day=1" / "1.csv", tables / "day=2" / "2.csv"]),
        (
            "files",
            [f"{bucket}/day=1/1.csv", tables / "day=0" / "0.csv"],
            [tables / "day=1" / "1.csv", tables / "day=0" / "0.csv"],
        ),
    ]
    for name, stated, local in cases:
        score(stated, tmp_path / name)
        score(local, tmp_path / f"{name}-local")
        ours, theirs = local_contents(tmp_path / name), local_contents(tmp_path / f"{name}-local")
        said, expected = (msgspec.json.decode(one.pop("_SUCCESS")) for one in (ours, theirs))
        assert ours == theirs
        assert said["inputs"] == expected["inputs"]
    score([bucket], tmp_path / "all.csv")
    score([tables], tmp_path / "all-local.csv")
    assert (tmp_path / "all.csv").read_bytes() == (tmp_path / "all-local.csv").read_bytes()


@pytest.mark.parametrize("name", ["a.parquet", "a.ndjson", "a.csv.gz", "a.arrow"])
def test_every_format_is_read(s3: Any, tables: Path, tmp_path: Path, name: str) -> None:
    """From its start, or in any order."""
    frame = pl.read_csv(tables / "day=1" / "1.csv", infer_schema=False)
    path = tmp_path / name
    if name == "a.csv.gz":
        path.write_bytes(gzip.compress(frame.write_csv().encode()))
    elif name == "a.arrow":
        frame.write_ipc(path)
    else:
        getattr(frame, f"write_{path.suffix[1:]}")(path)
    s3.put_file(str(path), f"{BUCKET}/{tmp_path.name}/{name}")
    with open_table(f"s3://{BUCKET}/{tmp_path.name}/{name}") as table:
        assert pl.concat([batch.frame for batch in table.batches()]).equals(frame)
        assert table.content(final=True).bytes == path.stat().st_size


def test_what_is_not_there(s3: Any, tmp_path: Path) -> None:
    """Is said with its address: a file, a folder without tables, a bucket."""
    s3.pipe_file(f"{BUCKET}/{tmp_path.name}/none/notes.md", b"x")
    for address, message in (
        (f"s3://{BUCKET}/{tmp_path.name}/absent.csv", "there is no file s3://"),
        (f"s3://{BUCKET}/{tmp_path.name}/none", "holds no tables"),
        (f"s3://{BUCKET}/{tmp_path.name}/*.csv", "no file is called like s3://"),
        ("s3://nobucket/a.csv", "there is no file s3://nobucket"),
    ):
        with pytest.raises(KilterError, match=message):
            score([address], tmp_path / "out.csv")
    assert not list(tmp_path.glob("*out*"))


@pytest.mark.parametrize("out", ["out", "out.csv", "out.parquet"])
def test_verdicts_go_to_s3(bucket: str, s3: Any, tables: Path, tmp_path: Path, out: str) -> None:
    """With records in error beside them, if these are wanted; the folder says at its end what it was made of."""
    place = f"s3://{BUCKET}/{tmp_path.name}/to"
    score([bucket], f"{place}/{out}", reject=f"{place}/rejects.csv")
    score([bucket], tmp_path / out, reject=tmp_path / "rejects.csv")
    assert s3.cat_file(f"{place}/rejects.csv") == (tmp_path / "rejects.csv").read_bytes()
    if out == "out":
        ours, theirs = contents(s3, f"{place}/out"), local_contents(tmp_path / out)
        said, expected = (msgspec.json.decode(one.pop("_SUCCESS")) for one in (ours, theirs))
        assert ours == theirs
        assert said["inputs"] == expected["inputs"]
    else:
        assert s3.cat_file(f"{place}/{out}") == (tmp_path / out).read_bytes()
        assert len(s3.ls(place)) == 2
    assert not list(tmp_path.glob("kilter-*"))
    with pytest.raises(KilterError, match="already"):
        score([bucket], f"{place}/{out}")


def interrupted(stated: str, out: str, records: int, **options: Any) -> None:
    """A run that was interrupted after so many records."""

    def watch(tally: Tally, share: float | None) -> None:
        if tally.records >= records:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        score([stated], out, resume=True, watch=watch, **options)


@pytest.mark.parametrize("elsewhere", [False, True])
def test_a_run_to_s3_goes_on(
    bucket: str, s3: Any, tmp_path: Path, elsewhere: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the machine where it was, from the middle of a file; on another from the last file that was complete."""
    out = f"s3://{BUCKET}/{tmp_path.name}/out"
    score([bucket], out, resume=True)
    expected = contents(s3, out)
    s3.rm(out, recursive=True)
    interrupted(bucket, out, 1000)
    names = {*contents(s3, out)}
    assert names == {"_partial", "day=0/0.csv", "day=1/1.csv"}
    if elsewhere:
        (tmp_path / "other").mkdir()
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "other"))
    with pytest.raises(KilterError, match="holds files already"):
        score([bucket], out)
    said: list[int] = []
    score([bucket], out, resume=True, watch=lambda tally, share: said.append(tally.records))
    assert said[0] > (sum(ROWS[:2]) if elsewhere else 800)
    assert contents(s3, out) == expected
    assert score([bucket], out, resume=True).notes == (f"{out} is finished already",)


def test_another_content_of_an_address_is_refused(bucket: str, s3: Any, tmp_path: Path) -> None:
    """By its entity tag, and then by what was read of it; the same content that was written again goes on."""
    out = tmp_path / "out"
    interrupted(bucket, str(out), 700)
    path = f"{bucket}/day=0/0.csv"
    content = s3.cat_file(path)
    s3.pipe_file(path, content.replace(b"0.", b"1.", 1))
    with pytest.raises(KilterError, match=r"day=0/0.csv is not the file that was read before"):
        score([bucket], out, resume=True)
    s3.pipe_file(path, content)
    score([bucket], out, resume=True)
    score([bucket], tmp_path / "expected")
    ours, theirs = local_contents(out), local_contents(tmp_path / "expected")
    assert ours == theirs


def test_shards_on_s3_are_merged(bucket: str, s3: Any, tmp_path: Path) -> None:
    """To what one run writes, with the records in error of all."""
    place = f"s3://{BUCKET}/{tmp_path.name}"
    score([bucket], f"{place}/whole/out", reject=f"{place}/rejects.csv")
    whole = contents(s3, f"{place}/whole/out")
    rejects = s3.cat_file(f"{place}/rejects.csv")
    s3.rm_file(f"{place}/rejects.csv")
    for shard in (1, 0):
        score([bucket], f"{place}/whole/shards", reject=f"{place}/rejects.csv", shard=Shard(shard, 2))
    merge_shards(Address(f"{place}/whole/shards"))
    assert contents(s3, f"{place}/whole/shards") == whole
    assert s3.cat_file(f"{place}/rejects.csv") == rejects


def test_what_cannot_be_written_is_said_before_anything_is_judged(bucket: str, tables: Path, tmp_path: Path) -> None:
    """A bucket that is not there, and the web."""
    judged: list[Tally] = []
    for out, message in (
        ("s3://nobucket/out", "cannot be written"),
        ("https://host/out.csv", "cannot be written: only"),
    ):
        with pytest.raises(KilterError, match=message):
            score([tables], out, watch=lambda tally, share: judged.append(tally))
    with pytest.raises(KilterError, match="whose tables are read"):
        score([bucket], f"{bucket}/out")
    assert not judged
    assert not list(tmp_path.glob("kilter-*"))


def test_without_credentials_it_is_said(monkeypatch: pytest.MonkeyPatch, s3: Any, tmp_path: Path) -> None:
    """In the words of the package."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    for name in ("AWS_SHARED_CREDENTIALS_FILE", "AWS_CONFIG_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "absent"))
    type(s3).clear_instance_cache()
    with pytest.raises(KilterError, match=rf"s3://{BUCKET}/a.csv .*: Unable to locate credentials"):
        score([f"s3://{BUCKET}/a.csv"], tmp_path / "out.csv")
    type(s3).clear_instance_cache()


def test_small_files_are_written_whole(s3: Any, tmp_path: Path) -> None:
    """And read again, and removed."""
    address = Address(f"s3://{BUCKET}/{tmp_path.name}/x.json")
    write_whole(address, b"{}")
    assert address.read_bytes() == b"{}"
    address.unlink()
    address.unlink(missing_ok=True)
    assert not address.exists()


def test_google_cloud_storage(tables: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is read and written alike, and a run goes on there."""
    with gcs_server(monkeypatch) as files:
        source, out = f"gs://{BUCKET}/in", f"gs://{BUCKET}/out"
        for path in tables.rglob("*.csv"):
            files.pipe_file(f"{source}/{path.relative_to(tables).as_posix()}", path.read_bytes())
        interrupted(source, out, 700)
        score([source], out, resume=True)
        score([f"{source}/*/*.csv"], tmp_path / "all.csv")
        written = contents(files, out)
        score([tables], tmp_path / "expected")
        score([tables / f"day={place}" / f"{place}.csv" for place in range(3)], tmp_path / "all-local.csv")
    expected = local_contents(tmp_path / "expected")
    del written["_SUCCESS"], expected["_SUCCESS"]
    assert written == expected
    assert (tmp_path / "all.csv").read_bytes() == (tmp_path / "all-local.csv").read_bytes()


def test_files_and_folders_of_the_web(tables: Path, tmp_path: Path) -> None:
    """A folder is an address that ends in a slash, if its server lists it."""
    score([tables], tmp_path / "expected")
    with web_server(tables) as address:
        score([f"{address}/"], tmp_path / "out")
        score([f"{address}/day=1/1.csv?token=abc"], tmp_path / "one.csv")
        with pytest.raises(KilterError, match=r"there is no file http://.*/absent.csv"):
            score([f"{address}/absent.csv"], tmp_path / "two.csv")
    ours, theirs = local_contents(tmp_path / "out"), local_contents(tmp_path / "expected")
    del ours["_SUCCESS"], theirs["_SUCCESS"]
    assert ours == theirs
    assert (tmp_path / "one.csv").read_bytes() == ours["day=1/1.csv"]


class _Short(QuietHandler):
    """Sends half of what it promises."""

    def copyfile(self, source: Any, outputfile: Any) -> None:
        outputfile.write(source.read()[:1000])


class _Refusing(QuietHandler):
    """Refuses everything."""

    def do_GET(self) -> None:  # noqa: N802
        self.send_error(403)

    def do_HEAD(self) -> None:  # noqa: N802
        self.send_error(403)


@pytest.mark.parametrize(("handler", "message"), [(_Short, "cannot be read|is cut short"), (_Refusing, "403")])
def test_a_server_that_fails_is_told(
    tables: Path, tmp_path: Path, handler: type[SimpleHTTPRequestHandler], message: str
) -> None:
    """With the address; nothing is left."""
    with web_server(tables, handler) as address, pytest.raises(KilterError, match=message):
        score([f"{address}/day=2/2.csv"], tmp_path / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
