"""What the benchmark of servers reads, compares and sends."""

from argparse import Namespace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import load
from benchmarks.load import Load, Request
from benchmarks.servers.process import Process, free_ports
from benchmarks.servers.verdict import NUMBERS, Judge
from benchmarks.serving import CASES, Measured, report

FOUND = (
    '{"requests": 300, "seconds": 2.0, "not_2xx": 1, "broken": 0, "timeouts": 0, "median_ms": 1.5, "p99_ms": 3.0, '
    '"max_ms": 9.0, "accepted": 0, "turned_away": 0, "refused": 0, "failed": 0}'
)


def test_what_wrk_prints_is_read() -> None:
    """The line of the script, wherever it stands; anything else is told as it came."""
    found = load.parse(f"Running 2s test\n\nFOUND {FOUND}\n")
    assert isinstance(found, Load)
    assert (found.per_second, found.not_2xx) == (150.0, 1)
    with pytest.raises(RuntimeError, match="unable to connect"):
        load.parse("unable to connect to 127.0.0.1:1")


def test_requests_are_a_line_each(tmp_path: Path) -> None:
    """Line breaks of a body are marked, so that the script can put them back."""
    path = load.write(tmp_path / "requests", [Request("/a", "x\n1\n", "text/csv"), Request("/b", "{}")])
    assert path.read_text() == "POST\t/a\ttext/csv\tx\x011\x01\nPOST\t/b\tapplication/json\t{}\n"


def test_ratios_are_between_servers_of_the_same_round() -> None:
    """A round in which the machine was slow for both changes nothing."""
    rows = [
        Measured(turn, server, size, connections, speed, 9.0, 1.0, 2.0, int(server == "bare" and turn == 1))
        for turn, pace in enumerate((1.0, 0.1, 1.0))
        for server, speed in (("kilter", 300 * pace), ("bare", 200 * pace))
        for size, connections in CASES
    ]
    text = report(rows, ["bare"], Namespace(rounds=3, seconds=2))
    assert "| 1 record, 16 connections | 300 | 200 |" in text
    assert "| 100 records, 1 connection | 1.50 (1.50 to 1.50) |" in text
    assert "| 100 records, 1 connection | 9 | 9 |" in text
    assert "Answers other than 200: bare: 1 in round 2" in text


def test_the_verdict_by_hand_is_conformal(tmp_path: Path) -> None:
    """Standardised within the limit, rounded, and counted against the calibration scores."""
    np.savez(
        tmp_path / NUMBERS,
        names=np.array(["a", "b"]),
        center=np.array([1.0, 0.0]),
        scale=np.array([2.0, 1.0]),
        calibration=np.array([1.0, 2.0, 3.0]),
        target_fpr=0.25,
        digits=3,
    )
    judge = Judge(tmp_path, lambda x: x.sum(axis=1))
    results = judge.results([{"a": 1.0, "b": 2.0}, {"a": 1e9, "b": 0.0}])
    assert results == [
        {"score": 2.0, "p_value": 0.75, "anomaly": False},
        {"score": 1000.0, "p_value": 0.25, "anomaly": True},
    ]


def test_a_process_is_waited_for_held_and_stopped(tmp_path: Path) -> None:
    """One that ends early is told with what it said."""
    (port,) = free_ports(1)
    serve = ["python3", "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    with Process(serve, tmp_path / "log") as process:
        process.wait_for(f"http://127.0.0.1:{port}/")
        process.hold()
        assert process.resident_mb() > 1
        assert process.cpu_seconds() > 0
    with (
        Process(["sh", "-c", "echo it is broken; exit 1"], tmp_path / "log") as process,
        pytest.raises(RuntimeError, match="it is broken"),
    ):
        process.wait_for(f"http://127.0.0.1:{port}/")
