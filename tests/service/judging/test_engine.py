"""The engine: batches that change nothing, bounds, deadlines, and clients that leave."""

import asyncio
import gc
import threading
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import ClientDisconnect

from kilter.service.detector import Detector, Verdicts
from kilter.service.detector.arrays import Matrix
from kilter.service.detector.inputs import Table
from kilter.service.judging.admission import Admission
from kilter.service.judging.batch import INLINE_SECONDS, Job, Pace, Wanted, judge_all
from kilter.service.judging.engine import ANSWERED, Engine
from kilter.service.models.registry import Registry, Serving
from kilter.service.monitoring.metrics import Metrics
from kilter.service.problems import BAD_RECORDS, OUT_OF_TIME, OVERLOADED, RequestError
from kilter.service.request import Notes
from tests.support.serving import RECORD, Squares, detector

Floats = npt.NDArray[np.float64]
ALONE = Wanted()
amounts = st.none() | st.floats(-1e6, 1e6)


class Counting(Squares):
    """A program that remembers the sizes of its batches, and fails on a number that it does not like."""

    def __init__(self, seconds: float = 0.0, disliked: float | None = None) -> None:
        super().__init__(seconds)
        self.sizes: list[int] = []
        self._disliked = disliked

    def run(self, x: Matrix, outputs: Sequence[str]) -> list[Floats]:
        self.sizes.append(len(x))
        if self._disliked is not None and (x[:, 0] == self._disliked).any():
            raise RuntimeError("no")
        return super().run(x, outputs)


class Setting:
    """An engine and a model that serves, to be used within one event loop."""

    def __init__(
        self,
        program: Squares | None = None,
        records: int = 1000,
        size: int = 10_000,
        seconds: float = 30.0,
        learned: tuple[float, int] = (1e-4, 10),
    ):
        self.metrics = Metrics()
        self.serving: Serving = Registry(self.metrics, [detector(program=program)]).all[0]
        self.detector: Detector = self.serving.detector
        self.engine = Engine(Admission(records, size, self.metrics), self.metrics, seconds)
        for wanted in (Wanted(), Wanted(1), Wanted(keep=())):
            self.engine._pace(self.serving, wanted).learn(*learned)

    def table(self, values: Sequence[float | None]) -> Table:
        return self.detector.table([RECORD | {"amount": value} for value in values])

    async def judge(self, values: Sequence[float | None], wanted: Wanted = ALONE, **options: Any) -> Verdicts:
        """The verdicts on records that differ by a number."""
        notes = Notes(deadline=options.pop("deadline", None))
        size = options.pop("size", 10)
        (verdicts,) = await self.engine.judge(self.serving, [self.table(values)], wanted, notes, size=size, **options)
        return verdicts

    def shed(self, reason: str) -> float | None:
        return self.metrics.registry.get_sample_value("kilter_requests_shed_total", {"reason": reason})


def same(one: Verdicts, other: Verdicts) -> bool:
    """Whether two verdicts agree to the last bit."""
    parts = zip(one[:3], other[:3], strict=True)
    return all(np.array_equal(a, b, equal_nan=True) for a, b in parts) and one.reasons == other.reasons


@given(
    st.lists(st.tuples(st.lists(amounts, min_size=1, max_size=4), st.sampled_from([0, 0, 2])), min_size=1, max_size=8)
)
def test_together_each_request_gets_what_it_gets_alone(requests: list[tuple[list[float | None], int]]) -> None:
    """Bit by bit, with reasons and without; those that wish for the same are one batch."""
    counting = Counting()
    setting = Setting(counting)

    async def together() -> list[Verdicts]:
        return list(await asyncio.gather(*(setting.judge(values, Wanted(reasons)) for values, reasons in requests)))

    found = asyncio.run(together())
    batches = [sum(len(values) for values, reasons in requests if not reasons)]
    if batches[0]:
        assert counting.sizes.count(batches[0]) >= 1
    for (values, reasons), verdicts in zip(requests, found, strict=True):
        assert same(verdicts, setting.detector.score(setting.table(values), reasons=reasons))


