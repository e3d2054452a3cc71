"""What is appended to the records of a batch is what the detector says of them."""

import json
from typing import Any

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import Problem
from kilter.service.formats.judge import BatchJudge, ascii_json, sparse_texts
from kilter.service.formats.lines import NEAREST, TAIL
from kilter.service.formats.reading import Batch
from tests.support.serving import RECORD, STRANGE, detector

SHOP = detector()


def batch(amounts: list[str], faulty: list[int]) -> Batch:
    frame = pl.DataFrame([{name: str(value) for name, value in RECORD.items()}] * len(amounts))
    frame = frame.with_columns(amount=pl.Series(amounts), member=pl.lit("true"))
    return Batch(frame, 0, [Problem(row, None, "it is cut short") for row in faulty])


@given(st.lists(st.sampled_from(["52.5", "9100", "", "much"]), min_size=1, max_size=9), st.sets(st.integers(0, 8)))
def test_verdicts_stand_by_their_records(amounts: list[str], faulty: set[int]) -> None:
    """A record in error has its message alone, an anomaly its reasons too."""
    faults = sorted(row for row in faulty if row < len(amounts))
    judged = BatchJudge(SHOP)(batch(amounts, faults)).verdicts.frame().rows()
    usual, strange = SHOP.score([RECORD, STRANGE]).score.tolist()
    for row, (amount, (score, p_value, anomaly, reasons, error)) in enumerate(zip(amounts, judged, strict=True)):
        if row in faults or amount == "much":
            assert (score, p_value, anomaly, reasons) == (None,) * 4
            assert error == "it is cut short" if row in faults else error.startswith("field 'amount': a number like")
        elif amount:
            assert (score, anomaly, error) == ((strange, True, None) if amount == "9100" else (usual, False, None))
            assert (json.loads(reasons)[0]["feature"] == "amount") if anomaly else reasons is None
            assert 0 < p_value <= 1


def test_tails_are_a_column_of_their_own() -> None:
    """Of nulls for a model without one."""
    columns = BatchJudge(SHOP, tails=True)(batch(["52.5"], [])).verdicts
    assert columns.frame()[TAIL].to_list() == [None]


def test_texts_of_some_rows() -> None:
    """Are null elsewhere."""
    assert sparse_texts({}, 2).to_list() == [None, None]
    assert sparse_texts({1: "x"}, 2).to_list() == [None, "x"]


def test_nearest_normals_are_a_column_of_their_own() -> None:
    """Of the anomalies, in JSON, with the fields kept that are to be kept."""
    amounts = ["52.5", "9100", "much", "9100"]
    nearest = BatchJudge(SHOP, keep=())(batch(amounts, [3])).verdicts.frame()[NEAREST].to_list()
    assert [text is None for text in nearest] == [True, False, True, True]
    assert nearest[1] == ascii_json(SHOP.nearest_normal(STRANGE))
    assert [change["field"] for change in json.loads(nearest[1])["changes"]] == ["amount"]
    kept = BatchJudge(SHOP, keep=("amount",))(batch(["9100"], [])).verdicts.frame()[NEAREST].to_list()
    assert json.loads(kept[0])["normal"] is False
    nothing = batch(["52.5"], [])._replace(frame=batch(["52.5"], []).frame.clear())
    assert BatchJudge(SHOP, keep=())(nothing).verdicts.frame()[NEAREST].to_list() == []


def test_an_observer_is_told_of_what_was_judged() -> None:
    """The table, its verdicts, which records have one, and how long it took."""
    seen: list[Any] = []
    BatchJudge(SHOP, observer=lambda *facts: seen.append(facts))(batch(["52.5", "much", "9100"], []))
    [(table, verdicts, good, seconds)] = seen
    assert (table.rows, good.tolist(), seconds > 0) == (3, [True, False, True], True)
    assert verdicts.score[good].tolist() == SHOP.score([RECORD, STRANGE]).score.tolist()
