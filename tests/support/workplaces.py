"""Workplaces that are lost, and do work twice."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import pytest

from kilter.service.detector import Detector
from kilter.service.formats.partial import UnfinishedError
from kilter.service.formats.workplaces import Cluster, Workplace
from tests.support.detectors import detector

T = TypeVar("T")
R = TypeVar("R")


class Here(Workplace):
    """This process; it ends before a block of some number."""

    name = "the worker here"

    def __init__(self, blocks: int = 10**9) -> None:
        self._blocks = blocks

    @property
    def detector(self) -> Detector:
        return detector()

    def check(self) -> None:
        self._blocks -= 1
        if self._blocks < 0:
            raise UnfinishedError("it was ended")


class Shuffled(Cluster):
    """Does all work here, in an order by chance and some of it twice, and is lost before a result of some number."""

    def __init__(self, seed: int, results: int = 10**9) -> None:
        self._rng, self._results = random.Random(seed), results
        self.done = 0

    def check(self, folder: Path, inputs: Sequence[Path]) -> None:
        assert folder.is_absolute()
        assert folder.is_dir()
        assert all(path.is_file() for path in inputs)

    def run(self, work: Callable[[Workplace, T], R], items: Iterable[T]) -> Iterator[tuple[int, R]]:
        pieces = [*enumerate(items)]
        self._rng.shuffle(pieces)
        for place, item in pieces:
            if self._rng.random() < 0.3:
                work(Here(), item)  # by a worker who was thought lost
            if self._rng.random() < 0.3:
                with pytest.raises(UnfinishedError, match="it was ended"):
                    work(Here(0), item)
            result = work(Here(), item)
            if self.done >= self._results:
                raise UnfinishedError("the scheduler is lost")
            self.done += 1
            yield place, result
