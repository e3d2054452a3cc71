"""Whoever works sees what the run sees, or says what is missing."""

import os
from pathlib import Path

import pytest

from kilter.service.detector import KilterError
from kilter.service.formats.addresses import place_of
from kilter.service.formats.inputs import ScoringInput
from kilter.service.formats.partial import UnfinishedError
from kilter.service.formats.threads import map_in_threads
from kilter.service.formats.workplaces import SourceFacts, ThisProcess, Workplace, check_seen, facts_of, shared_path
from tests.support.detectors import detector


def number_of(workplace: Workplace, item: int) -> tuple[str, int]:
    """Where it is, and the numbers up to an item, added up by the map of the place."""
    workplace.check()
    return workplace.detector.name, sum(workplace.mapped(int, range(item)))


def test_this_process_does_all_by_itself(tmp_path: Path) -> None:
    """In order, and only when the results are asked for."""
    here = ThisProcess(detector(), map_in_threads(2))
    here.check(tmp_path, [])
    items = iter([1, 2, 3])
    results = here.run(number_of, items)
    assert next(results) == (0, (detector().name, 0))
    assert next(items) == 2
    assert [*results] == [(1, (detector().name, 3))]


def test_facts_are_of_files(tmp_path: Path) -> None:
    """By their whole path; of a folder its size says nothing."""
    (tmp_path / "a.csv").write_text("a\n1\n")
    facts = facts_of(ScoringInput(tmp_path / "a.csv", "a.csv"))
    assert facts == SourceFacts(tmp_path / "a.csv", "a.csv", 4, (tmp_path / "a.csv").stat().st_mtime_ns)
    assert facts_of(ScoringInput(tmp_path, "x"))[2:] == (0, 0)
    with pytest.raises(KilterError, match="save it first"):
        facts_of(ScoringInput(tmp_path / "b.csv", "b.csv"))
    for path in (place_of("https://host/a.csv"), place_of("s3://bucket/a.csv")):
        with pytest.raises(KilterError, match="is an address, and workers share folders: mount it there"):
            shared_path(path)


def test_what_is_not_seen_is_said(tmp_path: Path) -> None:
    """The input, and another one at its place; with what to do."""
    here = ThisProcess(detector(), map)
    path = tmp_path / "a.csv"
    path.write_text("a\n1\n")
    facts = facts_of(ScoringInput(path, path.name))
    check_seen(here, facts)
    with pytest.raises(UnfinishedError, match=r"this process cannot see .*absent\.csv: No such file.*mount them"):
        check_seen(here, facts._replace(path=tmp_path / "absent.csv"))
    os.utime(path, ns=(0, facts.modified_ns + 1))
    with pytest.raises(UnfinishedError, match=r"sees another .*a\.csv"):
        check_seen(here, facts)
