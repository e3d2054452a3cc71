"""One method on one split of one table: what is measured of it, and how."""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt
from sklearn.metrics import average_precision_score, roc_auc_score

from benchmarks import ours
from benchmarks.clock import Speed, speed, timed
from benchmarks.figures import Floats, ranked_last
from benchmarks.peers import PEERS, Scaling
from benchmarks.sets import Sample, load
from kilter.training.config import TrainConfig, read_config

OURS = "kilter"


class Measurement(msgspec.Struct, frozen=True):
    """A line of the ledger. Figures are None where the method failed, and `error` says how."""

    table: str
    seed: int
    contamination: float
    """The share of hidden anomalies that was asked for, and `realised` the share that there is."""
    method: str
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
    """Some methods on one split of one table."""

    folder: Path
    table: str
    seed: int
    contamination: float
    methods: tuple[str, ...]
    config: Path | None

    def __str__(self) -> str:
        hidden = f", {self.contamination:.0%} hidden" if self.contamination else ""
        return f"{self.table}, seed {self.seed}{hidden}: {len(self.methods)} methods"


def measure(task: Task) -> list[Measurement]:
    """Measure every method of a task."""
    for method in task.methods:
        warm_up(method)
    sample = load(task.folder, task.table, task.seed, task.contamination)
    found = []
    for method in task.methods:
        line = Measurement(
            task.table,
            task.seed,
            task.contamination,
            method,
            sample.contamination,
            sample.train.shape[1],
            len(sample.train),
            int((~sample.anomalous).sum()),
            int(sample.anomalous.sum()),
        )
        try:
            line = _ours(line, sample, task) if method == OURS else _peer(line, sample)
        except Exception as error:
            line = msgspec.structs.replace(line, error=" ".join(f"{type(error).__name__}: {error}".split()))
        found.append(line)
    return found


@cache
def warm_up(method: str) -> None:
    """Fit a small table once in a process, so that what is imported and compiled then is in no figure."""
    if method == OURS:
        ours.warm_up()
    else:
        PEERS[method](np.random.default_rng(0).normal(size=(64, 3)).astype(np.float32), 0)


def _ours(line: Measurement, sample: Sample, task: Task) -> Measurement:
    settings: TrainConfig = read_config(task.config, target_fpr=sample.target_fpr, seed=task.seed, device="cpu")
    model = ours.fit(sample.train, settings)
    scores = model.score(sample.test)
    flagged = model.calibration.anomalies(scores)
    line = msgspec.structs.replace(
        line,
        target_fpr=model.calibration.target_fpr,
        expected_fpr=model.calibration.expected_fpr,
        realised_fpr=float(flagged[~sample.anomalous].mean()),
        unread=int(np.isnan(scores).sum()),
    )
    pace = speed(model.runtime(), model.encoded(sample.test))
    return _judged(line, ranked_last(scores, sample.anomalous), sample.anomalous, model.fit_cpu_s, pace)


def _peer(line: Measurement, sample: Sample) -> Measurement:
    scaling = Scaling.of(sample.train)
    train, test = scaling(sample.train), scaling(sample.test)
    score, seconds = timed(lambda: PEERS[line.method](train, line.seed))
    return _judged(line, score(test), sample.anomalous, seconds, speed(score, test))


def _judged(
    line: Measurement, scores: Floats, anomalous: npt.NDArray[np.bool_], fit_cpu_s: float, pace: Speed
) -> Measurement:
    return msgspec.structs.replace(
        line,
        auroc=float(roc_auc_score(anomalous, scores)),
        ap=float(average_precision_score(anomalous, scores)),
        fit_cpu_s=fit_cpu_s,
        batch_us=pace.batch_us,
        record_us=pace.record_us,
    )
