"""What workers cost and gain: a folder of CSV files by threads, and by workers of Dask on this machine.

The same rows in the same files, each time in processes of its own and in rounds, so that whatever else runs disturbs
all alike: threads judge the blocks of one file after the other, workers make a file each. The time until all workers
have the model is measured apart, and so are the CPU seconds of all processes together.

    python -m benchmarks.cluster --rows 2000000 --files 20 --workers 1 2 4

Prints a table in Markdown.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import polars as pl

from benchmarks.files import FITTED, Facts, fit, medians
from benchmarks.machine import described
from benchmarks.markdown import number, table
from benchmarks.speed import made_up
from kilter.service.detector import load
from kilter.service.formats.dask_cluster import DaskCluster, read_model_files
from kilter.service.formats.scoring import score_inputs
from kilter.service.formats.threads import map_in_threads
from kilter.service.formats.workplaces import Workplace


def cpu_seconds() -> float:
    """Those of this process and of all that it began and that have ended."""
    both = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    return sum(usage.ru_utime + usage.ru_stime for usage in both)


def by_threads(model: Path, source: Path, out: Path, jobs: int) -> Facts:
    """Threads of this process."""
    detector, began = load(model), time.perf_counter()
    score_inputs(detector, [source], out, mapped=map_in_threads(jobs))
    return {"start": 0.0, "wall": time.perf_counter() - began, "cpu": cpu_seconds()}


def have_model(workplace: Workplace, _: int) -> str:
    """Load the model where it is not yet."""
    return workplace.detector.name


def by_dask(model: Path, source: Path, out: Path, jobs: int) -> Facts:
    """Workers of this machine, from when each has the model."""
    detector, began = load(model), time.perf_counter()
    with DaskCluster(read_model_files(model, "cpu"), workers=jobs) as cluster:
        list(cluster.run(have_model, range(8 * jobs)))
        start, began = time.perf_counter() - began, time.perf_counter()
        score_inputs(detector, [source], out, cluster=cluster)
        wall = time.perf_counter() - began
    return {"start": start, "wall": wall, "cpu": cpu_seconds()}


def in_process(*arguments: Any) -> Facts:
    """What a job in a process of its own measures."""
    command = [sys.executable, "-m", "benchmarks.cluster", "--job", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    facts: Facts = json.loads(done.stdout.splitlines()[-1])
    return facts


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2_000_000, help="[default: 2000000]")
    parser.add_argument("--files", type=int, default=20, help="[default: 20]")
    parser.add_argument("--columns", type=int, default=30, help="[default: 30]")
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2], help="[default: 1 2]")
    parser.add_argument("--score", default="elbo", help="[default: elbo]")
    parser.add_argument("--rounds", type=int, default=3, help="[default: 3]")
    parser.add_argument("--job", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        how, model, source, out, count = options.job
        by = by_threads if how == "threads" else by_dask
        print(json.dumps(by(Path(model), Path(source), Path(out), int(count))))
        return
    each = options.rows // options.files
    with tempfile.TemporaryDirectory(prefix="kilter-") as name:
        folder = Path(name)
        x = made_up(FITTED + each, options.columns).round(4)
        names = [f"x{i}" for i in range(options.columns)]
        pl.DataFrame(x[:FITTED], schema=names).write_csv(folder / "train.csv")
        (folder / "in").mkdir()
        content = pl.DataFrame(x[FITTED:], schema=names).write_csv()
        for place in range(options.files):
            (folder / "in" / f"{place}.csv").write_text(content)
        model = fit(folder / "train.csv", options.score, folder / "models")
        jobs = [(how, count) for how in ("threads", "dask") for count in options.workers]
        rounds: dict[tuple[str, int], list[Facts]] = {job: [] for job in jobs}
        for turn in range(options.rounds):
            for how, count in jobs:
                out = folder / f"{how}-{count}-{turn}"
                rounds[how, count].append(in_process(how, model, folder / "in", out, count))
    rows = each * options.files
    lines = []
    for (how, count), facts in rounds.items():
        one = medians(facts)
        rate = f"{rows / one['wall']:,.0f}"
        lines.append([f"{count} {how}", number(one["start"], 1), number(one["wall"], 1), number(one["cpu"], 1), rate])
    print(f"# {rows:,} rows of {options.columns} numbers in {options.files} files of CSV, {options.score}")
    print(f"\n{described()}\n")
    print(table(("who", "s to start", "wall s", "CPU s of all processes", "rows/s"), lines))


if __name__ == "__main__":
    main()
