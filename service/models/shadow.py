"""A version in the shadow: it judges what the version that serves has judged, and nobody is answered from it."""

import logging
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from pydantic import Field

from kilter.service.detector import Detector, Schema, Verdicts
from kilter.service.detector.arrays import Floats, Mask
from kilter.service.detector.inputs import Table, cut, join
from kilter.service.models.comparison import Comparison, Findings, describe_comparison
from kilter.service.monitoring.model_metrics import MODEL

log = logging.getLogger(__name__)

WAITING_RECORDS = 8192
"""Records that wait to be compared at most; more are dropped, so that what is answered from need not wait."""
BATCH = 1024
REST = 3.0  # after each batch the thread rests so many times as long as that took: it takes a quarter of a core at most
GATHER = 0.1  # seconds that records wait for others: a batch is judged in hardly more time than a record


class PendingRecords(NamedTuple):
    """Judged records that wait to be judged in the shadow."""

    shadow: "Shadow"
    table: Table
    p_value: Floats
    anomaly: Mask

    @property
    def weight(self) -> int:
        """In records; large pictures count as several."""
        return self.table.rows * self.shadow.weight


class ShadowThread:
    """Compares, beside the requests, the records that shadows are offered; one thread for all of them."""

    def __init__(self, most: int = WAITING_RECORDS, rest: float = REST, gather: float = GATHER) -> None:
        self._most, self._rest, self._gather = most, rest, gather
        self._asleep = False
        """Whether the thread waits for the first record."""
        self._waiting: deque[PendingRecords] = deque()
        self._records = 0
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def put(self, waiting: PendingRecords) -> bool:
        """Let records wait to be compared; False, without doing so, where too many do already."""
        with self._changed:
            if self._stopped or self._records + waiting.weight > self._most:
                return False
            self._waiting.append(waiting)
            self._records += waiting.weight
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
                self._thread.start()
            if self._asleep:
                self._changed.notify_all()
            return True

    def idle(self, seconds: float) -> bool:
        """Whether within so many seconds no record waits any more."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._records, seconds)

    def stop(self) -> None:
        """End the thread; what waits is let go."""
        with self._changed:
            self._stopped = True
            thread, self._thread = self._thread, None
            self._changed.notify_all()
        if thread is not None:
            thread.join()

    def _run(self) -> None:
        while (batch := self._take()) is not None:
            began = time.perf_counter()
            batch[0].shadow.compare(batch)
            pause = self._rest * (time.perf_counter() - began)
            with self._changed:
                self._records -= sum(waiting.weight for waiting in batch)
                self._changed.notify_all()
                self._changed.wait_for(lambda: self._stopped, pause)

    def _take(self) -> list[PendingRecords] | None:
        """The records that are compared together next, all of one shadow; None after `stop`."""
        with self._changed:
            self._asleep = True
            self._changed.wait_for(lambda: self._stopped or self._waiting)
            self._asleep = False
            self._changed.wait_for(lambda: self._stopped, self._gather)
            if self._stopped:
                return None
            batch = [self._waiting.popleft()]
            rows = batch[0].table.rows
            while self._waiting and self._waiting[0].shadow is batch[0].shadow:
                rows += self._waiting[0].table.rows
                if rows > BATCH:
                    break
                batch.append(self._waiting.popleft())
            return batch


class Shadow:
    """A candidate beside a detector that serves: one comparison, of these two as they are."""

    def __init__(self, live: Detector, candidate: Detector, thread: ShadowThread) -> None:
        self.candidate = candidate
        self.unfit = unfit(live.schema, candidate.schema)
        self.weight = live.modality.weight
        """What a record counts as, among those that wait."""
        self.since = datetime.now(UTC)
        self.comparison = Comparison()
        self._thread = thread
        self._failed = False

    def offer(self, table: Table, verdicts: Verdicts) -> None:
        """Have records compared that were just judged, later or, where too many wait, never. This never waits."""
        if self.unfit is not None:
            self.comparison.reject(table.rows)
            return
        for start in range(0, table.rows, BATCH):  # of many records those that there is room for
            piece, rows = cut(table, start, start + BATCH), slice(start, start + BATCH)
            if not self._thread.put(PendingRecords(self, piece, verdicts.p_value[rows], verdicts.anomaly[rows])):
                self.comparison.drop(piece.rows)

    def compare(self, batch: list[PendingRecords]) -> None:
        """Judge records and add up the verdicts of both versions; the first failure of a candidate is logged."""
        table = join([waiting.table for waiting in batch])
        try:
            verdicts = self.candidate.score(table)
        except Exception:  # whatever it is, the other shadows go on
            self.comparison.drop(table.rows)
            if not self._failed:
                place = {"model": self.candidate.name, "version": self.candidate.version}
                log.exception("shadow failed", extra={"fields": place})
            self._failed = True
            return
        p_value = np.concatenate([waiting.p_value for waiting in batch])
        anomaly = np.concatenate([waiting.anomaly for waiting in batch])
        self.comparison.add(p_value, anomaly, verdicts.p_value, verdicts.anomaly)


class ShadowPair(NamedTuple):
    """A detector that serves, and what is in its shadow."""

    live: Detector
    shadow: Shadow


class ShadowInfo(Findings):
    """How the version in the shadow compares with the one that serves, on the records that both judged."""

    name: str
    live: int = Field(description="the version that serves")
    shadow: int = Field(description="the version in its shadow")
    since: datetime = Field(description="when the comparison began: with either of the two, or with another threshold")
    compared: int
    rejected: int = Field(description="records that do not fit the version in the shadow")
    dropped: int = Field(description="records that were not compared because too many waited")
    unfit: str | None = Field(description="why no record fits; null where they do")


def describe_shadow(live: Detector, shadow: Shadow) -> ShadowInfo:
    """How the version in the shadow compares with the live one up to now."""
    findings = describe_comparison(shadow.comparison, shadow.candidate.calibration.target_fpr)
    tally = shadow.comparison.tally()
    return ShadowInfo(
        **findings.model_dump(),
        name=live.name,
        live=live.version,
        shadow=shadow.candidate.version,
        since=shadow.since,
        compared=tally.compared,
        rejected=tally.rejected,
        dropped=tally.dropped,
        unfit=shadow.unfit,
    )


def unfit(live: Schema, candidate: Schema) -> str | None:
    """Why the records of one schema do not fit another; None if they do."""
    there = {column.name: column for column in live.fields}
    ignored = {column.name for column in candidate.left_out}
    for column in candidate.fields:
        other = there.pop(column.name, None)
        if other is None:
            return f"it needs the field {column.name!r}, which the serving version does not look at"
        if type(other) is not type(column):
            return f"it reads the field {column.name!r} as another kind than the serving version does"
        if difference := column.differs(other):
            return difference
    extra = sorted(there.keys() - ignored)
    return f"it has no field {extra[0]!r}, which the serving version needs" if extra else None


class ShadowCollector(Collector):
    """Exposes the comparisons that are going on; each that begins, begins at 0."""

    shadows: Sequence[Shadow] = ()

    def collect(self) -> Iterator[Metric]:
        records = CounterMetricFamily(
            "kilter_shadow_records",
            "Records that the version in the shadow was to judge as well, by result: both_normal, both_anomalous, "
            "only_live or only_shadow flagged; rejected because they do not fit it; dropped because too many waited. "
            "They are none of kilter_records_total. The alerts KilterShadowDisagrees and KilterShadowBlind, and the "
            "dashboard.",
            labels=(*MODEL, "result"),
        )
        differences = HistogramMetricFamily(
            "kilter_shadow_p_value_difference",
            "Sizes of the differences between the p-values of the version in the shadow and the one that serves. "
            "Dashboard: how far apart their verdicts are.",
            labels=MODEL,
        )
        for shadow in self.shadows:
            labels = shadow.candidate.name, str(shadow.candidate.version)
            tally = shadow.comparison.tally()
            for result in ("both_normal", "both_anomalous", "only_live", "only_shadow", "rejected", "dropped"):
                records.add_metric((*labels, result), getattr(tally, result))
            differences.add_metric(labels, tally.apart, tally.apart_sum)
        yield from (records, differences)
