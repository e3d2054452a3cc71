"""Does Kilter rank anomalies better than what people fall back on, and what does it cost?

Runs Kilter's own path, with its defaults, over the tables of one or more collections (see `benchmarks.problems`), and
peers on the same rows in the same run. The rows that Kilter spends on calibration and on checking itself count against
it: the peers fit on all of them. Tables with fewer than 600 normal rows are run at a target false-positive rate of 0.1.
With `--contamination`, real anomalies are hidden among the training rows; with `--made`, anomalies of known kinds are
made over the normal rows of every table as well. A table counts once, whatever its tasks and seeds.

    python -m benchmarks.detection --data ADBENCH KEEL EMBEDDINGS NSL-KDD --made --out results/detection
    python -m benchmarks.detection --data ADBENCH --contamination 0 0.01 0.05 0.1 --peers knn1 knn5 iforest --out DIR

Writes `measurements.csv` (a line for each problem, method and kind of anomaly, as it goes), `detection.md`, and a
picture for each collection.
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
from benchmarks.problems import problem_sources


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR", help="folders, a collection each")
    parser.add_argument("--tables", nargs="+", metavar="NAME", help="only these tables [default: all in the folders]")
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
    parser.add_argument("--made", action="store_true", help="judge made anomalies of known kinds as well")
    parser.add_argument("--config", type=Path, metavar="FILE.toml", help="settings for Kilter other than its defaults")
    parser.add_argument("--out", type=Path, default=Path("results/detection"), metavar="FOLDER")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each [default: 1]")
    parser.add_argument("--resume", action="store_true", help="take up an interrupted run in the same folder")
    return parser.parse_args()


def main() -> None:
    """Measure, then sum up."""
    args = arguments()
    ledger = Ledger(args.out / "measurements.csv", Measurement, resume=args.resume)
    done = {
        (line.collection, line.table, line.task, line.seed, line.contamination, line.method) for line in ledger.rows
    }
    tasks = []
    for folder, seed, share in itertools.product(args.data, args.seeds, args.contamination):
        for source in problem_sources(folder, [seed], share):
            if args.tables and source.table not in args.tables:
                continue
            key = (source.collection, source.table, source.task, seed, share)
            methods = tuple(m for m in (OURS, *args.peers) if (*key, m) not in done)
            if methods:
                tasks.append(Task(source, methods, args.made, args.config))
    for _, found in spread(measure, tasks, args.jobs):
        ledger.add(found)
    text = summary.report(ledger.rows)
    (args.out / "detection.md").write_text(text)
    for (collection, share), lines in summary.by_collection(ledger.rows).items():
        suffix = f"-{share:g}" if share else ""
        draw(summary.by_method(lines), args.out / f"{collection}{suffix}.svg")
    print(text)


if __name__ == "__main__":
    main()
