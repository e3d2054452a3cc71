"""How many rows per second does a GPU score, next to one core of the CPU beside it?

A model of 30 numeric columns scores batches of several sizes on every device that is asked for, from host memory and
back to it: encoded rows to scores, as a program takes them, and a NumPy matrix to verdicts, the whole way. Of the best
size the share of the time that copies between host and GPU take is told, by torch's profiler. Where there is no GPU the
CPU is measured alone, and the report says so. (There is no model of images yet.)

    python -m benchmarks.device
    python -m benchmarks.device --score neighbours --rows 1024 65536 1048576

Prints a table in Markdown, and writes it to `<out>/device.md`.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from benchmarks.machine import described
from benchmarks.markdown import number, table
from benchmarks.servers import NAME
from benchmarks.servers.model import FIELDS, prepared
from benchmarks.speed import made_up
from kilter.service.detector import Detector, KilterError, load
from kilter.service.detector.scores import score_names

SIZES = (1, 1024, 8192, 65_536, 524_288)
BUDGET = 2.0
"""Seconds of repetitions for each size, at least three of them."""
MOST_ROWS_CPU = 65_536
"""One core takes no larger batches any faster: they are run in pieces."""

Matrix = npt.NDArray[np.float64]


class Found(NamedTuple):
    """Rows per second of a device at each size, and the share of copies at the best."""

    device: str
    scores: dict[int, float]
    verdicts: dict[int, float]
    copies: float | None

    @property
    def best(self) -> int:
        """The size at which most rows per second get their score."""
        return max(self.scores, key=lambda size: self.scores[size])


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", type=int, default=list(SIZES), help=f"in a batch [default: {SIZES}]")
    parser.add_argument("--devices", nargs="+", default=["cpu", "cuda"], help="[default: cpu cuda]")
    parser.add_argument("--score", choices=score_names(), default="neighbours", help="[default: neighbours]")
    parser.add_argument("--cache", type=Path, default=Path("results/serving-cache"), metavar="FOLDER")
    parser.add_argument("--out", type=Path, default=Path("results/device"), metavar="FOLDER")
    return parser.parse_args()


def measure(detector: Detector, sizes: list[int]) -> Found:
    """Score batches of every size."""
    rows = np.resize(made_up(4096, FIELDS), (max(sizes), FIELDS))
    encoded = next(detector.modality.encode(detector.table(rows)))
    program = detector.scorer.program
    cpu = detector.device == "cpu"
    scores, verdicts = {}, {}
    for size in sizes:
        if cpu and size > MOST_ROWS_CPU:
            continue
        scores[size] = rate(lambda size=size: program.run(encoded[:size], ("score",)), size)  # type: ignore[misc]
        verdicts[size] = rate(lambda size=size: detector.score(rows[:size]), size)  # type: ignore[misc]
    found = Found(detector.device, scores, verdicts, None)
    if cpu:
        return found
    return found._replace(copies=share_of_copies(lambda: program.run(encoded[: found.best], ("score",))))


def rate(work: Callable[[], object], rows: int) -> float:
    """Rows per second of some work, by its median time, after a run that warms up."""
    work()
    seconds: list[float] = []
    while len(seconds) < 3 or sum(seconds) < BUDGET:
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return rows / float(np.median(seconds))


def share_of_copies(work: Callable[[], object]) -> float:
    """The share of some work's time in which the GPU copies to or from the host."""
    from torch.profiler import ProfilerActivity, profile

    began = time.perf_counter()
    work()
    seconds = time.perf_counter() - began
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        work()
    copies = [
        event for event in seen.key_averages() if "memcpy" in event.key.lower() and "dtod" not in event.key.lower()
    ]
    return float(sum(event.device_time_total for event in copies)) / 1e6 / seconds


def report(found: list[Found], missing: list[str]) -> str:
    """Rows per second, and how much more the GPU does than a core."""
    rows = [
        [one.device, f"{size:,}", number(one.scores[size], 0), number(one.verdicts[size], 0)]
        for one in found
        for size in one.scores
    ]
    parts = ["# Devices", table(("device", "rows in a batch", "rows/s to scores", "rows/s to verdicts"), rows)]
    core = next((one for one in found if one.device == "cpu"), None)
    if core is not None:
        parts += [_compared(one, core, one.copies) for one in found if one.copies is not None]
    parts += [f"Not measured: {why}" for why in missing]
    return "\n\n".join([*parts, described()])


def _compared(one: Found, core: Found, copies: float) -> str:
    times = one.scores[one.best] / core.scores[core.best]
    whole = max(one.verdicts.values()) / max(core.verdicts.values())
    return (
        f"{one.device} at {one.best:,} rows a batch: {times:.1f} times one core at its best, {core.best:,}, to scores, "
        f"and {whole:.1f} times to verdicts; copies between host and device take {copies:.0%} of the time to scores."
    )


def main() -> None:
    """Measure, print and write."""
    args = arguments()
    models = prepared(args.cache.resolve(), args.score)
    found, missing = [], []
    for device in args.devices:
        try:
            detector = load(models / NAME, device)
        except KilterError as error:
            missing.append(str(error))
            continue
        found.append(measure(detector, sorted(args.rows)))
    text = f"{report(found, missing)}; score `{args.score}`."
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "device.md").write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
