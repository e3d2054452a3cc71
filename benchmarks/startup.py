"""How soon a Kilter with one model is ready, and what it weighs."""

import time
from pathlib import Path

import numpy as np

from benchmarks.load import Request, load, write
from benchmarks.markdown import number, table
from benchmarks.servers.contenders import kilter
from benchmarks.servers.model import records


def startup(models: Path, scratch: Path, times: int) -> str:
    """Start it some times, and say how long it took and how much memory it held."""
    found = []
    for _ in range(times):
        began = time.perf_counter()
        server = kilter(models, scratch)
        with server.process:
            server.process.wait_for(server.base + server.ready)
            seconds, ready_mb = time.perf_counter() - began, server.process.resident_mb()
            sent = records(64)
            requests = write(scratch / "start.txt", (Request(server.path, server.body([one])) for one in sent))
            load(server.base, requests, 16, 2, server.token)
            found.append((seconds, ready_mb, server.process.resident_mb()))
    columns = np.array(found).T
    what = ("seconds from the command to ready", "resident MB when ready", "resident MB after 2 s of load")
    rows = [
        [name, *(number(float(f(column)), digits) for f in (np.median, np.min, np.max))]
        for name, column, digits in zip(what, columns, (2, 1, 1), strict=True)
    ]
    note = f"`kilter serve` with one model, {times} times, the interpreter's own start included."
    return "\n\n".join(["# Start", note, table(("", "median", "least", "most"), rows)])
