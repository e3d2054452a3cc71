"""A disk that is really full: it is told, nothing half-written stands under a final name, and with room it goes on."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kilter.service.detector import KilterError
from tests.support.killed import contents, score, set_small_steps, write_tables

ROWS = (600, 45, 900)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk; one that may be mounted here alone."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("no disk can be mounted here")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.fixture(autouse=True)
def steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small blocks, each of which is remembered."""
    set_small_steps(monkeypatch)


@pytest.mark.e2e
@pytest.mark.parametrize("out", ["out.csv", "out.csv.gz", "out.parquet", "out"])
def test_a_full_disk(out: str, disk: Path, tmp_path: Path) -> None:
    """At sizes from a page to nearly enough, in steps, each time resumed with a little more room."""
    tables = write_tables(tmp_path / "in", ROWS)
    (tmp_path / "expected").mkdir()
    rejects = "rejects.csv"
    score([tables], tmp_path / "expected" / out, resume=True, reject=tmp_path / "expected" / rejects)
    expected = contents(tmp_path / "expected")
    failures = 0
    for kilobytes in (4, 12, 24, 40, 64, 80, 96, 128, 160, 200, 260, 400, 1000):
        subprocess.run(["mount", "-o", f"remount,size={kilobytes}k", disk], check=True)
        try:
            score([tables], disk / out, resume=True, reject=disk / rejects)
            break
        except KilterError as error:
            assert "No space left on device" in str(error)  # noqa: PT017
            failures += 1
        made = {name: content for name, content in contents(disk).items() if "partial" not in name}
        assert made.items() < expected.items()
    assert failures >= 3
    assert contents(disk) == expected