def test_what_arrives_together_is_one_batch() -> None:
    """And is counted as one."""
    counting = Counting()
    setting = Setting(counting)

    async def together() -> None:
        await asyncio.gather(*(setting.judge([float(i)]) for i in range(7)))

    asyncio.run(together())
    assert counting.sizes == [7]
    labels = {"model": "shop", "version": "3"}
    assert setting.metrics.registry.get_sample_value("kilter_batch_records_count", labels) == 1
    assert setting.metrics.registry.get_sample_value("kilter_batch_records_sum", labels) == 7


def test_a_bad_record_disturbs_nobody_else() -> None:
    """Neither one that does not fit, nor one that brings the detector down."""
    setting = Setting(Counting(disliked=5.0))  # the feature of 100

    async def together() -> Sequence[Any]:
        notes = Notes()
        bad = setting.detector.table([RECORD, RECORD | {"amount": "much"}])
        return await asyncio.gather(
            setting.judge([1.0]),
            setting.engine.judge(setting.serving, [bad], ALONE, notes, size=1),
            setting.judge([100.0]),
            setting.judge([2.0]),
            return_exceptions=True,
        )

    first, refused, failed, last = asyncio.run(together())
    assert same(first, setting.detector.score(setting.table([1.0])))
    assert same(last, setting.detector.score(setting.table([2.0])))
    assert isinstance(refused, RequestError)
    assert refused.kind is BAD_RECORDS
    assert [(problem.row, problem.field) for problem in refused.problems] == [(1, "amount")]
    assert isinstance(failed, RuntimeError)


@pytest.mark.parametrize(("records", "size", "reason"), [(3, 10_000, "records"), (1000, 25, "bytes")])
def test_beyond_what_may_be_in_flight_a_request_is_told_to_come_back(records: int, size: int, reason: str) -> None:
    """At once, by what is too much; what is in flight is answered, and afterwards there is room again."""
    setting = Setting(records=records, size=size)

    async def flood() -> list[Any]:
        return await asyncio.gather(*(setting.judge([1.0, 2.0]) for _ in range(4)), return_exceptions=True)

    found = asyncio.run(flood())
    refused = [answer for answer in found if isinstance(answer, RequestError)]
    assert len(refused) == (3 if reason == "records" else 2)
    assert {answer.kind for answer in refused} == {OVERLOADED}
    assert all(answer.headers == {"Retry-After": "1"} for answer in refused)
    assert setting.shed(reason) == len(refused)
    assert (setting.engine.admission.records, setting.engine.admission.bytes) == (0, 0)
    assert len(asyncio.run(setting.judge([1.0, 2.0])).score) == 2


def test_a_request_larger_than_the_bound_is_let_in_alone() -> None:
    """The limits of a request are others."""
    assert len(asyncio.run(Setting(records=1, size=1).judge([1.0, 2.0], size=100)).score) == 2


def test_a_request_whose_time_is_over_is_not_judged() -> None:
    """One that waits longer than its client is dropped before its batch begins."""
    counting = Counting()
    setting = Setting(counting)
    with pytest.raises(RequestError) as caught:
        asyncio.run(setting.judge([1.0], deadline=time.monotonic() - 1))
    assert caught.value.kind is OUT_OF_TIME
    assert counting.sizes == []
    assert setting.shed("deadline") == 1


def slow(seconds: float = 0.2) -> Setting:
    """A setting whose model is known to be slow."""
    return Setting(Counting(seconds), learned=(seconds, 1))


