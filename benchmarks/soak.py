"""Kilter under mixed load for long: whether memory and response times stay as they are."""

import json
from pathlib import Path

from benchmarks.load import Load, Request, load, write
from benchmarks.markdown import number, table
from benchmarks.servers.contenders import Contender, kilter
from benchmarks.servers.model import matrix_body, records

CONNECTIONS = 16
MINUTE = 60


def soak(models: Path, scratch: Path, minutes: int, seconds: int = MINUTE) -> str:
    """Load a server for some minutes of so many seconds, and say what each was like."""
    server = kilter(models, scratch)
    rows: list[tuple[Load, float]] = []
    with server.process:
        server.process.wait_for(server.base + server.ready)
        requests = write(scratch / "mixed.txt", mixed(server))
        for minute in range(minutes):
            found = load(server.base, requests, CONNECTIONS, seconds, server.token, statuses=True)
            rows.append((found, server.process.resident_mb()))
            print(f"minute {minute + 1}: p99 {found.p99_ms:.1f} ms, {rows[-1][1]:.1f} MB", flush=True)
    weights, slow = [weight for _, weight in rows], [found.p99_ms for found, _ in rows]
    lines = [
        [
            str(minute),
            number(found.per_second, 0),
            number(found.median_ms, 2),
            number(found.p99_ms, 2),
            number(found.max_ms, 0),
            str(found.refused),
            str(found.turned_away),
            str(found.failed + found.broken + found.timeouts),
            number(weight, 1),
        ]
        for minute, (found, weight) in enumerate(rows, 1)
    ]
    head = ("minute", "requests/s", "median ms", "p99 ms", "max ms", "4xx", "503", "other", "resident MB")
    summed = (
        f"{minutes} minutes of mixed load (single records, hundreds, CSV, reasons, the Open Inference Protocol, and "
        f"mistakes of every kind) over {CONNECTIONS} connections. Resident memory from the first minute to the last: "
        f"{100 * (weights[-1] / weights[0] - 1):+.2f} %, at most {100 * (max(weights) / weights[0] - 1):+.2f} %. "
        f"p99 by minute: {min(slow):.1f} to {max(slow):.1f} ms."
    )
    return "\n\n".join(["# Soak", summed, table(head, lines)])


def mixed(server: Contender) -> list[Request]:
    """Requests of many kinds, good and bad; the good ones are most of them."""
    sent, path = records(400, seed=2), server.path
    names = list(sent[0])
    lines = [",".join(names), *(",".join(map(str, record.values())) for record in sent[:50])]
    bad = sent[0] | {"x0": "seventeen", "x1": None}
    good = [
        *(Request(path, json.dumps(record)) for record in sent[:30]),
        *(Request(f"{path}?reasons=3", server.body(sent[i : i + 4])) for i in range(0, 24, 4)),
        *(Request(path, server.body(sent[i : i + 100])) for i in range(0, 400, 100)),
        Request(path, "\n".join(lines) + "\n", "text/csv"),
        Request(f"/v2/models/{path.split('/')[3]}/infer", matrix_body(sent[:8])),
        Request("/v1/models", "", method="GET"),
        Request("/metrics", "", method="GET"),
    ]
    wrong = [
        Request(path, json.dumps({"records": [sent[0], bad, {"x0": 1.0}]})),
        Request(path, '{"records": ['),
        Request(path, "[1, 2"),
        Request(path, "x0,x1\n1,2\n", "text/csv"),
        Request(path, "{}", "application/xml"),
        Request(f"{path}?reasons=many", server.body(sent[:1])),
        Request("/v1/models/nobody/score", server.body(sent[:1])),
        Request("/nowhere", "", method="GET"),
    ]
    # In an order in which mistakes come between the others.
    return [request for i, request in enumerate(good) for request in (request, *wrong[i // 5 : i // 5 + (i % 5 == 4)])]
