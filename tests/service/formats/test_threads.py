"""A map over threads gives what the built-in one does, in bounded memory."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.formats.threads import AHEAD, map_in_pool, map_in_threads, usable_cores


@given(st.lists(st.integers(0, 3), max_size=20), st.integers(1, 4))
def test_results_come_in_their_order(milliseconds: list[int], threads: int) -> None:
    """However long each takes."""

    def work(item: tuple[int, int]) -> int:
        time.sleep(item[1] / 1000)
        return item[0]

    assert list(map_in_threads(threads)(work, enumerate(milliseconds))) == [*range(len(milliseconds))]


def test_few_items_are_taken_before_they_are_wanted() -> None:
    """So that memory is bounded however slow what follows is; all are taken by one thread."""
    taken: list[int] = []
    callers = set()

    def items() -> Iterator[int]:
        for i in range(50):
            taken.append(i)
            callers.add(threading.get_ident())
            yield i

    results = map_in_threads(3)(lambda item: item, items())
    for i, result in enumerate(results):
        assert result == i
        assert len(taken) <= i + 3 + AHEAD
    assert callers == {threading.get_ident()}


def test_an_error_ends_the_work() -> None:
    """It is raised where its result would have come, and nothing more is begun."""

    def work(item: int) -> int:
        if item == 5:
            raise ValueError("five")
        return item

    before = {*threading.enumerate()}
    results = map_in_threads(2)(work, iter(range(1000)))
    assert [next(results) for _ in range(5)] == [*range(5)]
    with pytest.raises(ValueError, match="five"):
        next(results)
    assert not {*threading.enumerate()} - before


def test_there_is_a_core() -> None:
    """At least one."""
    assert usable_cores() >= 1


def test_threads_that_are_shared_are_left_as_they_were() -> None:
    """Several maps over them go on side by side, each with so many items in work, in its order; they end none."""
    with ThreadPoolExecutor(2) as pool:
        taken: list[int] = []

        def items() -> Iterator[int]:
            for i in range(9):
                taken.append(i)
                yield i

        one, other = (map_in_pool(pool, 3)(str, items()) for _ in range(2))
        assert [next(one), next(other), next(one)] == ["0", "0", "1"]
        assert len(taken) == 7
        one.close()  # type: ignore[attr-defined]
        assert [*other] == [*"12345678"]
        assert pool.submit(str, 1).result() == "1"
