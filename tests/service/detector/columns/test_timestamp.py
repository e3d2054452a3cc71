"""Tests of `columns.timestamp`: times are told from other cells, and their fields chosen by what data support."""

from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.columns import TimestampColumn
from kilter.service.detector.columns.cells import TrainingCells
from kilter.service.detector.columns.timestamp import calendar, calendar_fields
from tests.support.time_spellings import with_offset

MOMENTS = [datetime(2023, 1, 5, 3, 4) + timedelta(days=3 * i, hours=i, minutes=7 * i) for i in range(120)]


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


@pytest.mark.parametrize("clock", ["UTC", "Europe/Berlin", "written", "+02:00"])
def test_iso_times_are_read_all_at_once(clock: str) -> None:
    """As one by one; what is none is left to that."""
    column = TimestampColumn("at", "iso", ("hour",), clock=clock)
    cells = ["2024-01-02", "2024-01-02T03:00:00Z", None, "2024-07-02T03:00:00-05:00"]
    values = column.read_all(cells)
    assert values is not None
    assert np.isnat(values[2])
    assert [values[i] for i in (0, 1, 3)] == [column.read(cells[i]) for i in (0, 1, 3)]
    for other in ("soon", 7, np.nan):
        assert column.read_all(["2024-01-02", other]) is None
    assert TimestampColumn("at", "unix_s", ("hour",)).read_all([1]) is None


@given(st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)), st.sampled_from(["unix_s", "iso", "%d.%m.%Y %H:%M%z"]))
def test_a_wall_clock_is_the_one_of_the_place(moment: datetime, form: str) -> None:
    """Of one instant in any spelling; reasons and the model's fields say whose clock it is."""
    column = TimestampColumn("at", form, ("hour",), clock="Europe/Berlin")
    here = moment.replace(tzinfo=UTC, second=0, microsecond=0).astimezone(ZoneInfo("Europe/Berlin"))
    same = [here, here.astimezone(UTC), here.isoformat(), here.astimezone(UTC).isoformat()]
    own = {"iso": here.isoformat(), "unix_s": here.timestamp()}.get(form) or here.strftime(form)
    assert {column.read(cell) for cell in [*same, own]} == {np.datetime64(here.replace(tzinfo=None), "us")}
    assert column.shown(column.read(here)) == f"{here:%Y-%m-%dT%H:%M:%S} (Europe/Berlin)"
    assert column.describe() == "by hour, Europe/Berlin"
    assert "is taken by Europe/Berlin" in column.json_schema()["description"]
    assert column.to_series(np.array([moment], "datetime64[us]")) is None
    assert str(column.differs(TimestampColumn("at", form, ("hour",)))).endswith(
        "by Europe/Berlin, the serving version by UTC"
    )


def test_a_clock_of_no_place_is_no_column() -> None:
    """So that an artifact with one is refused before anything is judged."""
    with pytest.raises(msgspec.ValidationError, match="no time zone 'Mars'"):
        msgspec.convert(
            {"name": "at", "format": "iso", "fields": [], "clock": "Mars", "kind": "timestamp"}, TimestampColumn
        )


@pytest.mark.parametrize(
    "form", ["iso", "rfc2822", "unix_s", "unix_ns", "excel", "%d-%b-%y %I:%M:%S.%f %p", "%d.%m.%Y %H:%M%z"]
)
def test_a_usual_time_is_one_of_the_column(form: str) -> None:
    """As JSON holds it; one that is out of range is a problem, and no crash."""
    column = TimestampColumn("at", form, ("hour",))
    value = column.read(column.usual(np.random.default_rng(0)))
    assert np.datetime64("2024-01-01") <= value < np.datetime64("2024-01-09")
    assert column.datatype == ("FP64" if form[:2] in ("un", "ex") else "BYTES")
    with pytest.raises(ValueError, match="out of range"):
        column.read("0001-01-01T00:00:00+14:00")


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
    berlin = [with_offset(moment, "Europe/Berlin").isoformat() for moment in MOMENTS]
    assert str(why(berlin)).endswith(
        "hour, weekday, day; by the wall clock of Europe/Berlin, to which their offsets belong"
    )
    assert "may also be read as" in str(why([f"{1 + i % 12:02}/{1 + i * 5 % 12:02}/2024" for i in range(60)]))
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


@given(st.datetimes(datetime(1980, 1, 1), datetime(2080, 1, 1)), st.integers(0, 23), st.integers(0, 6))
def test_what_stands_in_for_a_time_is_near_it(moment: datetime, hour: int, weekday: int) -> None:
    """In the same week, at the hour and on the day that are expected; on the way to it are the hours between."""
    column = TimestampColumn("at", "iso", ("hour", "weekday"))
    value, features = np.datetime64(moment, "us"), np.array([float(hour), float(weekday)])
    [near] = column.stand_ins(value, features[None])
    assert abs(near - value) <= np.timedelta64(84, "h")
    assert column.encode(np.array([near]))[0].tolist() == features.tolist()
    way = column.way(value, near)
    assert len(way) == max(0, abs(near - value) // np.timedelta64(1, "h") - 1)
    assert (np.diff(np.abs(np.array([value, *way, near]) - value).astype(np.int64)) >= 0).all()
    assert value not in column.replacements(value, features)
    nothing = np.datetime64("NaT", "us")
    assert column.replacements(nothing, features) == list(column.decode(features[None]))
    assert column.way(nothing, near) == []


def test_where_hours_do_not_count_a_time_is_replaced_by_whole_days() -> None:
    """So that one written as a date stays one."""
    column = TimestampColumn("at", "%Y-%m-%d", ("weekday",))
    value = np.datetime64("2024-05-01", "us")
    for time in column.replacements(value, np.array([6.0])):
        assert column.read(column.cell(time)) == time
