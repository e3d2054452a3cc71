"""Tests of `columns.timestamp`: times are told from other cells, and their fields chosen by what data support."""

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.columns import TimestampColumn
from kilter.service.detector.columns.cells import TrainingCells
from kilter.service.detector.columns.timestamp import calendar, calendar_fields, text_format, unix_format

MOMENTS = [datetime(2023, 1, 5, 3, 4) + timedelta(days=3 * i, hours=i, minutes=7 * i) for i in range(120)]
FORMS = (
    "%Y-%m-%dT%H:%M:%S",
    "%Y-%m-%d %H:%M",
    "%Y-%m-%d",
    "%d.%m.%Y",
    "%d.%m.%Y %H:%M",
    "%d/%m/%Y %H:%M:%S",
    "%m/%d/%Y",
    "%m/%d/%Y %I:%M %p",
    "%d-%b-%Y",
    "%b %d, %Y",
    "%d/%m/%y",
    "%Y/%m/%d %H:%M",
    "%d/%b/%Y:%H:%M:%S +0000",
)


@pytest.mark.parametrize("form", FORMS)
def test_common_forms_are_read(form: str) -> None:
    """Texts in any common form are read as the times that they were written from."""
    found = text_format([moment.strftime(form) for moment in MOMENTS])
    assert found is not None
    written = [datetime.strptime(moment.strftime(form), form).replace(tzinfo=None) for moment in MOMENTS]
    assert found.times.astype("datetime64[s]").tolist() == written


@pytest.mark.parametrize("texts", [["red", "blue"], ["a/b/c", "1/2/3"], ["", "2024"], ["12:30", "x"], ["1.2.3.4"]])
def test_other_texts_are_no_times(texts: list[str]) -> None:
    """Words, paths and addresses are no times."""
    assert text_format(texts) is None


def test_a_few_texts_may_be_no_times() -> None:
    """One bad text in a hundred is borne, more are not."""
    texts = [moment.isoformat() for moment in MOMENTS]
    assert text_format([*texts, "soon"]) is not None
    assert text_format([*texts[:20], "soon"]) is None


def test_day_and_month_are_told_apart_by_the_data() -> None:
    """Where no day exceeds 12, the order of rows decides, then the shorter span; the doubt is told."""
    days = [datetime(2024, 1, 1) + timedelta(days=i) for i in range(12)]
    for form in ("%d/%m/%Y", "%m/%d/%Y"):
        found = text_format([day.strftime(form) for day in days])
        assert found is not None
        assert found.format == form
        assert "write ISO 8601" in found.doubt


@given(st.lists(st.integers(315_532_800, 4_102_444_800), min_size=1))
def test_unix_times_need_a_name(seconds: list[int]) -> None:
    """Whole numbers are Unix times where the name says so and all are plausible."""
    values = np.array(seconds, np.float64)
    for name in ("timestamp", "event_time", "created_at", "Date", "ts"):
        found = unix_format(name, values)
        assert found is not None
        assert (found.format, found.times.astype("datetime64[s]").astype(int).tolist()) == ("unix_s", seconds)
        millis = unix_format(name, values * 1000)
        assert millis is not None
        assert millis.format == "unix_ms"
    assert unix_format("amount", values) is None
    assert unix_format("timestamp", np.append(values, 5.0)) is None


@pytest.mark.parametrize(
    ("hours", "step", "fields"),
    [
        (30, 1, ()),
        (100, 1, ("hour",)),
        (400, 1, ("hour", "weekday")),
        (24 * 400, 24, ("weekday", "day")),
        (24 * 800, 24 * 7, ("day", "month")),
        (24 * 800, 5, ("hour", "weekday", "day", "month")),
    ],
)
def test_fields_are_those_that_were_seen_often_enough(hours: int, step: int, fields: tuple[str, ...]) -> None:
    """A field counts if times vary in it and have gone round it: nobody can say what hour is usual after one night."""
    times = np.datetime64("2023-01-01T00:30", "us") + np.arange(0, hours, step).astype("timedelta64[h]")
    assert calendar_fields(times) == fields


