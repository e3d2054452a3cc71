"""One method on one problem: what is measured of it, and how."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks import ours
from benchmarks.clock import Speed, speed, timed
from benchmarks.figures import Floats, ranked_last
from benchmarks.peers import PEERS
from benchmarks.problems import Problem, ProblemSource, matrix_of, read_problem
from kilter.training.config import TrainConfig, read_config

OURS = "kilter"
REAL = "real"
"""The kind of the anomalies that a table has; the others are made."""


class Measurement(msgspec.Struct, frozen=True):
    """A line of the ledger. Figures are None where the method failed, and `error` says how.

    All but the rankings are of the table's own anomalies, and None in the lines of those that are made.
    """

    collection: str
    table: str
    task: str
    seed: int
    contamination: float
    """The share of hidden anomalies that was asked for, and `realised` the share that there is."""
    method: str
    kind: str
    realised: float
    columns: int
    train_rows: int
    test_normal: int
    test_anomalous: int
    auroc: float | None = None
    ap: float | None = None
    fit_cpu_s: float | None = None
    batch_us: float | None = None
    """CPU microseconds per row in batches of 1,024; for ours in the serving runtime, from encoded rows to scores."""
    record_us: float | None = None
    """The same for one row alone."""
    target_fpr: float | None = None
    expected_fpr: float | None = None
    """k / (n + 1) of the calibration."""
    realised_fpr: float | None = None
    """Share of the normal test rows that are flagged."""
    unread: int | None = None
    """Test rows without a verdict; in the rankings they count as mistakes."""
    error: str | None = None


class Task(NamedTuple):
    """Some methods on one problem, and on anomalies made over it if that is asked for."""

    source: ProblemSource
    methods: tuple[str, ...]
    made: bool
    config: Path | None

    def __str__(self) -> str:
        share = self.source.contamination
        return f"{self.source}{f', {share:.0%} hidden' if share else ''}: {len(self.methods)} methods"


class Judged(NamedTuple):
    """What a method made of a problem."""

    scores: Mapping[str, Floats]
    """Of the test rows, `REAL`, and of the made anomalies of each kind."""
    fit_cpu_s: float
    pace: Speed
    alarms: dict[str, float | int | None]
    """The figures that only ours has."""


def measure(task: Task) -> list[Measurement]:
    """Measure every method of a task."""
    for method in task.methods:
        warm_up(method)
    problem = read_problem(task.source)
    rows = {REAL: problem.test} | (problem.made() if task.made else {})
    found = []
    for method in task.methods:
        line = _line(problem, task, method)
        try:
            judged = _ours(problem, rows, task) if method == OURS else _peer(problem, rows, method)
        except Exception as error:
            found.append(msgspec.structs.replace(line, error=" ".join(f"{type(error).__name__}: {error}".split())))
            continue
        found += _lines(line, problem.anomalous, judged)
    return found


@cache
def warm_up(method: str) -> None:
    """Fit a small table once in a process, so that what is imported and compiled then is in no figure."""
    if method == OURS:
        ours.warm_up()
    else:
        PEERS[method](np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32), 0)


def _line(problem: Problem, task: Task, method: str) -> Measurement:
    return Measurement(
        problem.collection,
        problem.table,
        problem.task,
        problem.seed,
        task.source.contamination,
        method,
        REAL,
        problem.hidden / problem.train.height,
        problem.train.width,
        problem.train.height,
        int((~problem.anomalous).sum()),
        int(problem.anomalous.sum()),
    )


def _ours(problem: Problem, rows: Mapping[str, pl.DataFrame], task: Task) -> Judged:
    settings: TrainConfig = read_config(task.config, target_fpr=problem.target_fpr, seed=problem.seed, device="cpu")
    model = ours.fit(problem.train, settings)
    scores = {kind: model.score(frame) for kind, frame in rows.items()}
    flagged = model.calibration.anomalies(scores[REAL])
    alarms: dict[str, float | int | None] = {
        "target_fpr": model.calibration.target_fpr,
        "expected_fpr": model.calibration.expected_fpr,
        "realised_fpr": float(flagged[~problem.anomalous].mean()),
        "unread": int(np.isnan(scores[REAL]).sum()),
    }
    return Judged(scores, model.fit_cpu_s, speed(model.runtime(), model.encoded(problem.test)), alarms)


def _peer(problem: Problem, rows: Mapping[str, pl.DataFrame], method: str) -> Judged:
    matrix = matrix_of(problem.train)
    train = matrix(problem.train)
    score, seconds = timed(lambda: PEERS[method](train, problem.seed))
    scores = {kind: score(matrix(frame)) for kind, frame in rows.items()}
    return Judged(scores, seconds, speed(score, matrix(problem.test)), {})


def _lines(line: Measurement, anomalous: npt.NDArray[np.bool_], judged: Judged) -> list[Measurement]:
    """A line for the table's own anomalies and one for each kind that was made."""
    normal = judged.scores[REAL][~anomalous]
    spent = {"fit_cpu_s": judged.fit_cpu_s, "batch_us": judged.pace.batch_us, "record_us": judged.pace.record_us}
    found = [_ranked(line, judged.scores[REAL], anomalous, {**spent, **judged.alarms})]
    for kind, scores in judged.scores.items():
        if kind != REAL:
            both, labels = np.concatenate([normal, scores]), np.arange(len(normal) + len(scores)) >= len(normal)
            found.append(_ranked(line, both, labels, {"kind": kind, "test_anomalous": len(scores)}))
    return found


def _ranked(
    line: Measurement, scores: Floats, anomalous: npt.NDArray[np.bool_], figures: Mapping[str, object]
) -> Measurement:
    ranked = ranked_last(scores, anomalous)
    return msgspec.structs.replace(
        line,
        auroc=float(roc_auc_score(anomalous, ranked)),
        ap=float(average_precision_score(anomalous, ranked)),
        **figures,
    )
