"""Does `--detector auto` choose, without labels, the detector that finds a table's own anomalies best?

On each problem of the collections (see `benchmarks.problems`) every detector is fitted to the same rows by Kilter's own
path, and ranks the test rows; then the choice is made, by cross-validation on the fitting rows alone. The AUROC and
average precision of the choice stand beside those of the VAE, of each other detector, and of the one that is best by
the labels, which nobody has. A table counts once, whatever its tasks and seeds.

    python -m benchmarks.choice --data ADBENCH KEEL --seeds 0 --out results/choice

Writes `measurements.csv` (a line for each problem and detector) and `choice.md`.
"""

import argparse
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np

from benchmarks.clock import timed
from benchmarks.figures import mean_error, paired, ranked_last
from benchmarks.ledger import Ledger
from benchmarks.machine import described
from benchmarks.markdown import number, table, with_error
from benchmarks.pool import spread
from benchmarks.problems import ProblemSource, problem_sources, read_problem
from kilter.service.detector.detector import Scorer
from kilter.service.detector.errors import KilterError
from kilter.service.detector.modalities import modality_of
from kilter.service.detector.scores import VAE, detector_names
from kilter.service.formats.reading import to_table
from kilter.training.config import AUTO, TrainConfig, with_detector
from kilter.training.data.source import TrainingSource
from kilter.training.data.tables import prepare
from kilter.training.evaluation.evaluate import Ranking
from kilter.training.evaluation.selection import choose_detector
from kilter.training.fitting.copies import without_copies
from kilter.training.fitting.crossfit import TorchModule
from kilter.training.fitting.model import fit_unexported

BEST = "best by the labels"


class Line(msgspec.Struct, frozen=True):
    """A line of the ledger: a detector on a problem; None where it could not be fitted."""

    collection: str
    table: str
    task: str
    seed: int
    detector: str
    chosen: bool
    auroc: float | None = None
    ap: float | None = None
    separation: float | None = None
    """By which it was chosen or not."""
    choice_cpu_s: float | None = None


def measure(source: ProblemSource) -> list[Line]:
    """All detectors on one problem, and the choice."""
    problem = read_problem(source)
    data = without_copies(prepare(problem.train, TrainingSource()))
    config = TrainConfig(target_fpr=problem.target_fpr, detector=AUTO, device="cpu")
    choice, seconds = timed(lambda: choose_detector(data, config))
    lines = []
    for trial in choice.trials:
        auroc, ap = None, None
        try:
            fitted = fit_unexported(data, with_detector(config, trial.detector))
            scorer = Scorer(modality_of(fitted.schema), TorchModule(fitted.module))
            scores = scorer.score(to_table(fitted.schema, problem.test), errors="mark").score
            ranking = Ranking.of(ranked_last(scores, problem.anomalous), problem.anomalous)
            auroc, ap = ranking.roc_auc(), ranking.average_precision()
        except KilterError as error:
            print(f"{source}: {trial.detector}: {error}")
        separation = None if trial.both is None else trial.both.mean
        key = (source.collection, source.table, source.task, source.seed)
        lines.append(Line(*key, trial.detector, trial.detector == choice.chosen, auroc, ap, separation, seconds))
    return lines


def figures(lines: Sequence[Line], of: Callable[[Line], float | None]) -> dict[str, dict[str, float]]:
    """A figure by method and table: the mean over a table's problems. The choice and the best are methods, too."""
    cells: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    problems: dict[tuple[str, str, str, int], list[Line]] = defaultdict(list)
    for line in lines:
        problems[line.collection, line.table, line.task, line.seed].append(line)
    for (collection, name, _, _), those in problems.items():
        key = f"{collection}/{name}"
        known = {line.detector: value for line in those if (value := of(line)) is not None}
        for detector, value in known.items():
            cells[detector][key].append(value)
        cells[AUTO][key] += [known[line.detector] for line in those if line.chosen and line.detector in known]
        cells[BEST][key].append(max(known.values()))
    return {method: {key: float(np.mean(values)) for key, values in by.items()} for method, by in cells.items()}


def summed_up(lines: Sequence[Line]) -> str:
    """The means over tables, and each method against the VAE."""
    areas, precisions = figures(lines, lambda line: line.auroc), figures(lines, lambda line: line.ap)
    rows = []
    for method in (*detector_names(), AUTO, BEST):
        row = [method]
        for by_method in (areas, precisions):
            mean, gain = mean_error([*by_method[method].values()]).mean, paired(by_method[method], by_method[VAE])
            row += [number(mean), with_error(gain.gain, gain.error, sign=True)]
        rows.append(row)
    chosen = Counter(line.detector for line in lines if line.chosen)
    seconds = [line.choice_cpu_s for line in lines if line.chosen and line.choice_cpu_s is not None]
    counts = ", ".join(f"{name} {count}" for name, count in chosen.most_common())
    head = ("detector", "AUROC", "above the VAE", "AP", "above the VAE")
    return (
        f"# Choosing a detector\n\n{described()}\n\n{len(areas[VAE])} tables.\n\n{table(head, rows)}\n\n"
        f"Chosen: {counts}. A choice took {np.median(seconds):.0f} CPU seconds (median).\n"
    )


class Arguments(NamedTuple):
    """The command line."""

    data: list[Path]
    tables: list[str] | None
    seeds: list[int]
    jobs: int
    out: Path
    resume: bool


def arguments() -> Arguments:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR", help="folders, a collection each")
    parser.add_argument("--tables", nargs="+", metavar="NAME", help="only these tables [default: all in the folders]")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="one split each [default: 0]")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each [default: 1]")
    parser.add_argument("--out", type=Path, default=Path("results/choice"), metavar="FOLDER")
    parser.add_argument("--resume", action="store_true", help="take up an interrupted run in the same folder")
    return Arguments(**vars(parser.parse_args()))


def main() -> None:
    """Measure, then sum up."""
    args = arguments()
    ledger = Ledger(args.out / "measurements.csv", Line, resume=args.resume)
    done = {(line.collection, line.table, line.task, line.seed) for line in ledger.rows}
    sources = [
        source
        for folder in args.data
        for source in problem_sources(folder, args.seeds)
        if (args.tables is None or source.table in args.tables)
        and (source.collection, source.table, source.task, source.seed) not in done
    ]
    for _, found in spread(measure, sources, args.jobs):
        ledger.add(found)
    text = summed_up(ledger.rows)
    (args.out / "choice.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
