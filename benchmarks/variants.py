"""Variants of the default score around kept fits: other weights of its pieces of evidence, another mean, fewer pieces.

    python -m benchmarks.variants --data ADBENCH KEEL EMBEDDINGS --fits results/fits

Networks are fitted once and kept; a second run takes minutes. Every variant is compared with the score as it is, table
by table, and the choice among them is nested: what a table gains by the variant that is best on all the others. What
each makes of made anomalies, over the normal rows of all tables, is told beside, and has no part in the choice.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks.clock import Matrix
from benchmarks.figures import Floats, paired
from benchmarks.fits import Kept, kept_fit
from benchmarks.measurement import REAL
from benchmarks.nested import choose
from benchmarks.pool import spread
from benchmarks.problems import ProblemSource, problem_sources
from kilter.service.detector.scores.combined import SHARPNESS, CombinedScore
from kilter.service.detector.scores.memory import CHUNK
from kilter.training.config import TrainConfig

TODAY = "as it is"
SHARPNESSES = (0.0, 5.0, 10.0, 20.0, 25.0)  # of the weights; 0 makes them equal
POWERS = (1.0, 1.25, 2.0, 3.0)  # of the mean of surprises
PIECES = ("nearest", "core", "relative", "elbo", "raw", "mixture", "span")
Figures = Mapping[str, Mapping[str, float]]
Judged = Mapping[str, Mapping[str, tuple[float, float]]]
"""AUROC and average precision by variant and kind of anomaly."""


class Variant(NamedTuple):
    """How the pieces of evidence become a score: their weights, (parts,), and the exponent of the mean."""

    weight: Floats
    power: float

    def rank(self, evidence: Floats) -> Floats:
        """Values in the order of the scores of evidence, (n, parts): (n,)."""
        ordered: Floats = evidence**self.power @ self.weight
        return ordered


def variants_of(score: CombinedScore) -> dict[str, Variant]:
    """The variants by name; of a piece that a score has not, the score as it is."""
    weight, power = score.weight.numpy().astype(np.float64), score.shape.power
    names = score.shape.pieces
    found = {TODAY: Variant(weight, power)}
    for sharpness in SHARPNESSES:
        other = weight ** (sharpness / SHARPNESS)
        found[f"sharpness {sharpness:g}"] = Variant(other / other.sum(), power)
    found |= {f"exponent {other:g}": Variant(weight, other) for other in POWERS}
    for name in PIECES:
        others = np.array([one != name for one in names])
        rest = np.where(others, weight, 0) / weight[others].sum()
        found[f"without {name}"] = Variant(rest, power)
        found[f"{name} alone"] = Variant(np.where(others, 0.0, 1.0) if not others.all() else weight, power)
    return found


@torch.no_grad()
def evidence_of(kept: Kept, score: CombinedScore, rows: Matrix) -> Floats:
    """The surprises of encoded rows, (n, parts), in nats."""
    network = kept.network
    parts = [
        score.surprise(score.gather(network, x, network.see(x), None))
        for x in torch.split(torch.from_numpy(rows), CHUNK)
    ]
    return torch.cat(parts).numpy().astype(np.float64)


def judged(task: tuple[ProblemSource, Path]) -> Judged:
    """What each variant makes of a problem, whose fit is kept in a folder."""
    torch.set_num_threads(1)
    source, folder = task
    config = TrainConfig(seed=source.seed, device="cpu", baselines=False)
    kept = kept_fit(source, config, folder)
    score = kept.build(config).score
    if not isinstance(score, CombinedScore):
        raise TypeError(f"{source} has another score, and only the default one has variants")
    evidence = {kind: evidence_of(kept, score, rows) for kind, rows in kept.rows.items()}
    normal, anomalous = (evidence[REAL][kept.anomalous == flag] for flag in (False, True))
    strange = evidence | {REAL: anomalous}
    return {
        name: {kind: ranked(variant.rank(normal), variant.rank(rows)) for kind, rows in strange.items()}
        for name, variant in variants_of(score).items()
    }


def ranked(normal: Floats, anomalous: Floats) -> tuple[float, float]:
    """AUROC and average precision of scores."""
    truth = np.repeat([0, 1], [len(normal), len(anomalous)])
    scores = np.concatenate([normal, anomalous])
    return float(roc_auc_score(truth, scores)), float(average_precision_score(truth, scores))


def report(found: Mapping[ProblemSource, Judged]) -> str:
    """Tables of what each variant gains over the score as it is, by collection, and the nested choice."""
    lines = []
    gains: dict[str, dict[str, float]] = {}
    for collection in dict.fromkeys(source.collection for source in found):
        auroc, ap = (by_table(found, REAL, place, collection) for place in (0, 1))
        lines += [f"## {collection}, {len(auroc[TODAY])} tables", "", "| variant | AUROC | AP |", "| --- | --- | --- |"]
        for name in auroc:
            if name == TODAY:
                means = [np.mean(list(figures[name].values())) for figures in (auroc, ap)]
                lines.append(f"| {name} | {means[0]:.4f} | {means[1]:.4f} |")
                continue
            cells = [paired(figures[name], figures[TODAY]) for figures in (auroc, ap)]
            lines.append(f"| {name} | " + " | ".join(f"{cell.gain:+.4f} ± {cell.error:.4f}" for cell in cells) + " |")
        for name in auroc:
            for table in auroc[name]:
                change = auroc[name][table] - auroc[TODAY][table] + ap[name][table] - ap[TODAY][table]
                gains.setdefault(name, {})[table] = change / 2
        lines.append("")
    lines += [*made_lines(found), ""]
    choice = choose(gains)
    chosen = ", ".join(f"{name} ({count})" for name, count in sorted(choice.chosen.items(), key=lambda pair: -pair[1]))
    lines += [
        f"Best over all tables, by the mean of AUROC and AP: {choice.best}, {choice.apparent.mean:+.4f} ± "
        f"{choice.apparent.error:.4f} on the tables that it is chosen by.",
        f"Chosen with each table left out: {chosen}; on the tables left out it gains {choice.gain.mean:+.4f} ± "
        f"{choice.gain.error:.4f}.",
    ]
    return "\n".join(lines)


def made_lines(found: Mapping[ProblemSource, Judged]) -> list[str]:
    """A table of the mean AUROC of each variant on made anomalies over the normal rows of all tables, by kind."""
    kinds = list(dict.fromkeys(kind for one in found.values() for kind in one[TODAY] if kind != REAL))
    lines = ["## Made anomalies", "", f"| AUROC | {' | '.join(kinds)} |", "| --- |" + " --- |" * len(kinds)]
    for name in next(iter(found.values())):
        means = [np.mean(list(by_table(found, kind, 0)[name].values())) for kind in kinds]
        lines.append(f"| {name} | " + " | ".join(f"{mean:.4f}" for mean in means) + " |")
    return lines


def by_table(found: Mapping[ProblemSource, Judged], kind: str, place: int, collection: str | None = None) -> Figures:
    """A figure of each variant on each table of a collection, or of all, the mean over its tasks and seeds."""
    values: dict[str, dict[str, list[float]]] = {}
    for source, variants in found.items():
        if collection not in (None, source.collection):
            continue
        for name, figures in variants.items():
            if kind in figures:
                table = f"{source.collection}/{source.table}"
                values.setdefault(name, {}).setdefault(table, []).append(figures[kind][place])
    return {name: {table: float(np.mean(one)) for table, one in tables.items()} for name, tables in values.items()}


def main() -> None:
    """Judge, then compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, nargs="+", required=True, metavar="DIR", help="folders, a collection each")
    parser.add_argument("--fits", type=Path, required=True, metavar="FOLDER", help="where fits are kept")
    parser.add_argument("--tables", nargs="+", metavar="NAME", help="only these tables [default: all in the folders]")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="one split each [default: 0]")
    parser.add_argument("--contamination", type=float, default=0.0, help="share of hidden anomalies [default: 0]")
    parser.add_argument("--jobs", type=int, default=1, help="processes, of one thread each [default: 1]")
    args = parser.parse_args()
    sources = [
        source
        for folder in args.data
        for source in problem_sources(folder, args.seeds, args.contamination)
        if not args.tables or source.table in args.tables
    ]
    tasks = [(source, args.fits) for source in sources]
    print(report({task[0]: figures for task, figures in spread(judged, tasks, args.jobs)}))


if __name__ == "__main__":
    main()
