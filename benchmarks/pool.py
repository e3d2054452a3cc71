"""Spreads measurements over processes, each on one thread, and hands back what they find as they finish."""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from typing import TypeVar

Task = TypeVar("Task")
Found = TypeVar("Found")

THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "POLARS_MAX_THREADS")


def spread(work: Callable[[Task], Found], tasks: Sequence[Task], jobs: int) -> Iterator[tuple[Task, Found]]:
    """Each task with what `work` made of it, in the order in which they finish, and a line on progress for each.

    `work` is a function of a module. What it raises is raised here.
    """
    # Libraries read these when they are imported, which happens in the new processes.
    os.environ.update(dict.fromkeys(THREADS, "1"))
    began = time.monotonic()
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
        waiting = {pool.submit(work, task): task for task in tasks}
        try:
            for done, future in enumerate(as_completed(waiting), 1):
                yield waiting[future], future.result()
                print(f"[{time.monotonic() - began:6.0f} s] {done}/{len(tasks)} {waiting[future]}", flush=True)
        finally:
            pool.shutdown(cancel_futures=True)
