"""Synthetic tables: Kilter's generator, TVAE and CTGAN with their defaults, and columns drawn independently.

Each is fitted to a random half of a table's rows, labels included, and makes as many rows as the other half has. All
are compared by what `kilter generate --report` measures, against the other half. A detector that is trained on the
synthetic normal rows alone is held against one that is trained on the real ones. Of NSL-KDD the normal rows are taken.

    python -m benchmarks.generation --data DIR [--tables banana nsl-kdd] [--seeds 0] [--methods kilter independent]

DIR holds keel/*.csv.gz, whose tables of 500 rows or more are taken, and nsl-kdd/. Needs the extra `synthetic` and, for
the peers, `pip install ctgan`. Prints Markdown.
"""

import argparse
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import polars as pl
from sklearn.metrics import roc_auc_score

from benchmarks.clock import timed
from benchmarks.machine import described
from benchmarks.markdown import number, table
from kilter.learning import source_of
from kilter.service.detector import Detector, load, store
from kilter.service.formats.fidelity import Fidelity, compare_tables, synthetic_libraries
from kilter.training.config import TrainConfig
from kilter.training.pipeline import learn

LEAST_ROWS = 500
NSL, ATTACK = "nsl-kdd", "attack"
FEW = 10  # whole numbers up to so many are levels for the peers
HEAD = (
    "table", "method", "boosting AUROC", "columns", "pairs", "nearer to fit", "membership", "copies", "by nature",
    "invalid", "detector", "loss", "CPU s",
)  # fmt: skip


class Halves(NamedTuple):
    """A table: rows to fit, rows to compare with, rows to test a detector on, and the label and its normal value."""

    fit: pl.DataFrame
    other: pl.DataFrame
    tested: pl.DataFrame
    label: str
    normal: Any


class Line(NamedTuple):
    """What is measured of one method on one table."""

    table: str
    method: str
    fidelity: Fidelity
    detector: float | None
    """The AUROC of a detector that was trained on the synthetic normal rows alone."""
    loss: float | None
    """How much less that is than with the real ones."""
    cpu_s: float


def names(data: Path) -> list[str]:
    """The tables of a folder."""
    keel = sorted((data / "keel").glob("*.csv.gz"))
    return [NSL, *(path.name.split(".")[0] for path in keel if read(path).height >= LEAST_ROWS)]


def read(path: Path) -> pl.DataFrame:
    """A table of a file, its types by all of it."""
    return pl.read_csv(path, infer_schema_length=None)


