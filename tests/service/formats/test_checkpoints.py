"""A journal is as long as its lines are whole."""

from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.formats.checkpoints import (
    Checkpoint,
    FinishedOutput,
    FinishedPart,
    end_of_lines,
    read_checkpoints,
)
from kilter.service.formats.contents import ContentRead
from kilter.service.formats.counting import ScoredInput, Tally
from kilter.service.formats.ranges import FileRange

PART = FinishedPart(7, FileRange(1, 8192, 100, 2, 5, 50, {"line": 3}), ContentRead(9, "ab"), "unit-7-0", Tally(100))


@given(st.integers(0, 400))
def test_a_line_that_was_cut_does_not_count(cut: int) -> None:
    """What was told before it does."""
    ahead = FinishedOutput(2, 3, "unit-2/data", ScoredInput("a", 1, "b"), Tally())
    lines = [Checkpoint(blocks=1), Checkpoint(made=(PART,)), Checkpoint(ahead=(ahead,), output=1)]
    written = [msgspec.json.encode(line) + b"\n" for line in lines]
    with TemporaryDirectory() as folder:
        path = Path(folder) / "journal"
        path.write_bytes(b"".join(written)[: -cut or None])
        whole = [*read_checkpoints(path)]
        assert whole == lines[: len(whole)]
        assert end_of_lines(path) == sum(map(len, written[: len(whole)]))
        assert cut or whole == lines


def test_parts_are_named_by_what_they_are() -> None:
    """In the order of their inputs and records."""
    later = msgspec.structs.replace(PART, range=msgspec.structs.replace(PART.range, row=10**9))
    other = msgspec.structs.replace(PART, place=10)
    assert PART.name == "000007-000000000008192"
    assert sorted([other.name, later.name, PART.name]) == [PART.name, later.name, other.name]
