"""Lines that look like records and are none become faults that name them; records never do."""

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import Problem
from kilter.service.formats.oddities import Oddities
from kilter.service.formats.reading import Batch

HEADER = ("a", "b", "c")
NONE = Oddities(HEADER, b"a,b,c")
RECORDS = [["x", "1", "2"], ["y", "3", "4"], ["x", "5", "6"]] * 3


def batch(rows: list[list[str]]) -> Batch:
    frame = pl.DataFrame(rows, dict.fromkeys(HEADER, pl.String), orient="row")
    return Batch(frame, 0, raw=[",".join(row).encode() + b"\n" for row in rows])


def faults(rows: list[list[str]], oddities: Oddities = NONE, *, final: bool = True) -> list[tuple[int | None, str]]:
    marked = oddities.marked(batch(rows), range(2, len(rows) + 2), (), final=final)
    for fault in marked.faults:
        assert marked.frame.row(fault.row or 0) == ("", "", "")
    return [(fault.row, fault.message.partition(":")[0]) for fault in marked.faults]


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.sampled_from(["1", "2", ""]), st.sampled_from("45")), max_size=20))
def test_records_are_left_as_they_are(rows: list[tuple[str, str, str]]) -> None:
    """Whatever stands in them."""
    before = batch([[*row] for row in rows])
    assert NONE.marked(before, range(2, len(rows) + 2), (), final=True) is before


@pytest.mark.parametrize("at", [0, 4, 9])
def test_a_repeated_header(at: int) -> None:
    """Wherever it stands; not where it merely begins so."""
    rows = [*RECORDS[:at], [*HEADER], *RECORDS[at:]]
    assert faults(rows) == [(at, f"line {at + 2} repeats the header")]
    assert faults([*RECORDS, ["a", "b", "d"]]) == []


def test_comments_and_units() -> None:
    """A comment is one where there was one above the header, and the line of units is known by its number."""
    rows = [["#x", "", "kW"], *RECORDS]
    assert faults(rows, NONE._replace(mark="#")) == [(0, "line 2 is a comment")]
    assert faults(rows, NONE._replace(units=2)) == [(0, "line 2 belongs to the header, like a line of units")]
    assert faults(rows) == []


@pytest.mark.parametrize("word", ["Total", "TOTAL:", "Grand Total", "subtotal", "Summe", "Итого", "合计", "average"])
def test_totals(word: str) -> None:
    """At the end alone, and not where the word is a level; there may be several."""
    assert faults([*RECORDS, [word, "9", "12"]]) == [(9, "line 11 is a total")]
    assert faults([*RECORDS, [word, "9", "12"]], final=False) == []
    assert faults([[word, "9", "12"], *RECORDS, [word, "9", "12"]]) == []
    assert len(faults([*RECORDS, ["Sum", "", "9"], [word, "", "12"]])) == 2
    assert faults([["x", "1", "2"], [word, "9", "12"]]) == []


def test_notes() -> None:
    """A text alone in the last line, where no record is as empty."""
    note = ["Source: the plant", "", ""]
    assert faults([*RECORDS, note]) == [(9, "line 11 has one field alone, as a note has")]
    assert faults([["z", "", ""], *RECORDS, note]) == []
    assert faults([*RECORDS, ["", "7", ""]]) == []
    assert faults([*RECORDS, ["z", "", ""]]) == []


def test_records_before_may_lack_fields() -> None:
    """They tell nothing of the fields that they lack."""
    rows = [*RECORDS, ["", "", "note"]]
    before = [["x"], ["1", "2"], ["x", "1", "note"]]
    marked = NONE.marked(batch(rows), range(2, len(rows) + 2), before, final=True)
    assert not marked.faults


def test_other_faults_stay() -> None:
    """A line has one fault."""
    before = batch([[*HEADER], *RECORDS])._replace(faults=[Problem(0, None, "ragged"), Problem(3, None, "odd")])
    after = NONE.marked(before, range(2, 12), (), final=True)
    assert after is before