def test_no_answer_comes_after_its_deadline() -> None:
    """A batch that takes longer than a request's time goes on, and the request is answered in time."""
    answered = threading.Event()

    class Held(Counting):
        def run(self, x: Matrix, outputs: Sequence[str]) -> list[Floats]:
            assert answered.wait(30), "the answer waited for the batch"
            return super().run(x, outputs)

    held = Held()
    setting = Setting(held, learned=(INLINE_SECONDS * 2, 1))

    async def ask() -> None:
        with pytest.raises(RequestError, match="time"):
            await setting.judge([1.0], deadline=time.monotonic() + 0.5)
        assert held.sizes == []
        answered.set()
        while not held.sizes:
            await asyncio.sleep(0.001)

    asyncio.run(ask())


def test_the_loop_goes_on_while_a_slow_model_works() -> None:
    """And what arrives meanwhile is the next batch."""
    setting = slow(0.08)
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    async def together() -> None:
        ticking = asyncio.create_task(tick())
        first = asyncio.create_task(setting.judge([1.0]))
        await asyncio.sleep(0.05)
        await asyncio.gather(first, *(setting.judge([float(i)]) for i in range(5)))
        ticking.cancel()

    asyncio.run(together())
    assert isinstance(program := setting.detector.scorer.program, Counting)
    assert program.sizes == [1, 2, 3]
    assert ticks > 5
    assert INLINE_SECONDS < 0.08


@pytest.mark.parametrize("before", [[], ["http.request"]])
def test_the_work_of_a_client_that_left_is_dropped(before: list[str]) -> None:
    """Its records are not judged, and its place is free, whether its body was received or found at hand."""
    setting = slow()
    coming = iter(before)

    async def receive() -> dict[str, Any]:
        if (kind := next(coming, None)) is not None:
            return {"type": kind}
        await asyncio.sleep(0.02)
        return {"type": "http.disconnect"}

    async def leave() -> None:
        first = asyncio.create_task(setting.judge([1.0]))
        await asyncio.sleep(0.01)
        with pytest.raises(ClientDisconnect):
            await setting.judge([2.0], receive=receive)
        assert setting.engine.admission.records == 1
        await first

    asyncio.run(leave())
    assert isinstance(program := setting.detector.scorer.program, Counting)
    assert program.sizes == [1]
    assert setting.shed("left") == 1


@pytest.mark.parametrize("lazy", [True, False])
def test_a_long_request_is_judged_by_itself_in_its_order(lazy: bool) -> None:
    """Whether its tables are at hand or read on the way; problems are told with the rows of the whole."""
    setting = Setting(Counting())
    pieces = [setting.table([float(i) for i in range(200)]), setting.table([]), setting.table([7.0] * 100)]
    bad = setting.detector.table([RECORD | {"amount": "much"}])

    async def judge(tables: list[Table]) -> list[Verdicts]:
        given = (table for table in tables) if lazy else tables
        return await setting.engine.judge(setting.serving, given, ALONE, Notes(), size=0)

    found = asyncio.run(judge(pieces))
    assert [len(verdicts.score) for verdicts in found] == [200, 100]
    assert same(found[0], setting.detector.score(pieces[0]))
    with pytest.raises(RequestError) as caught:
        asyncio.run(judge([*pieces, bad]))
    assert [problem.row for problem in caught.value.problems] == [300]
    with pytest.raises(RequestError, match="no records"):
        asyncio.run(judge([setting.table([])]))


def test_what_cannot_be_answered_in_time_is_refused_at_once() -> None:
    """By what is in flight and how fast the model is; Retry-After tells the wait, and nothing is dropped later."""
    setting = Setting(Counting(), learned=(0.05, 1))

    async def flood() -> list[Any]:
        deadline = time.monotonic() + 10
        judging = (setting.judge([1.0], deadline=deadline) for _ in range(400))
        return await asyncio.gather(*judging, return_exceptions=True)

    found = asyncio.run(flood())
    refused = [answer for answer in found if isinstance(answer, RequestError)]
    assert 0 < len(found) - len(refused) <= 160  # of 0.05 s each, in four fifths of 10 s
    assert {answer.kind for answer in refused} == {OVERLOADED}
    waits = {int((answer.headers or {})["Retry-After"]) for answer in refused}
    assert waits <= set(range(1, 10))
    assert setting.shed("wait") == len(refused)
    assert setting.shed("deadline") == 0


