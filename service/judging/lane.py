"""The small requests for one model that wait to be judged, and how a batch is made of them."""

from collections import deque
from typing import NamedTuple

from kilter.service.judging.job import Job
from kilter.service.judging.pace import Pace

BATCH = 1024
"""Records that are judged together at most: more go no faster."""


class Taken(NamedTuple):
    """Jobs that are to be a batch, the number of their records, and those that were passed over: their time is up."""

    jobs: list[Job]
    rows: int
    passed: list[Job]


class Lane:
    """The small requests for one model that wait to be a batch."""

    __slots__ = ("busy", "pace", "waiting")

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.waiting: deque[Job] = deque()
        self.busy = False
        """Whether a thread works on it, which then is the one that takes from it."""

    def take(self) -> Taken:
        """The next batch: as many jobs as the pace allows, and at least one, if there is one in its time."""
        jobs: list[Job] = []
        passed: list[Job] = []
        rows, most = 0, min(BATCH, self.pace.most)
        waiting = self.waiting
        while waiting and (not jobs or rows + waiting[0].rows <= most):
            job = waiting.popleft()
            if job.due():
                jobs.append(job)
                rows += job.rows
            else:
                passed.append(job)
        return Taken(jobs, rows, passed)
