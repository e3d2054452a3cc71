"""The shadow: a candidate judges what was judged, out of the way of whoever waits for an answer."""

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from kilter.service.detector import Schema
from kilter.service.detector.arrays import Matrix
from kilter.service.detector.columns import CategoricalColumn, NumericColumn, TimestampColumn
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.schema import LeftOut
from kilter.service.models.registry import Registry, Serving
from kilter.service.models.shadow import PendingRecords, Shadow, ShadowThread, unfit
from kilter.service.monitoring.metrics import Metrics
from tests.support.picture_model import dark, picture_detector, spotted
from tests.support.pictures import COLOUR
from tests.support.serving import RECORD, SCHEMA, STRANGE, Broken, Squares, detector


class Gate(Squares):
    """A program that waits until it is let go on."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.begun = threading.Event()

    def run(self, x: Matrix, outputs: Sequence[str]) -> list[npt.NDArray[np.float64]]:
        self.begun.set()
        assert self.open.wait(30)
        return super().run(x, outputs)


@pytest.fixture(name="thread")
def _thread() -> Iterator[ShadowThread]:
    thread = ShadowThread(most=50, rest=0.0, gather=0.0)
    yield thread
    thread.stop()


def judge(serving: Serving, *records: dict[str, Any]) -> None:
    """What the engine does with records that fit."""
    table = serving.detector.table(records)
    serving.judged(table, serving.detector.score(table), 0.0)


def offered(shadow: Shadow, count: int) -> None:
    """Offer so many records, one at a time."""
    live = detector()
    for _ in range(count):
        table = live.table([RECORD])
        shadow.offer(table, live.score(table))


def test_what_is_judged_is_compared_and_stays_out_of_the_records() -> None:
    """Counts and p-values are those that the candidate gives on its own; a version twice as wide differs as it must."""
    metrics = Metrics()
    registry = Registry(metrics, [detector()])
    candidate = detector(version=4).at_rate(0.5)
    registry.cast(candidate)
    (serving,) = registry.all
    mild = RECORD | {"amount": 220.0}
    judge(serving, RECORD, STRANGE)
    judge(serving, mild)
    assert registry.shadow_thread.idle(30)
    tally = registry.shadowed("shop").shadow.comparison.tally()
    assert (tally.both_normal, tally.both_anomalous, tally.only_live, tally.only_shadow) == (1, 1, 0, 1)
    assert tally.difference == 0
    sample = metrics.registry.get_sample_value
    labels = {"model": "shop", "version": "4"}
    assert sample("kilter_shadow_records_total", labels | {"result": "only_shadow"}) == 1
    assert sample("kilter_shadow_p_value_difference_count", labels) == 3
    assert sample("kilter_records_total", labels | {"result": "normal"}) is None
    assert sample("kilter_records_total", {"model": "shop", "version": "3", "result": "normal"}) == 2
    registry.uncast("shop")
    assert sample("kilter_shadow_records_total", labels | {"result": "only_shadow"}) is None
    registry.shadow_thread.stop()


def test_batches_are_compared_as_single_records_are(thread: ShadowThread) -> None:
    """However they were put together."""
    rng = np.random.default_rng(0)
    live = detector()
    records = [RECORD | {"amount": float(amount)} for amount in rng.normal(150, 120, 40)]
    shadow = Shadow(live, detector(version=4, size=399), thread)
    for start in range(0, 40, 7):
        table = live.table(records[start : start + 7])
        shadow.offer(table, live.score(table))
    assert thread.idle(30)
    other = shadow.candidate.score(records)
    pairs = shadow.comparison.pairs()
    assert np.array_equal(pairs[:, 0], live.score(records).p_value)
    assert np.array_equal(pairs[:, 1], other.p_value)


def test_records_are_dropped_when_too_many_wait(thread: ShadowThread) -> None:
    """Whoever offers them never waits; those that were taken are compared once there is time."""
    gate = Gate()
    shadow = Shadow(detector(), detector(version=4, program=gate), thread)
    offered(shadow, 1)
    assert gate.begun.wait(30)
    offered(shadow, 60)
    assert shadow.comparison.tally().dropped == 11
    gate.open.set()
    assert thread.idle(30)
    tally = shadow.comparison.tally()
    assert (tally.compared, tally.dropped) == (50, 11)


def test_a_candidate_that_fails_harms_nobody(thread: ShadowThread, caplog: pytest.LogCaptureFixture) -> None:
    """It is told once, without a record's values, its records count as dropped, and other shadows go on."""
    broken = Shadow(detector(), detector(version=4, program=Broken()), thread)
    sound = Shadow(detector(), detector(version=5), thread)
    for _ in range(3):
        offered(broken, 1)
        offered(sound, 1)
        assert thread.idle(30)
    assert broken.comparison.tally().dropped == 3
    assert sound.comparison.tally().compared == 3
    assert [record.message for record in caplog.records] == ["shadow failed"]