@given(st.datetimes())
def test_calendar_fields_are_those_of_the_calendar(moment: object) -> None:
    """Hour, weekday (Monday is 0), day and month agree with the standard library."""
    time = np.array([moment], "datetime64[us]")
    want = {"hour": moment.hour, "weekday": moment.weekday(), "day": moment.day - 1, "month": moment.month - 1}  # type: ignore[attr-defined]
    for field, code in want.items():
        assert calendar(field, time)[0] == code  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("form", "cell", "kind", "datatype"),
    [
        ("iso", "2024-01-02T03:04:05", "string", "BYTES"),
        ("unix_s", 1_704_164_645, "number", "FP64"),
        ("unix_ms", 1_704_164_645_000, "number", "FP64"),
        ("%d.%m.%Y %H:%M:%S", "02.01.2024 03:04:05", "string", "BYTES"),
    ],
)
def test_a_time_is_read_in_the_format_of_its_column(form: str, cell: object, kind: str, datatype: str) -> None:
    """From JSON and from the text of a file alike; a made-up one can be read, too."""
    column = TimestampColumn("at", form, ("hour", "weekday"))
    moment = np.datetime64("2024-01-02T03:04:05", "us")
    assert column.read(cell) == column.read_text(str(cell), ".") == moment
    assert column.shown(moment) == "2024-01-02T03:04:05"
    assert column.expected(np.array([3.0, 1.0])) == "hour 3, Tuesday"
    assert column.json_schema()["type"] == [kind, "null"]
    assert column.datatype == datatype
    assert not np.isnat(column.read(column.usual(np.random.default_rng(0))))
    assert column.differs(column) is None
    assert "the serving version as %H" in str(column.differs(TimestampColumn("at", "%H", ())))


def test_iso_times_are_read_all_at_once_unless_one_has_an_offset() -> None:
    """Which is then converted, one by one."""
    column = TimestampColumn("at", "iso", ("hour",))
    values = column.read_all(["2024-01-02", None])
    assert values is not None
    assert str(values[0]) == "2024-01-02T00:00:00.000000"
    assert np.isnat(values[1])
    for other in ("2024-01-02T00:00:00Z", "soon", 7):
        assert column.read_all(["2024-01-02", other]) is None
    assert TimestampColumn("at", "unix_s", ("hour",)).read_all([1]) is None


def test_typed_times_are_taken_by_utc() -> None:
    """Dates and times of a file with types; anything else is read as text."""
    column = TimestampColumn("at", "iso", ("hour",))
    aware = pl.Series([MOMENTS[0]]).dt.replace_time_zone("Europe/Berlin")
    assert column.from_series(aware)[0] == np.datetime64("2023-01-05T02:04", "us")
    assert [column.holds(dtype) for dtype in (pl.Date(), pl.Datetime("ms"), pl.Time(), pl.Int64())] == [
        True,
        True,
        False,
        False,
    ]


def test_a_column_of_times_says_how_it_was_read() -> None:
    """By name for Unix times; too short a time is of no use, and other cells are none."""

    def why(values: list[Any], name: str = "at") -> str | None:
        decision = TimestampColumn.infer(TrainingCells(name, pl.Series(name, values), (), "."))
        return None if decision is None else decision.why

    assert why([str(moment.date()) for moment in MOMENTS]) == (
        "times from 2023-01-05 00:00:00 to 2024-01-02 00:00:00, read as iso, scored by weekday, day"
    )
    assert str(why([int(moment.timestamp()) for moment in MOMENTS], "time")).count("read as unix_s") == 1
    assert str(why([20230101 + i for i in range(28)])).count("read as iso") == 1
    assert str(why(["2024-01-01", "2024-01-02"])).endswith("too short a time to know what hour or weekday is usual")
    assert why([1.5, 2.5]) is None
    assert why([True, False]) is None


@given(st.dates(datetime(1990, 1, 1).date(), datetime(2090, 1, 1).date()), st.sampled_from(["iso", "%Y%m%d"]))
def test_a_date_of_eight_digits_may_be_a_number(day: date, form: str) -> None:
    """Or a text with the point that a tool put behind it where a cell of the column was empty."""
    column, digits = TimestampColumn("t", form, ("weekday",)), f"{day:%Y%m%d}"
    values: list[Any] = [digits, f"{digits}.0", int(digits), float(digits), np.int32(digits), np.float64(digits)]
    for value in values:
        assert column.read(value) == np.datetime64(day, "us"), value
    seconds = int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())
    values = [seconds, float(seconds), f"{seconds}", f"{seconds}.0", np.int64(seconds)]
    for value in values:
        assert TimestampColumn("t", "unix_s", ("weekday",)).read(value) == np.datetime64(day, "us"), value


@pytest.mark.parametrize("value", [5, 20240531.5, 20241399, 2024053108, -20240531, np.inf, True, "20240531.5", [1]])
def test_other_numbers_are_no_dates(value: Any) -> None:
    """Of other lengths, with a fraction, or of no such day."""
    with pytest.raises(ValueError, match=r"a time .*is expected, not"):
        TimestampColumn("t", "iso", ("weekday",)).read(value)
