"""Does Kilter rank anomalies better than what people fall back on, and what does it cost?

Runs Kilter's own path, with its defaults, over a folder of ADBench sets (npz files with X and y) by the protocol of
`benchmarks.sets`, and peers on the same rows in the same run. The rows that Kilter spends on calibration and on
checking itself count against it: the peers fit on all of them. Sets with fewer than 600 normal rows are run at a target
false-positive rate of 0.1. With `--contamination`, real anomalies are hidden among the training rows.

    python -m benchmarks.detection --data DIR --seeds 0 1 2 --out results/detection
    python -m benchmarks.detection --data DIR --contamination 0 0.01 0.05 0.1 --peers knn1 knn5 iforest --out DIR

Writes `measurements.csv` (a line for each set, seed and method, as it goes), `detection.md` and `detection.svg`.
"""

import argparse
import itertools
from pathlib import Path

from benchmarks import summary
from benchmarks.ledger import Ledger
from benchmarks.measurement import OURS, Measurement, Task, measure
from benchmarks.peers import available
from benchmarks.picture import draw
from benchmarks.pool import spread
from benchmarks.sets import names


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help="folder of npz files with X and y")
    parser.add_argument("--sets", nargs="+", metavar="NAME", help="only these sets [default: all in the folder]")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2], help="one split each [default: 0 1 2]")
    parser.add_argument(
        "--peers",
        nargs="*",
        choices=available(),
        default=list(available()),
        help="[default: every one that is installed]",
    )
    parser.add_argument(
        "--contamination",
        nargs="+",
        type=float,
        default=[0.0],
        metavar="SHARE",
        help="share of anomalies to hide among the training rows [default: 0]",
    )
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="settings for Kilter other than its defaults")
    parser.add_argument("--out", type=Path, default=Path("results/detection"), metavar="FOLDER")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each [default: 1]")
    parser.add_argument("--resume", action="store_true", help="take up an interrupted run in the same folder")
    return parser.parse_args()


def main() -> None:
    """Measure, then sum up."""
    args = arguments()
    ledger = Ledger(args.out / "measurements.csv", Measurement, resume=args.resume)
    done = {(line.table, line.seed, line.contamination, line.method) for line in ledger.rows}
    tasks = []
    for seed, table, share in itertools.product(args.seeds, args.sets or names(args.data), args.contamination):
        methods = [m for m in (OURS, *args.peers) if (table, seed, share, m) not in done]
        if methods:
            tasks.append(Task(args.data, table, seed, share, tuple(methods), args.config))
    for _, found in spread(measure, tasks, args.jobs):
        ledger.add(found)
    text = summary.report(ledger.rows)
    (args.out / "detection.md").write_text(text)
    for share in sorted({line.contamination for line in ledger.rows}):
        suffix = f"-{share:g}" if share else ""
        draw(summary.by_method(ledger.rows, share), args.out / f"detection{suffix}.svg")
    print(text)


if __name__ == "__main__":
    main()
