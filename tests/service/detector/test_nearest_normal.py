"""The nearest normal of a record: what it promises of any record, of every kind of field."""

import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.service.detector import Calibration, Change, Detector, KilterError, NearestNormal, RecordsError, load
from kilter.service.detector.columns import NumericColumn
from kilter.service.detector.manifest import Probes
from kilter.service.detector.thresholds import Groups
from tests.support import detectors
from tests.support.artifacts import ARTIFACTS, stored
from tests.support.data import records
from tests.support.manifests import manifest

ODD: dict[str, st.SearchStrategy[Any]] = {
    "temperature": st.floats(-500, 500),
    "pressure": st.one_of(st.none(), st.floats(-1e9, 1e9)),
    "count": st.integers(-50, 5000),
    "line": st.sampled_from(["A", "Z", None]),
    "product": st.sampled_from(["bolt", "nut", "never seen"]),
    "guard": st.sampled_from([True, False, None, 2]),
    "at": st.sampled_from(["2026-01-04T03:00:00", "2026-06-15T23:59:00", None]),
}
SQUARES = detectors.detector(0.05, 199)
ROWS = records(np.random.default_rng(8), 200)


def number(change: Change) -> float:
    """What a field that holds numbers is to be."""
    assert isinstance(change.after, int | float)
    return change.after


def mended(record: dict[str, Any], nearest: NearestNormal) -> dict[str, Any]:
    """The record with the changes."""
    return record | {change.field: change.after for change in nearest.changes}


@settings(max_examples=40)
@given(
    st.integers(0, len(ROWS) - 1),
    st.fixed_dictionaries({}, optional=ODD),
    st.sets(st.sampled_from(sorted(ODD)), max_size=3),
)
def test_what_is_suggested_is_scored_as_normal(
    detector: Detector, place: int, odd: dict[str, Any], keep: set[str]
) -> None:
    """By the same detector, of any record; it keeps what is to be kept, and stays within what training saw."""
    record = ROWS[place] | odd
    before = detector.score(record)
    nearest = detector.nearest_normal(record, keep)
    after = detector.score(mended(record, nearest))
    assert (nearest.score, nearest.p_value) == (after.score[0], after.p_value[0])
    assert nearest.normal == (not after.anomaly[0])
    fields = [change.field for change in nearest.changes]
    assert len({*fields}) == len(fields)
    assert not {*fields} & keep
    if not before.anomaly[0]:
        assert (nearest.normal, nearest.changes) == (True, ())
    if not keep:
        assert nearest.normal
    for change in nearest.changes:
        column = detector.schema.field(change.field)
        assert column is not None
        assert column.read(change.after) != column.absent
        assert change.before != change.after
        if isinstance(column, NumericColumn) and isinstance(change.after, int | float):
            assert column.minimum <= change.after <= column.maximum


def test_a_corrupted_field_is_the_one_that_changes(detector: Detector) -> None:
    """By no more than is needed: a value halfway back to what it was is not scored as normal, or hardly likely."""
    normal = [row for row in ROWS if not detector.score(row).anomaly[0]][:20]
    column = detector.schema.field("temperature")
    assert isinstance(column, NumericColumn)
    for record in normal:
        wrong = record | {"temperature": column.maximum + 0.5 * (column.maximum - column.minimum)}
        [change] = detector.nearest_normal(wrong).changes
        assert change.field == "temperature"
        assert change.before == wrong["temperature"]
        assert column.minimum <= number(change) <= column.maximum


@given(st.floats(4.5, 100), st.booleans())
def test_a_number_is_moved_no_further_than_it_must(value: float, above: bool) -> None:
    """Of the score that is the sum of squares: to the edge of what is normal, or of the range, in few digits."""
    record = {"amount": value if above else -value, "age": 0.0, "colour": "red"}
    [change] = SQUARES.nearest_normal(record).changes
    edge = SQUARES.calibration.threshold**0.5
    assert change.field == "amount"
    moved = number(change) * (1 if above else -1)
    likely = 1.92**0.5  # half a square more than that of what is expected
    assert min(edge, likely) - 0.2 <= moved <= edge
    assert len(repr(change.after)) <= 6


