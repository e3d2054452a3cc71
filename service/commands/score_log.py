"""What `kilter score` says of its work: to a person at a terminal or in a log, or to a program, as JSON."""

import sys
import time
from typing import Any, Protocol

import click
import msgspec
from tqdm import tqdm

from kilter.service.detector.manifest import counted
from kilter.service.formats.counting import Tally
from kilter.service.formats.scoring import Summary

EVERY = 10.0  # seconds between two lines about how far it is
BLAMED = 8  # fields that are named at the end


class ScoreLog(Protocol):
    """Takes what is to be said."""

    def watch(self, tally: Tally, share: float | None) -> None:
        """Say how far it is: what was counted, and the share of the inputs that is read, if it is known."""

    def finish(self, summary: Summary, expected: float) -> None:
        """Say what became of it; of as many normal records so many anomalies are `expected`."""


class _Paced:
    """Tells when it is time for another line, and how many records a second there were."""

    def __init__(self) -> None:
        self._began = self._last = time.monotonic()

    def due(self) -> bool:
        now = time.monotonic()
        if now - self._last < EVERY:
            return False
        self._last = now
        return True

    def rate(self, records: int) -> float:
        return records / max(1e-9, time.monotonic() - self._began)


class WordsLog(ScoreLog):
    """For a person: a bar on a terminal, else a line every ten seconds; and sentences at the end."""

    def __init__(self) -> None:
        self._bar = tqdm(desc="Scoring", unit="record", unit_scale=True) if sys.stderr.isatty() else None
        self._pace = _Paced()

    def watch(self, tally: Tally, share: float | None) -> None:
        if self._bar is not None:
            self._bar.total = None if share is None else max(tally.records, round(tally.records / share))
            self._bar.set_postfix_str(counted(tally.anomalies, "anomaly", "anomalies"), refresh=False)
            self._bar.update(tally.records - self._bar.n)
        elif self._pace.due():
            read = "" if share is None else f", {share:.0%} of the input read"
            rate = self._pace.rate(tally.records)
            anomalies = counted(tally.anomalies, "anomaly", "anomalies")
            click.echo(f"{tally.records:,} records, {anomalies}, {rate:,.0f} records a second{read}", err=True)

    def finish(self, summary: Summary, expected: float) -> None:
        if self._bar is not None:
            self._bar.close()
        for note in (*summary.notes, *(shift.words for shift in summary.shifts)):
            click.echo(f"note: {note}", err=True)
        click.echo(
            f"{counted(summary.records, 'record')}, {counted(summary.anomalies, 'anomaly', 'anomalies')}, "
            f"{summary.errors:,} in error; {summary.seconds:.1f} s",
            err=True,
        )
        if summary.anomalies and summary.discoveries is None:
            click.echo(f"Among as many normal records, {expected:,.0f} anomalies are to be expected.", err=True)
        if summary.blamed:
            fields = ", ".join(f"{name} ({count:,})" for name, count in summary.blamed[:BLAMED])
            click.echo(f"Fields that most often are the first reason: {fields}.", err=True)
        if summary.discoveries is not None:
            click.echo(str(summary.discoveries), err=True)
        if summary.errors:
            click.echo(f"first error: {summary.first_error}", err=True)


class JsonLog(ScoreLog):
    """For a program: an object in each line, its `event` being `progress`, every ten seconds, or `done`."""

    def __init__(self) -> None:
        self._pace = _Paced()

    def watch(self, tally: Tally, share: float | None) -> None:
        if self._pace.due():
            counts = {"records": tally.records, "anomalies": tally.anomalies, "errors": tally.errors}
            self._say({"event": "progress", **counts, "per_second": self._pace.rate(tally.records), "share": share})

    def finish(self, summary: Summary, expected: float) -> None:
        self._say({"event": "done", **summary_content(summary, expected)})

    def _say(self, content: dict[str, Any]) -> None:
        click.echo(msgspec.json.encode(content), err=True)


def summary_content(summary: Summary, expected: float) -> dict[str, Any]:
    """A summary as JSON has it."""
    return {**summary._asdict(), "expected_anomalies": expected, "blamed": dict(summary.blamed)}
