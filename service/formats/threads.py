"""Applies a function to items in several threads, a bounded number at a time, and gives the results in their order."""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")
AHEAD = 2  # items that wait beyond those that are worked on, so that no thread does


class Map(Protocol):
    """Applies a function to items, here, in threads or on other machines, and gives the results in their order."""

    def __call__(self, function: Callable[[T], R], items: Iterable[T], /) -> Iterator[R]: ...


def usable_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def map_in_threads(threads: int) -> Map:
    """A map over so many threads; the items are taken, and the results given, in the thread that asks for them."""
    if threads == 1:
        return map

    def mapped(function: Callable[[T], R], items: Iterable[T], /) -> Iterator[R]:
        with ThreadPoolExecutor(threads, thread_name_prefix="kilter") as pool:
            yield from map_in_pool(pool, threads + AHEAD)(function, items)

    return mapped


def map_in_pool(pool: Executor, ahead: int) -> Map:
    """The same over threads that others use too, in which up to so many items wait or are worked on."""

    def mapped(function: Callable[[T], R], items: Iterable[T], /) -> Iterator[R]:
        waiting: deque[Future[R]] = deque()
        try:
            for item in items:
                waiting.append(pool.submit(function, item))
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in waiting:
                one.cancel()

    return mapped