def test_a_request_that_comes_alone_is_always_tried() -> None:
    """A model that was slow may have become fast, which only a batch can tell; before its body is read as well."""
    setting = Setting(Counting(), learned=(60.0, 1))

    async def one_by_one() -> None:
        for _ in range(3):
            notes = Notes(deadline=time.monotonic() + 5)
            setting.engine.turn_away(setting.serving, ALONE, notes)
            await setting.judge([1.0], deadline=notes.deadline)
        waiting = asyncio.create_task(setting.judge([1.0]))
        await asyncio.sleep(0)
        setting.engine._pace(setting.serving, ALONE).learn(60.0, 1)
        with pytest.raises(RequestError) as caught:
            setting.engine.turn_away(setting.serving, ALONE, Notes(deadline=time.monotonic() + 5))
        assert caught.value.kind is OVERLOADED
        assert caught.value.headers == {"Retry-After": "120"}
        await waiting

    asyncio.run(one_by_one())


@pytest.mark.parametrize(("learned", "first"), [((0.05, 1), 2), ((0.5, 1), 1), ((0.001, 1), 40)])
def test_a_batch_has_as_many_records_as_its_model_may_judge_at_a_time(learned: tuple[float, int], first: int) -> None:
    """At least one; all the others follow."""
    setting = Setting(Counting(), learned=learned)

    async def together() -> None:
        await asyncio.gather(*(setting.judge([float(i)]) for i in range(40)))

    asyncio.run(together())
    assert isinstance(program := setting.detector.scorer.program, Counting)
    assert program.sizes[0] == first
    assert sum(program.sizes) == 40


def test_nearest_normals_are_found_on_the_way() -> None:
    """Beside requests that wish for none; a fast model for these is not taken for a slow one."""
    setting = Setting()

    async def together() -> list[Verdicts]:
        values = [1.0, 9100.0]
        keeps = (None, (), ("amount",))
        return list(await asyncio.gather(*(setting.judge(values, Wanted(keep=keep)) for keep in keeps)))

    plain, free, kept = asyncio.run(together())
    record = RECORD | {"amount": 9100.0}
    assert plain.nearest_normal is None
    assert free.nearest_normal == [None, setting.detector.nearest_normal(record)]
    assert kept.nearest_normal == [None, setting.detector.nearest_normal(record, ["amount"])]
    paces = [setting.engine._pace(setting.serving, wanted) for wanted in (ALONE, Wanted(2), Wanted(2, ()))]
    assert len({*map(id, paces)}) == 3


@given(st.integers(2, 600), st.sampled_from([0, 2]), st.sampled_from([(0.05, 1), (0.5, 1), (0.1, 7)]))
def test_in_pieces_a_request_gets_what_it_gets_at_once(count: int, reasons: int, learned: tuple[float, int]) -> None:
    """One whose records are too many for a batch of its slow model is judged piece by piece, to the same verdicts."""
    setting = Setting(Counting(), learned=learned)
    values = [float(i % 97) for i in range(count)]
    found = asyncio.run(setting.judge(values, Wanted(reasons)))
    assert same(found, setting.detector.score(setting.table(values), reasons=reasons))


