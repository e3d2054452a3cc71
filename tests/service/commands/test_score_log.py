"""What is said of the scoring of files: lines for people and for programs."""

import json
import os
import pty
import termios
from collections.abc import Callable

import pytest

from kilter.service.commands import score_log
from kilter.service.commands.score_log import JsonLog, ScoreLog, WordsLog
from kilter.service.formats.counting import Tally
from kilter.service.formats.scoring import Summary

SUMMARY = Summary(1200, 3, 1, "row 7: field 'x': no number", 2.0, ("a note",), blamed=(("amount", 2), ("at", 1)))


def said(
    make: Callable[[], ScoreLog], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> list[str]:
    """What a log says of a run in which every block is due for a line."""
    monkeypatch.setattr(score_log, "EVERY", 0.0)
    log = make()
    log.watch(Tally(records=600, anomalies=1), 0.5)
    log.watch(Tally(records=1200, anomalies=3, errors=1), None)
    log.finish(SUMMARY, 12.0)
    out, err = capsys.readouterr()
    assert not out
    return err.splitlines()


def test_people_read_sentences(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """How far it is, how fast, and at the end what became of it."""
    half, whole, note, counts, expected, blamed, error = said(WordsLog, monkeypatch, capsys)
    assert half.startswith("600 records, 1 anomaly, ")
    assert half.endswith(" records a second, 50% of the input read")
    assert whole.startswith("1,200 records, 3 anomalies, ")
    assert whole.endswith(" records a second")
    assert note == "note: a note"
    assert counts == "1,200 records, 3 anomalies, 1 in error; 2.0 s"
    assert expected == "Among as many normal records, 12 anomalies are to be expected."
    assert blamed == "Fields that most often are the first reason: amount (2), at (1)."
    assert error == "first error: row 7: field 'x': no number"


def test_programs_read_objects(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """One in each line, with an event that says what it is."""
    half, whole, done = map(json.loads, said(JsonLog, monkeypatch, capsys))
    assert half.pop("per_second") > 0
    assert half == {"event": "progress", "records": 600, "anomalies": 1, "errors": 0, "share": 0.5}
    assert (whole["records"], whole["anomalies"], whole["errors"], whole["share"]) == (1200, 3, 1, None)
    assert (done["event"], done["records"], done["expected_anomalies"]) == ("done", 1200, 12.0)
    assert (done["blamed"], done["notes"]) == ({"amount": 2, "at": 1}, ["a note"])


def test_lines_come_every_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    """And not for every block."""
    for log in (WordsLog(), JsonLog()):
        for records in range(1000):
            log.watch(Tally(records=records), 0.5)
    assert capsys.readouterr().err == ""


def test_a_terminal_shows_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    """With records, anomalies and the time that is left; the rest follows below it."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 120))
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr("sys.stderr", terminal)
        log = WordsLog()
        log.watch(Tally(records=600, anomalies=2), 0.25)
        log.finish(SUMMARY._replace(notes=()), 12.0)
        terminal.flush()
        shown = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "Scoring" in shown
    assert "25%" in shown
    assert "600/2.40k" in shown
    assert "2 anomalies" in shown
    assert "1,200 records, 3 anomalies" in shown
