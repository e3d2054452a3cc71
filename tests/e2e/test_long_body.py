"""A body of some hundred megabytes through the service, in memory that does not depend on it."""

import filecmp
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from benchmarks.files import BLOCK, fit, write_csv
from benchmarks.long_bodies import Watcher, serving
from benchmarks.speed import made_up

ROWS = 900_000  # 200 MB
KILTER = Path(sys.executable).with_name("kilter")


@pytest.mark.e2e
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is read from /proc")
@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_memory_does_not_grow_with_the_body(tmp_path: Path) -> None:
    """It stays within 100 MB of that of a short body, and curl gets the bytes of `kilter score`."""
    train, few, path, out, answer = (tmp_path / f"{name}.csv" for name in ("train", "few", "sent", "out", "answer"))
    block = pl.DataFrame(made_up(BLOCK, 30).round(4), schema=[f"x{i}" for i in range(30)])
    block[:20_000].write_csv(train)
    block[:1000].write_csv(few)
    write_csv(path, block, ROWS)
    model = fit(train, "elbo", tmp_path / "models")
    with serving(tmp_path / "models") as served:
        url = f"http://127.0.0.1:{served.port}/v1/models/rows/score/stream"
        command = ["curl", "-sSf", "-X", "POST", "-H", "Content-Type: text/csv", url]
        subprocess.run([*command, "-T", few, "-o", answer], check=True)
        watcher = Watcher(served)
        watcher.start()
        before = watcher.peak
        subprocess.run([*command, "-T", path, "-o", answer], check=True)
        watcher.stopped.set()
        watcher.join()
    assert watcher.peak < before + 100, (before, watcher.peak)
    subprocess.run([KILTER, "score", model, path, "-o", out, "--device", "cpu"], check=True, capture_output=True)
    assert filecmp.cmp(answer, out, shallow=False)
