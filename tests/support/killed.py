"""Scores files with a detector in memory, and kills itself at a moment: `python -m tests.support.killed`."""

import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any

import polars as pl

from kilter.service.formats import partial, text, threads
from kilter.service.formats.addresses import Place
from kilter.service.formats.scoring import Summary, score_inputs
from tests.support import detectors

ROOT = Path(__file__).parent.parent.parent
NEVER = 10**9
WATCHED = ("partial.py", "runs.py", "success.py", "rejects.py", "writers.py", "leftovers.py")


def small_steps() -> None:
    """Make blocks small and continue the journal after each of them."""
    text.HEAD = text.BYTES = 4096  # type: ignore[attr-defined]
    partial.SECONDS = 0.0


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


def kill_at(moment: int, stated: Path, out: Path, *options: str) -> bool:
    """Score in another process that is killed before it runs that line of the code that writes; whether it was.

    Options are `--force`, `--resume`, and `--reject=FILE`.
    """
    command = [sys.executable, "-m", "tests.support.killed", str(moment), str(stated), str(out), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in (0, -signal.SIGKILL):
        raise RuntimeError(done.stderr)
    return done.returncode != 0


def lines_of(stated: Path, out: Path, *options: str) -> int:
    """How many lines of that code a run takes that is not killed."""
    out.parent.mkdir()
    command = [sys.executable, "-m", "tests.support.killed", str(NEVER), str(stated), str(out), "--resume", *options]
    return int(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout)


def main() -> None:
    moment, stated, out, *options = sys.argv[1:]
    left = int(moment)

    def count(frame: FrameType, event: str, argument: object) -> Any:
        nonlocal left
        if Path(frame.f_code.co_filename).name not in WATCHED:
            return None
        if event == "line":
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
        return count

    small_steps()
    chosen: dict[str, Any] = {"force": "--force" in options, "resume": "--resume" in options}
    chosen["reject"] = next((Path(one.partition("=")[2]) for one in options if one.startswith("--reject=")), None)
    sys.settrace(count)
    score([Path(stated)], Path(out), **chosen)
    sys.settrace(None)
    sys.stdout.write(str(int(moment) - left))


if __name__ == "__main__":
    main()