def test_a_request_that_has_ended_is_judged_no_further() -> None:
    """Between two pieces it is looked at; what was judged of it is not counted."""

    class Ending(Counting):
        job: Job

        def run(self, x: Matrix, outputs: Sequence[str]) -> list[Floats]:
            found = super().run(x, outputs)
            if len(self.sizes) == 3:
                self.job.done.cancel()
            return found

    program = Ending()
    setting = Setting(program)

    async def judge() -> list[Verdicts]:
        notes = Notes()
        program.job = Job([], 0, notes, time.monotonic() + 10, None, setting.metrics)
        slow = Mired()
        table = setting.table([1.0] * 50)
        found = judge_all(setting.serving, [table, table], ALONE, program.job, slow)
        assert notes.records == 0
        return found

    assert asyncio.run(judge()) == []
    assert program.sizes == [1, 1, 1]


class Mired(Pace):
    """The pace of a model that never gets faster than one record at a time."""

    def learn(self, seconds: float, rows: int) -> None:
        super().learn(max(seconds, 1.0), min(rows, 1))


def test_a_fault_beside_the_model_stops_nobody_else() -> None:
    """What fails while verdicts are counted fails its request, in a thread too, and the next ones are judged."""
    setting = Setting(Counting(), learned=(0.05, 1))
    broken = replace(setting.serving, metrics=cast(Any, None))

    async def both() -> list[Any]:
        table = setting.table([1.0])
        failed = [setting.engine.judge(broken, [table], ALONE, Notes(), size=1) for _ in range(3)]
        return await asyncio.gather(*failed, setting.judge([2.0]), return_exceptions=True)

    *failed, good = asyncio.run(both())
    assert all(isinstance(one, AttributeError) for one in failed)
    assert same(good, setting.detector.score(setting.table([2.0])))
    assert setting.engine.admission.records == 0


async def bad(setting: Setting) -> None:
    """A long request with a record that does not fit."""
    table = setting.detector.table([{"amount": 1.0}])
    await setting.engine.judge(setting.serving, iter([table]), ALONE, Notes(), size=1)


async def late(setting: Setting) -> None:
    """A request whose time runs out while it is judged."""
    await setting.judge([1.0], deadline=time.monotonic() + 0.01)


async def faulty(setting: Setting) -> None:
    """One on which the model fails."""
    await setting.judge([100.0])


async def gone(setting: Setting) -> None:
    """One whose client leaves."""

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    await setting.judge([1.0], receive=receive)


@pytest.mark.parametrize("fail", [bad, late, faulty, gone])
def test_nothing_of_a_request_that_fails_is_left(fail: Callable[[Setting], Awaitable[None]]) -> None:
    """Not even for the garbage collector: the records of many such requests would fill the memory until it comes by."""
    setting = Setting(Counting(0.05, disliked=5.0), learned=(0.05, 1))

    async def failed() -> bool:
        try:
            await fail(setting)
        except (RequestError, RuntimeError, ClientDisconnect):
            return True
        return False

    async def left() -> list[Any]:
        assert await failed()
        await asyncio.sleep(0.1)
        return [type(one) for one in there() if not any(one is other for other in before)]

    gc.collect()
    before = there()
    gc.disable()
    try:
        assert asyncio.run(left()) == []
    finally:
        gc.enable()


def there() -> list[Any]:
    """All jobs and tables that exist; `isinstance` would ask objects for their class, and some of torch's warn then."""
    return [one for one in gc.get_objects() if type(one) in (Job, Table)]


def test_many_are_answered_some_in_each_turn_of_the_loop() -> None:
    """So that probes and new connections come in between."""
    setting = Setting(Counting(0.05), records=2000, learned=(0.05, 1000))
    answered: list[int] = []
    """How many were, before each turn."""

    async def all_of_them() -> None:
        asked = [asyncio.ensure_future(setting.judge([float(i)], size=1)) for i in range(5 * ANSWERED)]
        while not all(one.done() for one in asked):
            answered.append(sum(one.done() for one in asked))
            await asyncio.sleep(0)

    asyncio.run(all_of_them())
    assert isinstance(program := setting.detector.scorer.program, Counting)
    assert program.sizes == [5 * ANSWERED]
    assert max(np.diff([*answered, 5 * ANSWERED])) <= ANSWERED
