"""Shards that are complete become what one run makes; what is missing is said, and what was merged is left."""

import shutil
from pathlib import Path

import msgspec
import pytest

from kilter.service.detector import KilterError
from kilter.service.formats import ranges
from kilter.service.formats.inputs import Shard
from kilter.service.formats.merging import merge_shards
from tests.support.killed import contents, score, set_small_steps, write_tables


@pytest.fixture(autouse=True)
def steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks and ranges."""
    set_small_steps(monkeypatch)
    monkeypatch.setattr(ranges, "RANGE", 12_000)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A large file and three small ones, each with a row in error."""
    return write_tables(tmp_path_factory.mktemp("merging") / "in", (30, 40, 1200, 50))


def test_the_first_error_is_that_of_the_first_input(tables: Path, tmp_path: Path) -> None:
    """Whichever shard had it; also in a file that is in parts."""
    score([tables], tmp_path / "one")
    out = tmp_path / "out"
    for place in range(3):
        score([tables], out, shard=Shard(place, 3))
    merge_shards(out)
    assert contents(out) == contents(tmp_path / "one")
    source = Path(shutil.copytree(tables, tmp_path / "in"))
    for name in ("day=0", "day=1"):
        path = source / name / f"{name[-1]}.csv"
        path.write_text(path.read_text().replace("x", ""))
    score([source], tmp_path / "second")
    assert msgspec.json.decode((tmp_path / "second" / "_SUCCESS").read_bytes())["first_error"].startswith("record 599")
    for place in range(3):
        score([source], tmp_path / "third", shard=Shard(place, 3))
    merge_shards(tmp_path / "third")
    assert contents(tmp_path / "third") == contents(tmp_path / "second")


def test_what_was_merged_is_left(tables: Path, tmp_path: Path) -> None:
    """Also where the merge was killed before it had removed what the shards left."""
    out = tmp_path / "out"
    for place in range(2):
        score([tables], out, shard=Shard(place, 2))
    kept = tmp_path / "kept"
    shutil.copytree(out, kept)
    counts = merge_shards(out)
    whole = contents(out)
    for path in kept.glob("_*"):
        (shutil.copytree if path.is_dir() else shutil.copy)(path, out / path.name)
    assert merge_shards(out) == counts
    assert contents(out) == whole
    assert not [*out.glob("_*-of-*")]


def test_parts_that_are_missing_are_said(tables: Path, tmp_path: Path) -> None:
    """Of a shard, and of an input; nothing is merged then."""
    out = tmp_path / "out"
    score([tables], out, shard=Shard(0, 2))
    with pytest.raises(KilterError, match="lacks the shard 1-of-2"):
        merge_shards(out)
    score([tables], out, shard=Shard(1, 2))
    moved = next(out.glob("_parts-1-of-2/*"))
    moved.rename(tmp_path / "moved")
    with pytest.raises(KilterError, match=r"lacks parts of day=2/2\.csv, or has parts of another one"):
        merge_shards(out)
    assert not (out / "_SUCCESS").exists()
    with pytest.raises(KilterError, match="holds files already"):
        score([tables], out, shard=Shard(1, 2))
    score([tables], out, shard=Shard(1, 2), force=True)
    merge_shards(out)
    score([tables], tmp_path / "one")
    assert contents(out) == contents(tmp_path / "one")


def test_what_is_written_again_is_not_called_complete(tables: Path, tmp_path: Path) -> None:
    """By one shard, while the others are those of before."""
    out = tmp_path / "out"
    score([tables], out)
    score([tables], out, shard=Shard(0, 2), force=True)
    assert not (out / "_SUCCESS").exists()