def halves(data: Path, name: str, seed: int, most: int) -> Halves:
    """The halves of a table, of which so many rows are taken at most."""
    if name == NSL:
        train, tested = (read(data / NSL / f"{part}.csv.gz") for part in ("train", "test"))
        rows = train.filter(pl.col(ATTACK) == "normal")
        rows = rows.sample(min(most, rows.height), shuffle=True, seed=seed)
        return Halves(rows[: rows.height // 2], rows[rows.height // 2 :], tested, ATTACK, "normal")
    rows = read(data / "keel" / f"{name}.csv.gz")
    label = rows.columns[-1]
    rows = rows.sample(min(most, rows.height), shuffle=True, seed=seed)
    fit, other = rows[: rows.height // 2], rows[rows.height // 2 :]
    return Halves(fit, other, other, label, rows[label].mode().sort()[0])


def trained(frame: pl.DataFrame, seed: int, *, generator: bool = False) -> Detector:
    """A model of ours, as it is loaded from disk."""
    config = TrainConfig(seed=seed, baselines=False, generator=generator, split="random", target_fpr=0.1)
    made = learn(source_of(frame), config)
    with tempfile.TemporaryDirectory() as folder:
        return load(store.add(Path(folder), "model", partial(made.files, "model")))


def by_kilter(model: Detector, fit: pl.DataFrame, rows: int, seed: int) -> pl.DataFrame:
    """Rows of our generator, which was trained already."""
    made = pl.DataFrame(model.generate(rows, seed=seed), infer_schema_length=None)
    return made.select(pl.col(name).cast(fit.schema[name]) for name in made.columns)


def by_ctgan(kind: str, fit: pl.DataFrame, rows: int, seed: int) -> pl.DataFrame:
    """Rows of TVAE or CTGAN, with their defaults."""
    import ctgan
    import torch

    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (the package draws by it)
    frame = fit.to_pandas()
    levels = [
        name
        for name, kind in fit.schema.items()
        if kind == pl.String or (kind.is_integer() and fit[name].n_unique() <= FEW)
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        peer = getattr(ctgan, kind)(enable_gpu=False)
        peer.fit(frame, levels)
        made = peer.sample(rows)
    return pl.DataFrame(
        [
            pl.Series(name, made[name].to_list(), strict=False).cast(fit.schema[name], strict=False)
            for name in fit.columns
        ]
    )


def independently(fit: pl.DataFrame, rows: int, seed: int) -> pl.DataFrame:
    """Rows whose cells are drawn from each column by itself."""
    rng = np.random.default_rng(seed)
    return pl.DataFrame([fit[name].gather(rng.integers(fit.height, size=rows)) for name in fit.columns])


def measure(data: Path, name: str, seed: int, methods: list[str], most: int) -> Iterator[Line]:
    """All methods on one table."""
    libraries = synthetic_libraries()
    parts = halves(data, name, seed, most)
    aside = name == NSL  # all of its rows are normal
    fit, other = (part.drop(parts.label) if aside else part for part in (parts.fit, parts.other))
    model, training_s = timed(lambda: trained(fit, seed, generator=True))
    makers: dict[str, Callable[[], pl.DataFrame]] = {
        "kilter": lambda: by_kilter(model, fit, other.height, seed),
        "tvae": lambda: by_ctgan("TVAE", fit, other.height, seed),
        "ctgan": lambda: by_ctgan("CTGAN", fit, other.height, seed),
        "independent": lambda: independently(fit, other.height, seed),
    }
    real = model.table(pl.concat([fit, other]).select(model.schema.names))
    fitted = np.arange(real.rows) < fit.height
    reference: float | None = None
    for method in methods:
        made, cpu_s = timed(makers[method])
        synthetic = model.table(made.select(model.schema.names))
        everything = np.ones(real.rows, bool)
        fidelity = compare_tables(model.schema, synthetic, real, everything, fitted, libraries, seed)
        auroc = None
        if method == "kilter":
            cpu_s += training_s
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                reference = detection(parts, fit, seed, aside=aside)
                auroc = detection(parts, made, seed, aside=aside)
        loss = None if auroc is None or reference is None else reference - auroc
        yield Line(name, method, fidelity, auroc, loss, cpu_s)


def detection(parts: Halves, rows: pl.DataFrame, seed: int, *, aside: bool) -> float:
    """The AUROC on the tested rows of a detector that is trained on the normal ones of some rows."""
    normal = rows if aside else rows.filter(pl.col(parts.label) == parts.normal).drop(parts.label)
    model = trained(normal, seed)
    scores = model.score(parts.tested.select(model.schema.names), errors="mark").score
    anomalous = (parts.tested[parts.label] != parts.normal).to_numpy()
    return float(roc_auc_score(anomalous, np.nan_to_num(scores, nan=np.nanmax(scores))))


def row(line: Line) -> list[str]:
    """A line of the report."""
    fidelity, near = line.fidelity, line.fidelity.nearness
    figures = [fidelity.detection_auroc, fidelity.column_likeness, fidelity.pair_likeness]
    figures += [float("nan")] * 4 if near is None else [
        near.nearer_to_fitted, near.membership_auroc, near.copies, near.copies_by_nature
    ]  # fmt: skip
    return [
        line.table,
        line.method,
        *(number(figure) for figure in figures),
        str(fidelity.invalid),
        number(line.detector),
        number(line.loss, sign=True),
        number(line.cpu_s, 0),
    ]


def means(lines: list[Line], methods: list[str]) -> str:
    """The means of each method over the tables."""
    rows = []
    for method in methods:
        own = [line for line in lines if line.method == method]
        parts = [
            [line.fidelity.detection_auroc for line in own],
            [1 - line.fidelity.pair_likeness for line in own],
            [near.nearer_to_fitted for line in own if (near := line.fidelity.nearness)],
            [near.membership_auroc for line in own if (near := line.fidelity.nearness)],
            [line.loss for line in own if line.loss is not None],
        ]
        rows.append([method, str(len(own)), *(number(float(np.mean(part)) if part else None) for part in parts)])
    return table(("method", "tables", "boosting AUROC", "error of pairs", "nearer to fit", "membership", "loss"), rows)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, metavar="DIR")
    parser.add_argument("--tables", nargs="+", help="[default: all]")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--methods", nargs="+", default=["kilter", "tvae", "ctgan", "independent"])
    parser.add_argument("--most", type=int, default=100_000, help="rows that are taken of a table")
    args = parser.parse_args()
    lines: list[Line] = []
    print(described(), "\n")
    for seed in args.seeds:
        for name in args.tables or names(args.data):
            for line in measure(args.data, name, seed, args.methods, args.most):
                lines.append(line)
                print(" | ".join(row(line)), file=sys.stderr, flush=True)
    print(table(HEAD, map(row, lines)), "\n")
    print(means(lines, args.methods))


if __name__ == "__main__":
    main()
