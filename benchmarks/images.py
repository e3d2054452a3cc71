"""Does Kilter find strange pictures better than simple detectors do, does it say where, and what does it cost?

Runs Kilter's own path with its defaults (files, training, artifact, `Detector.score`) and peers on the same pictures in
the same run, by the protocols of `benchmarks.image_sets`: MNIST, one digit against the rest, and surfaces whose defects
have masks. What Kilter sets aside for calibration counts against it: peers fit all training pictures.

    python -m benchmarks.images --mnist DIR --tiles DIR --seeds 0 1 2 --out results/images
    python -m benchmarks.images --devices cpu cuda

Writes `measurements.csv` (a line for each part and method, as it goes) and `images.md`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.image_device import compared
from benchmarks.image_measurement import APART, MNIST, OURS, RANDOM, Line, Task, measure
from benchmarks.image_peers import PEERS
from benchmarks.ledger import Ledger
from benchmarks.machine import described
from benchmarks.markdown import number, table
from benchmarks.pool import spread

LOCATED = {
    "pixel_auroc": "pixels of pictures with defects",
    "pixel_auroc_each": "the same, mean over pictures",
    "made_auroc": "drawn defects: pictures",
    "made_pixel_auroc": "drawn defects: pixels",
    "made_pixel_auroc_each": "the same, mean over pictures",
}


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mnist", type=Path, metavar="DIR", help="folder of t10k-images* and t10k-labels*")
    parser.add_argument("--digits", nargs="+", type=int, default=list(range(10)), help="[default: all]")
    parser.add_argument("--tiles", type=Path, metavar="DIR", help="folder of `good` and folders of defects with masks")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="splits of the tiles [default: 0]")
    parser.add_argument("--peers", nargs="*", choices=PEERS, default=list(PEERS), help="[default: all]")
    parser.add_argument("--devices", nargs="+", metavar="DEVICE", help="pictures per second of a fit on cpu, cuda")
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="settings for Kilter other than its defaults")
    parser.add_argument("--out", type=Path, default=Path("results/images"), metavar="FOLDER")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each [default: 1]")
    parser.add_argument("--resume", action="store_true", help="take up an interrupted run in the same folder")
    args = parser.parse_args()
    if not args.mnist and not args.tiles and not args.devices:
        parser.error("name a folder with --mnist or --tiles, or devices with --devices")
    return args


def tasks(args: argparse.Namespace, done: Sequence[Line]) -> list[Task]:
    """What is still to be measured."""
    parts = [(args.mnist, MNIST, digit) for digit in args.digits] if args.mnist else []
    if args.tiles:
        parts += [(args.tiles, name, seed) for name in (RANDOM, APART) for seed in args.seeds]
    known = {(line.set, line.part, line.method) for line in done}
    found = []
    for folder, name, part in parts:
        methods = tuple(method for method in (OURS, *args.peers) if (name, part, method) not in known)
        if methods:
            found.append(Task(folder, name, part, methods, args.config))
    return found


def report(lines: Sequence[Line]) -> str:
    """All of it, in Markdown."""
    parts = ["# Pictures", described()]
    for name in (MNIST, RANDOM, APART):
        own = sorted((line for line in lines if line.set == name), key=lambda line: (line.part, line.method != OURS))
        if own:
            parts += [f"## {name[0].upper()}{name[1:]}", _ranking(own), _costs(own), *_located(own)]
    failures = [line for line in lines if line.error]
    if failures:
        parts += ["## Failures", "\n".join(f"- {f.method} on {f.set}, {f.part}: {f.error}" for f in failures)]
    return "\n\n".join(parts) + "\n"


def _by_method(lines: Sequence[Line]) -> dict[str, list[Line]]:
    found: dict[str, list[Line]] = {}
    for line in lines:
        found.setdefault(line.method, []).append(line)
    return found


def _ranking(lines: Sequence[Line]) -> str:
    """AUROC of each part and on average; a part on which a method failed has none, nor then has the mean."""
    parts = sorted({line.part for line in lines})
    what = "digit" if lines[0].set == MNIST else "seed"
    rows = []
    for method, own in _by_method(lines).items():
        found = {line.part: line.auroc for line in own}
        values = [found.get(part) for part in parts]
        rows.append([method, number(_mean(values)), number(_mean([line.ap for line in own])), *map(number, values)])
    return table(("AUROC", "mean", "mean AP", *(f"{what} {part}" for part in parts)), rows)


def _costs(lines: Sequence[Line]) -> str:
    head = ("cost, mean", "training pictures", "CPU s to fit", "s to fit", "most s", "CPU µs per picture")
    rows = [
        [
            method,
            number(_mean([line.train for line in own]), 0),
            number(_mean([line.fit_cpu_s for line in own]), 2),
            number(_mean([line.fit_s for line in own]), 2),
            number(max((line.fit_s for line in own if line.fit_s is not None), default=None), 2),
            number(_mean([line.image_us for line in own]), 1),
        ]
        for method, own in _by_method(lines).items()
    ]
    return table(head, rows)


def _located(lines: Sequence[Line]) -> list[str]:
    """False alarms of ours, and how well it says where defects are."""
    own = [line for line in lines if line.method == OURS and line.error is None]
    if not own:
        return []
    rows = [["false-positive rate: target", number(_mean([line.target_fpr for line in own]))]]
    rows.append(["realised on good test pictures", number(_mean([line.realised_fpr for line in own]))])
    if lines[0].set != MNIST:
        rows += [
            [f"AUROC, {what}", number(_mean([getattr(one, field) for one in own]))] for field, what in LOCATED.items()
        ]
    return [table((OURS, "mean"), rows)]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) and known else None


def main() -> None:
    """Measure, then sum up."""
    args = arguments()
    ledger = Ledger(args.out / "measurements.csv", Line, resume=args.resume)
    for _, found in spread(measure, tasks(args, ledger.rows), args.jobs):
        ledger.add(found)
    text = report(ledger.rows)
    if args.devices:
        text += f"\n{compared(args.devices)}\n"
    (args.out / "images.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
