"""Workplaces that are lost, and do work twice."""

import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pytest

from kilter.service.detector import Detector
from kilter.service.formats.partial import UnfinishedError
from kilter.service.formats.workplaces import Cluster, Workplace
from tests.support.detectors import detector
from tests.support.killed import score

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


def go_on_after_losses(stated: Path, out: Path, seed: int, stops: Iterable[tuple[bool, int]], blocks: int) -> None:
    """Score a folder to its end, after losses of either engine: by workplaces before a result, or here before a block.

    Of the moments of `stops` one here is so many blocks.
    """
    resume = False
    for by_units, moment in stops:
        with suppress(UnfinishedError, KeyboardInterrupt):
            if by_units:
                score([stated], out, cluster=Shuffled(seed, moment), resume=resume)
            else:
                score([stated], out, watch=stopping(blocks * moment), resume=resume, jobs=1)
        if (out / "_SUCCESS").exists():
            break
        resume = (out / "_partial").exists()
    score([stated], out, cluster=Shuffled(seed) if seed % 2 == 0 else None, resume=True)


def stopping(blocks: int) -> Callable[[object, object], None]:
    """A watch that interrupts after some blocks."""
    left = iter(range(blocks))

    def watch(tally: object, share: object) -> None:
        if next(left, None) is None:
            raise KeyboardInterrupt

    return watch