def test_after_the_end_nothing_is_taken(thread: ShadowThread) -> None:
    """It is counted as dropped."""
    shadow = Shadow(detector(), detector(version=4), thread)
    thread.stop()
    offered(shadow, 2)
    assert shadow.comparison.tally().dropped == 2
    table = detector().table([RECORD])
    assert not thread.put(PendingRecords(shadow, table, np.zeros(1), np.zeros(1, bool)))


def changed(**columns: Any) -> Schema:
    """The schema with columns replaced, or left out where they are None."""
    found = [columns.get(column.name, column) for column in SCHEMA.columns]
    return msgspec.structs.replace(SCHEMA, columns=tuple(column for column in found if column is not None))


@pytest.mark.parametrize(
    ("candidate", "why"),
    [
        (SCHEMA, None),
        (changed(colour=CategoricalColumn("colour", ("green",), (9,))), None),
        (changed(colour=None), "it has no field 'colour', which the serving version needs"),
        (msgspec.structs.replace(changed(colour=None), left_out=(LeftOut("colour", "constant"),)), None),
        (
            msgspec.structs.replace(SCHEMA, aside=(NumericColumn("weight", 0.0, 1.0, 0.0, 1.0),)),
            "it needs the field 'weight', which the serving version does not look at",
        ),
        (
            changed(items=CategoricalColumn("items", ("1",), (9,))),
            "it reads the field 'items' as another kind than the serving version does",
        ),
        (
            changed(at=TimestampColumn("at", "unix_s", ("hour",))),
            "it reads the times of 'at' as unix_s, the serving version as iso",
        ),
    ],
)
def test_a_candidate_takes_the_records_or_it_is_told_why_not(
    candidate: Schema, why: str | None, thread: ShadowThread
) -> None:
    """A request that the serving version takes, the candidate must take: fields, their kinds, forms of times."""
    assert unfit(SCHEMA, candidate) == why


def test_records_that_do_not_fit_are_counted(thread: ShadowThread) -> None:
    """None of them is compared."""
    other = msgspec.structs.replace(SCHEMA, aside=(NumericColumn("weight", 0.0, 1.0, 0.0, 1.0),))
    shadow = Shadow(detector(), detector(schema=other, version=4), thread)
    offered(shadow, 3)
    tally = shadow.comparison.tally()
    assert (tally.rejected, tally.compared) == (3, 0)


def test_pictures_are_compared_too(thread: ShadowThread) -> None:
    """Where both versions see them at the same size."""
    live, candidate = picture_detector(), picture_detector(version=3)
    shadow = Shadow(live, candidate, thread)
    table = live.table(np.stack([dark(), spotted(16, 16)]))
    shadow.offer(table, live.score(table))
    assert thread.idle(30)
    tally = shadow.comparison.tally()
    assert (tally.both_normal, tally.both_anomalous, tally.compared) == (1, 1, 2)
    assert unfit(live.schema, picture_detector(column=COLOUR).schema) == (
        "it sees pictures of the shape (16, 16, 3), the serving version of (16, 16, 1)"
    )
    assert unfit(live.schema, SCHEMA) is not None


def test_large_pictures_that_wait_count_as_several_records() -> None:
    """Memory is what bounds them."""
    thread = ShadowThread(most=50)
    large = picture_detector(column=ImageColumn("image", 256, 256, 3))
    shadow = Shadow(large, large, thread)
    assert shadow.weight == 24
    thread.stop()
    waiting = PendingRecords(shadow, large.table(np.zeros((2, 9, 9))), np.ones(2), np.zeros(2, bool))
    assert waiting.weight == 48


def test_of_many_records_those_are_compared_that_there_is_room_for() -> None:
    """And the others dropped: a block of a stream is larger than what may wait."""
    thread = ShadowThread(most=2500, rest=0.0, gather=0.0)
    try:
        shadow = Shadow(detector(), detector(version=4), thread)
        table = detector().table([RECORD] * 5000)
        shadow.offer(table, detector().score(table))
        assert thread.idle(30)
        tally = shadow.comparison.tally()
        assert (tally.compared + tally.dropped, tally.compared >= 2048) == (5000, True)
    finally:
        thread.stop()
