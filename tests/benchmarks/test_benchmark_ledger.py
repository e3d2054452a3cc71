"""Tests of measurements on disk."""

from pathlib import Path

import msgspec
import pytest

from benchmarks.ledger import Ledger


class Line(msgspec.Struct, frozen=True):
    """A measurement for these tests."""

    name: str
    seed: int
    figure: float | None = None
    error: str | None = None


def test_what_was_measured_comes_back(tmp_path: Path) -> None:
    """Names that look like numbers, exact figures and missing ones survive."""
    lines = [Line("1", 0, 1 / 3), Line("a, b", 1, None, 'it said "no"')]
    Ledger(tmp_path / "new" / "lines.csv", Line, resume=False).add(lines)
    assert Ledger(tmp_path / "new" / "lines.csv", Line, resume=True).rows == lines


def test_a_line_that_was_cut_short_is_measured_anew(tmp_path: Path) -> None:
    """An interrupted run leaves half a line behind, which is dropped."""
    path = tmp_path / "lines.csv"
    Ledger(path, Line, resume=False).add([Line("a", 0, 0.5), Line("b", 1, 0.25)])
    path.write_text(path.read_text()[:-6])
    ledger = Ledger(path, Line, resume=True)
    ledger.add([Line("b", 1, 0.25)])
    assert Ledger(path, Line, resume=True).rows == [Line("a", 0, 0.5), Line("b", 1, 0.25)]


def test_measurements_are_not_overwritten(tmp_path: Path) -> None:
    """A run that is not to be resumed stops before it starts."""
    Ledger(tmp_path / "lines.csv", Line, resume=False).add([Line("a", 0)])
    with pytest.raises(FileExistsError, match="--resume"):
        Ledger(tmp_path / "lines.csv", Line, resume=False)
