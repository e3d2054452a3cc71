"""Tests of `leftovers`: what a killed process leaves is gone after the next run, and nothing of one that lives."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from kilter.service.detector.leftovers import scratch_folder

ROOT = Path(__file__).parents[3]
WRITER = """
import sys, time
from pathlib import Path
from kilter.service.detector.leftovers import scratch_folder
with scratch_folder(Path(sys.argv[1]), ".a[1].partial-") as folder:
    (folder / "half").write_text("half")
    print(folder, flush=True)
    time.sleep(60)
"""


def writer(folder: Path) -> tuple["subprocess.Popen[str]", Path]:
    """A process that writes to a folder of its own, and that folder."""
    command = [sys.executable, "-c", WRITER, str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_the_folder_is_gone_at_the_end(tmp_path: Path) -> None:
    """Unless it was renamed, and also after an error."""
    with scratch_folder(tmp_path, ".a-") as folder:
        (folder / "b").write_text("b")
        folder.rename(tmp_path / "kept")
    with pytest.raises(RuntimeError, match="no"), scratch_folder(tmp_path, ".a-"):
        raise RuntimeError("no")
    assert [path.name for path in tmp_path.iterdir()] == ["kept"]


def test_what_a_killed_process_left_is_removed_by_the_next(tmp_path: Path) -> None:
    """And neither what another one is writing, nor what has another name."""
    (tmp_path / ".a1.partial-other").mkdir()
    killed, left = writer(tmp_path)
    alive, used = writer(tmp_path)
    try:
        os.kill(killed.pid, signal.SIGKILL)
        killed.wait()
        assert (left / "half").exists()
        with scratch_folder(tmp_path, ".a[1].partial-") as own:
            assert own.is_dir()
            assert not left.exists()
            assert (used / "half").exists()
    finally:
        for process in (killed, alive):
            process.kill()
            process.communicate()
    with scratch_folder(tmp_path, ".a[1].partial-"):
        pass
    assert [path.name for path in tmp_path.iterdir()] == [".a1.partial-other"]
