"""How long `kilter score` takes for a large file, beside what anyone must do: parse it, judge it, and write it.

A table of correlated columns is made up and a model fitted to its first rows. Then, each in a process of its own and in
rounds, so that whatever else runs disturbs all alike: Kilter, on one thread and on all cores; polars, which parses the
same file and writes it; and pandas in chunks of 100,000 rows around the same network in eager torch, which gives
scores alone. Of Kilter's CPU time that of the model's programs is measured apart: for the scores of all rows, and for
the reasons of what is flagged. Memory is the peak of a process, beyond that of one that scores a few rows.

    python -m benchmarks.files --rows 1000000 --score elbo --memory 1000000 10000000 50000000

Prints tables in Markdown.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import polars as pl

from benchmarks.machine import described
from benchmarks.markdown import number, table
from benchmarks.speed import made_up
from kilter.service.detector import load
from kilter.service.detector.arrays import Floats, Matrix
from kilter.service.detector.artifact import read_artifact
from kilter.service.detector.runtime import Program, TorchProgram
from kilter.service.formats.scoring import score_file
from kilter.service.formats.threads import map_in_threads, usable_cores

FITTED, BLOCK, CHUNK, FEW = 20_000, 200_000, 100_000, 1_000
Facts = dict[str, float]


class TimedProgram:
    """A program that adds up the CPU seconds that it takes, of all threads: for scores alone, and for reasons."""

    def __init__(self, program: Program) -> None:
        self.device = program.device
        self.seconds = {"score": 0.0, "reasons": 0.0}
        self._program = program
        self._lock = threading.Lock()

    def run(self, x: Matrix, outputs: Sequence[str]) -> list[Floats]:
        began = time.thread_time()
        values = self._program.run(x, outputs)
        with self._lock:
            self.seconds["score" if tuple(outputs) == ("score",) else "reasons"] += time.thread_time() - began
        return values


def with_kilter(model: Path, source: Path, out: Path, jobs: int) -> Facts:
    """What the programs took, of a run after a warm one on a few rows."""
    detector = load(model)
    program = TimedProgram(detector.scorer.program)
    few = source.with_name(f"few{source.suffix}")
    score_file(detector, few, out.with_name(f"few-out{out.suffix}"), force=True)
    detector.scorer.program = program
    return measured(
        lambda: score_file(detector, source, out, force=True, mapped=map_in_threads(jobs)), lambda: program.seconds
    )


def with_polars(source: Path, out: Path) -> Facts:
    """The same file read, its numbers parsed, and written."""
    if source.suffix == ".csv":
        return measured(lambda: pl.read_csv(source).write_csv(out))
    return measured(lambda: pl.read_parquet(source).write_parquet(out))


def with_pandas(model: Path, source: Path, out: Path) -> Facts:
    """Chunks of pandas, and the network in eager torch on one thread."""
    import pandas as pd
    import torch

    torch.set_num_threads(1)
    content = read_artifact(model)
    detector = load(model)
    manifest = content.manifest
    program = TorchProgram(manifest.network, manifest.score, content.state, "cpu", CHUNK)

    def work() -> None:
        for place, chunk in enumerate(pd.read_csv(source, chunksize=CHUNK)):
            [x] = detector.modality.encode(detector.modality.read(chunk))
            scores = program.run(x, ("score",))[0]
            judged = detector.calibration.judge(scores)
            chunk = chunk.assign(score=scores, p_value=judged.p_value, anomaly=judged.anomaly)
            chunk.to_csv(out, mode="a" if place else "w", header=not place, index=False)

    return measured(work)


def measured(work: Callable[[], object], further: Callable[[], dict[str, float]] = dict) -> Facts:
    """CPU and wall seconds of some work, and the most memory that this process has had."""
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {"cpu": cpu, "wall": wall, "peak": peak_memory(), **further()}


def peak_memory() -> float:
    """The most memory in MB that this process has had; that of a child begins with what its parent had elsewhere."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def in_process(*arguments: Any) -> Facts:
    """What a job in a process of its own measures."""
    command = [sys.executable, "-m", "benchmarks.files", "--job", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    facts: Facts = json.loads(done.stdout.splitlines()[-1])
    return facts


def run_job(name: str, *arguments: str) -> Facts:
    """A job by its name and arguments."""
    if name == "kilter":
        model, source, out, jobs = arguments
        return with_kilter(Path(model), Path(source), Path(out), int(jobs))
    if name == "polars":
        return with_polars(*map(Path, arguments))
    return with_pandas(*map(Path, arguments))


def write_tables(folder: Path, rows: int, columns: int) -> tuple[Path, Path, Path]:
    """Training rows, and the rows that are scored, as CSV and as Parquet; both of these also with a few rows."""
    x = made_up(FITTED + BLOCK, columns).round(4)
    names = [f"x{i}" for i in range(columns)]
    train, text, typed = folder / "train.csv", folder / "rows.csv", folder / "rows.parquet"
    pl.DataFrame(x[:FITTED], schema=names).write_csv(train)
    rest = pl.DataFrame(x[FITTED:], schema=names)
    rest[:FEW].write_csv(folder / "few.csv")
    rest[:FEW].write_parquet(folder / "few.parquet")
    write_csv(text, rest, rows)
    pl.scan_csv(text).sink_parquet(typed)
    return train, text, typed


def write_csv(path: Path, block: pl.DataFrame, rows: int) -> None:
    """So many rows, those of a block again and again."""
    with path.open("wb") as file:
        for start in range(0, rows, BLOCK):
            file.write(block[: rows - start].write_csv(include_header=not start).encode())


def fit(train: Path, score: str, models: Path) -> Path:
    """A model by Kilter's own path, briefly fitted: that makes it no faster."""
    from kilter.training.config import FitConfig, TrainConfig
    from kilter.training.data.source import TrainingSource
    from kilter.training.pipeline import train_model

    config = TrainConfig(score=score, split="random", fit=FitConfig(steps=300))
    train_model(TrainingSource((train,)), "rows", models, config)
    return models / "rows" / "1"


def medians(rounds: Sequence[Facts]) -> Facts:
    return {key: median(facts[key] for facts in rounds) for key in rounds[0]}


def compare(model: Path, source: Path, out: Path, rows: int, options: argparse.Namespace) -> str:
    """A table of who takes how long for a file, and what it comes to."""
    cores = usable_cores()
    jobs: dict[str, tuple[Any, ...]] = {
        f"Kilter, {cores} jobs": ("kilter", model, source, out, cores),
        "Kilter, 1 job": ("kilter", model, source, out, 1),
        "polars reads and writes": ("polars", source, out),
    }
    if source.suffix == ".csv":
        jobs["pandas and eager torch"] = ("pandas", model, source, out)
    found: dict[str, list[Facts]] = {name: [] for name in jobs}
    for _ in range(options.rounds):
        for name, job in jobs.items():
            found[name].append(in_process(*job))
    facts = {name: medians(rounds) for name, rounds in found.items()}
    lines = [
        [
            name,
            number(one["cpu"], 2),
            number(one["wall"], 2),
            number(one.get("score"), 2),
            number(one.get("reasons"), 2),
            f"{rows / one['wall']:,.0f}",
            number(one["peak"], 0),
        ]
        for name, one in facts.items()
    ]
    head = ("who", "CPU s", "wall s", "of it: scores", "of it: reasons", "rows/s", "peak MB")
    ours, alone = facts[f"Kilter, {cores} jobs"], facts["polars reads and writes"]
    beyond_scores = (ours["cpu"] - ours["score"]) / alone["cpu"]
    beyond_programs = (ours["cpu"] - ours["score"] - ours["reasons"]) / alone["cpu"]
    says = [
        f"CPU beyond the scores of the program: {beyond_scores:.2f} times polars; beyond what the programs take for "
        f"scores and reasons: {beyond_programs:.2f} times.",
        f"Wall over CPU: {ours['wall'] / ours['cpu']:.2f}.",
    ]
    if "pandas and eager torch" in facts:
        says.append(
            f"Rows per second: {facts['pandas and eager torch']['wall'] / ours['wall']:.1f} times pandas and torch."
        )
    return "\n\n".join([f"## {source.suffix} to {out.suffix}", table(head, lines), " ".join(says)])


def memory(model: Path, folder: Path, sizes: Sequence[int], columns: int) -> str:
    """A table of peak memory and time by the number of rows."""
    block = pl.read_csv(folder / "rows.csv", n_rows=BLOCK)
    cores = usable_cores()
    idle = in_process("kilter", model, folder / "few.csv", folder / "out.csv", cores)["peak"]
    lines = []
    for rows in sizes:
        write_csv(folder / "many.csv", block, rows)
        facts = in_process("kilter", model, folder / "many.csv", folder / "out.csv", cores)
        beyond = facts["peak"] - idle
        lines.append(
            [f"{rows:,}", number(facts["peak"], 0), number(beyond / cores, 0), number(1e6 * facts["wall"] / rows, 2)]
        )
    head = ("rows", "peak MB", f"beyond {idle:.0f} MB of a few rows, per job", "µs of wall time per row")
    return "\n\n".join([f"## Memory, {columns} columns, {cores} jobs", table(head, lines)])


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000, help="[default: 1000000]")
    parser.add_argument("--columns", type=int, default=30, help="[default: 30]")
    parser.add_argument("--score", default="elbo", help="[default: elbo]")
    parser.add_argument("--rounds", type=int, default=3, help="[default: 3]")
    parser.add_argument(
        "--memory", type=int, nargs="*", default=[], metavar="ROWS", help="sizes of the table of memory"
    )
    parser.add_argument("--job", nargs="+", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.job:
        print(json.dumps(run_job(*options.job)))
        return
    with tempfile.TemporaryDirectory(prefix="kilter-") as name:
        folder = Path(name)
        train, text, typed = write_tables(folder, options.rows, options.columns)
        model = fit(train, options.score, folder / "models")
        size = np.round(text.stat().st_size / 1e6)
        parts = [f"# Files: {options.rows:,} rows of {options.columns} numbers, {size:.0f} MB of CSV, {options.score}"]
        parts += [described(), compare(model, text, folder / "out.csv", options.rows, options)]
        parts.append(compare(model, typed, folder / "out.parquet", options.rows, options))
        if options.memory:
            parts.append(memory(model, folder, options.memory, options.columns))
    print("\n\n".join(parts))


if __name__ == "__main__":
    main()
