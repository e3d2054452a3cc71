"""Scores files with a detector in memory, and kills itself at a moment: `python -m tests.support.killed`."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any

import polars as pl
import pytest

from kilter.service.commands.score import shard_of
from kilter.service.formats import json_files, ranges, text, threads, typed
from kilter.service.formats import partial as progress
from kilter.service.formats.addresses import Place
from kilter.service.formats.merging import merge_shards
from kilter.service.formats.scoring import Summary, score_inputs
from tests.support import detectors

ROOT = Path(__file__).parent.parent.parent
NEVER = 10**9
UNTRACED, BEGINS = "untraced", "begins\n"
WATCHED = (
    "addresses.py",
    "markers.py",
    "partial.py",
    "runs.py",
    "success.py",
    "rejects.py",
    "writers.py",
    "leftovers.py",
    "units.py",
    "merging.py",
    "sharing.py",
)


STEPS: tuple[tuple[Any, str, float], ...] = (
    (text, "HEAD", 4096),
    (text, "BYTES", 4096),
    (typed, "ROWS", 100),
    (json_files, "ROWS", 100),
    (progress, "SECONDS", 0.0),
)
"""With these blocks are small, and the journal is continued after each of them."""


def set_small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take small steps until a test ends."""
    for module, name, value in STEPS:
        monkeypatch.setattr(module, name, value)


def contents(folder: Path) -> dict[str, bytes]:
    """Every file in a folder and below it, by its path from there."""
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def score(stated: Sequence[str | Place], out: str | Place, *, jobs: int = 2, **options: Any) -> Summary:
    """Score files in the steps that are set."""
    return score_inputs(detectors.detector(), stated, out, mapped=threads.map_in_threads(jobs), **options)


def write_tables(folder: Path, rows: Sequence[int]) -> Path:
    """CSV files of so many rows each, in folders, some rows strange and some in error."""
    for place, count in enumerate(rows):
        table = detectors.joined(detectors.rows(count - 20, place), detectors.rows(20, 50 + place, shift=8.0))
        lines = pl.DataFrame(table.columns).write_csv().splitlines()
        lines[count // 2] = "x" + lines[count // 2]
        path = folder / f"day={place}" / f"{place}.csv"
        path.parent.mkdir(parents=True)
        path.write_text("\n".join([*lines, ""]))
    return folder


def in_form(tables: Path, folder: Path, form: str) -> Path:
    """The same tables in another format."""
    for path in tables.rglob("*.csv"):
        frame = pl.read_csv(path, infer_schema=False)
        place = folder / path.relative_to(tables).with_suffix(f".{form}")
        place.parent.mkdir(parents=True, exist_ok=True)
        getattr(frame, f"write_{form}")(place)
    return folder


def kill_after(seconds: float, stated: str | Place, out: str | Place, *options: str) -> bool:
    """Score in another process that is killed so many seconds after it began to; whether it was."""
    command = [sys.executable, "-m", "tests.support.killed", UNTRACED, str(stated), str(out), *options]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        if process.stdout is None or process.stdout.readline() != BEGINS:
            raise RuntimeError(process.communicate()[1])
        try:
            _, said = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            return True
    if process.returncode:
        raise RuntimeError(said)
    return False


def kill_at(moment: int, stated: str | Place, out: str | Place, *options: str) -> bool:
    """Score in another process that is killed before it runs that line of the code that writes; whether it was.

    Options are `--force`, `--resume`, `--reject=FILE`, `--shard=I/N`, `--range=BYTES`, which is how long a range of a
    file is, and `--merge`, which completes the shards in `out` and does nothing else.
    """
    command = [sys.executable, "-m", "tests.support.killed", str(moment), str(stated), str(out), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in (0, -signal.SIGKILL):
        raise RuntimeError(done.stderr)
    return done.returncode != 0


def lines_of(stated: str | Place, out: str | Place, *options: str) -> int:
    """How many lines of that code a run takes that is not killed."""
    command = [sys.executable, "-m", "tests.support.killed", str(NEVER), str(stated), str(out), "--resume", *options]
    return int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    moment, stated, out, *options = sys.argv[1:]
    left = NEVER if moment == UNTRACED else int(moment)

    def count(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left
        if Path(frame.f_code.co_filename).name not in WATCHED:
            return None
        if event == "line":
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return count

    set_small_steps(pytest.MonkeyPatch())  # until the process ends
    given = dict(one.split("=") for one in options if "=" in one)
    ranges.RANGE = int(given.get("--range", ranges.RANGE))
    chosen: dict[str, Any] = {"force": "--force" in options, "resume": "--resume" in options}
    chosen |= {"reject": given.get("--reject"), "shard": shard_of(given["--shard"]) if "--shard" in given else None}
    work = partial(merge_shards, Path(out)) if "--merge" in options else partial(score, [stated], out, **chosen)
    if moment == UNTRACED:
        sys.stdout.write(BEGINS)
        sys.stdout.flush()
        work()
        return
    sys.settrace(count)
    work()
    sys.settrace(None)
    sys.stdout.write(str(int(moment) - left))


if __name__ == "__main__":
    main()