def test_two_wrong_fields_are_two_changes() -> None:
    """The one that speaks most against the record comes first."""
    nearest = SQUARES.nearest_normal({"amount": 20.0, "age": -30.0, "colour": "red"})
    assert [(change.field, change.before) for change in nearest.changes] == [("age", -30.0), ("amount", 20.0)]
    assert nearest.normal


def test_where_nothing_may_change_there_is_none() -> None:
    """It says so, with the verdict on the record as it is."""
    record = {"amount": 20.0, "age": 0.0, "colour": "red"}
    nearest = SQUARES.nearest_normal(record, keep=["amount"])
    assert nearest == NearestNormal(False, (), 400.0, SQUARES.score(record).p_value[0])
    assert SQUARES.nearest_normal(record, keep=["amount", "age", "colour"]) == nearest


def test_the_field_that_groups_records_is_not_changed() -> None:
    """And what is normal is what is normal in the record's group."""
    own = Calibration.of(SQUARES.calibration.scores / 20 + 1, 0.05, 6)
    colour = detectors.SCHEMA.columns[2]
    probes = Probes([], [], [], [])
    grouped = Detector(
        manifest(detectors.SCHEMA, SQUARES.calibration),
        detectors.Squares(),
        SQUARES.calibration,
        probes,
        Groups(colour, {"blue": own}),
    )
    nearest = [grouped.nearest_normal({"amount": 30.0, "age": 0.0, "colour": name}) for name in ("red", "blue")]
    assert [[change.field for change in one.changes] for one in nearest] == [["amount"], ["amount"]]
    assert nearest[1].score <= own.threshold
    assert abs(number(nearest[1].changes[0])) < abs(number(nearest[0].changes[0])) < SQUARES.calibration.threshold**0.5


def test_a_batch_has_those_of_its_anomalies(detector: Detector) -> None:
    """The same as one by one, also in a frame as JSON; a record with a problem has none."""
    rows = [*ROWS[:6], ROWS[6] | {"temperature": 900.0}, ROWS[7] | {"temperature": "hot"}]
    verdicts = detector.score(rows, errors="mark", nearest_normal=True, keep=["line"])
    assert verdicts.nearest_normal is not None
    for row, flag, nearest in zip(rows, verdicts.anomaly, verdicts.nearest_normal, strict=True):
        assert nearest == (detector.nearest_normal(row, ["line"]) if flag else None)
    cells = verdicts.to_polars()["nearest_normal"].to_list()
    assert cells[7] is None
    assert verdicts.nearest_normal[6] is not None
    assert json.loads(cells[6]) == json.loads(msgspec.json.encode(verdicts.nearest_normal[6]))
    assert [change["from"] for change in json.loads(cells[6])["changes"]] == [900.0]
    assert detector.score(rows[:7]).nearest_normal is None


def test_what_cannot_be_had_is_refused(detector: Detector, digits_detector: Detector) -> None:
    """With what to do instead."""
    with pytest.raises(KilterError, match="no field 'temprature' to keep; did you mean 'temperature'"):
        detector.nearest_normal(ROWS[0], keep=["temprature"])
    with pytest.raises(KilterError, match=r"a list of names, like \['line'\]"):
        detector.nearest_normal(ROWS[0], keep="line")
    with pytest.raises(KilterError, match="that of one record, and these are 2"):
        detector.nearest_normal(ROWS[:2])
    with pytest.raises(RecordsError, match="field 'temperature'"):
        detector.nearest_normal(ROWS[0] | {"temperature": "hot"})
    with pytest.raises(KilterError, match="one of records of fields, and the model digits judges pictures"):
        digits_detector.nearest_normal(np.zeros((8, 8), np.uint8))


@pytest.mark.parametrize("name", ["format-1", "format-2"])
def test_a_model_of_before_has_them_too(name: str) -> None:
    """It needs no more of an artifact than reasons do."""
    old = load(ARTIFACTS / name)
    rows = stored(name)["records"]
    verdicts = old.score(rows, nearest_normal=True)
    assert verdicts.nearest_normal is not None
    suggested = [(row, one) for row, one in zip(rows, verdicts.nearest_normal, strict=True) if one is not None]
    assert suggested
    for row, nearest in suggested:
        assert nearest.normal
        assert not old.score(mended(row, nearest)).anomaly[0]
