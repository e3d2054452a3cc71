"""Tests of `columns.time_formats`: a column's format is decided once, from all of it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.service.detector.columns.cells import TrainingCells
from kilter.service.detector.columns.instants import UNIX
from kilter.service.detector.columns.time_formats import (
    excel_format,
    find_format,
    text_format,
    time_notice,
    unix_format,
)
from tests.support.time_spellings import SPELLINGS

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
    "%Y-%b-%d",
    "%d. %b %Y %H:%M",
)


def cells_of(name: str, values: list[Any]) -> TrainingCells:
    """The cells of a column of a file."""
    return TrainingCells(name, pl.Series(name, values, strict=False), (), ".")


@pytest.mark.parametrize("form", FORMS)
def test_common_forms_are_read(form: str) -> None:
    """Texts in any common form are read as the times that they were written from."""
    found = text_format([moment.strftime(form) for moment in MOMENTS])
    assert found is not None
    written = [datetime.strptime(moment.strftime(form), form).replace(tzinfo=None) for moment in MOMENTS]
    assert found.times.astype("datetime64[s]").tolist() == written
    assert not found.doubt


hours = st.datetimes(datetime(1990, 1, 1), datetime(2060, 1, 1)).map(lambda time: time.replace(second=5, microsecond=0))


@pytest.mark.parametrize("name", SPELLINGS)
@settings(max_examples=8)
@given(first=hours, steps=st.lists(st.integers(1, 100_000), min_size=60, max_size=80))
def test_every_tool_s_spelling_is_known(name: str, first: datetime, steps: list[int]) -> None:
    """Whatever the times, from a text table and from one with types; with one cell that is no time among a hundred."""
    times = [first + timedelta(minutes=int(minutes)) for minutes in np.cumsum([0, *steps])]
    if not 1980 <= times[0].year <= times[-1].year < 2069:  # two digits of a year go no further
        return
    cells = [SPELLINGS[name].write(time) for time in times]
    tables = [cells_of("created_at", [str(cell) for cell in cells])]
    if not isinstance(cells[0], str):
        tables.append(cells_of("created_at", cells))
    for table in tables:
        found = find_format(table)
        assert found is not None
        written = [time.replace(second=0) for time in times]
        if "/" not in found.format and ".%m" not in found.format:  # these may be read in two ways, by chance
            assert found.format.replace("%B", "%b") == SPELLINGS[name].format.replace("%B", "%b")
        if not found.doubt:
            assert found.times.astype("datetime64[m]").astype("datetime64[s]").tolist() == written


@pytest.mark.parametrize(
    "texts",
    [
        ["red", "blue"],
        ["a/b/c", "1/2/3"],
        ["", "2024"],
        ["12:30", "x"],
        ["1.2.3.4"],
        ["may 5", "jan 7"],
        ["3:04:46", "12:00:01"],
        ["v1 2.50", "v2 3.10"],
        ["Marge 1", "Decker 2"],
    ],
)
def test_other_texts_are_no_times(texts: list[str]) -> None:
    """Words, paths, addresses, durations and versions are no times."""
    assert text_format(texts) is None


def test_a_few_texts_may_be_no_times() -> None:
    """One bad text in a hundred is borne, more are not; it may be the first."""
    texts = [moment.isoformat() for moment in MOMENTS]
    assert text_format([*texts, "soon"]) is not None
    assert text_format(["soon", *texts]) is not None
    assert text_format([*texts[:20], "soon"]) is None


def test_day_and_month_are_told_apart_by_the_data() -> None:
    """Where no day exceeds 12, the order of rows decides, then the shorter span; the doubt is told."""
    days = [datetime(2024, 1, 1) + timedelta(days=i) for i in range(12)]
    for form in ("%d/%m/%Y", "%m/%d/%Y"):
        found = text_format([day.strftime(form) for day in days])
        assert found is not None
        assert found.format == form
        assert found.doubt == (
            f"'{days[1].strftime(form)}' may also be read as {'%m/%d/%Y' if form[1] == 'd' else '%d/%m/%Y'}: write ISO "
            "8601 if that is meant"
        )


@given(st.permutations(range(1, 366)).map(lambda days: days[:80]))
def test_one_day_beyond_12_says_which_it_is(days: list[int]) -> None:
    """In any order of rows: a format that reads all is taken before one that fails for a few."""
    dates = [
        datetime(2024, 1, 1) + timedelta(days=day) for day in days if (datetime(2024, 1, 1) + timedelta(day)).day < 13
    ]
    dates.insert(len(dates) // 2, datetime(2024, 5, 13))
    for form in ("%d/%m/%Y", "%m/%d/%Y"):
        found = text_format([date.strftime(form) for date in dates])
        assert found is not None
        assert (found.format, found.doubt) == (form, "")


@given(st.lists(st.integers(315_532_800, 4_102_444_800), min_size=1))
def test_unix_times_need_a_name(seconds: list[int]) -> None:
    """Numbers are Unix times where the name says so and all are plausible, whatever they count."""
    values = np.array(seconds, np.float64)
    for name in ("timestamp", "event_time", "created_at", "Date", "ts"):
        for form, (unit, _) in UNIX.items():
            found = unix_format(name, values * unit)
            assert found is not None
            assert (found.format, found.times.astype("datetime64[s]").astype(int).tolist()) == (form, seconds)
    assert unix_format("amount", values) is None
    assert unix_format("timestamp", np.append(values, 5.0)) is None


@pytest.mark.parametrize("name", ["date", "Order Date", "created_at", "orderDate", "timestamp", "DATUM"])
@pytest.mark.parametrize("other", ["response_time", "candidate", "updates", "time_ms", "mandate", "x"])
def test_dates_of_excel_need_a_name_that_says_date(name: str, other: str) -> None:
    """Since their numbers are common; where it merely says time, it is a number, and the doubt is told."""
    values = 45_000 + np.arange(200) / 24
    found = excel_format(name, values)
    assert found is not None
    assert found.times[0] == np.datetime64("2023-03-15")
    assert (np.diff(found.times) == np.timedelta64(1, "h")).all()
    assert excel_format(other, values) is None
    assert excel_format(name, values - 45_000) is None
    notice = time_notice(cells_of(other, values.tolist()))
    assert (notice == "as dates of Excel they would be from 2023-03-15 to 2023-03-23") == ("x" not in other)
    form = find_format(cells_of(name, values.tolist()))
    assert form is not None
    assert form.format == "excel"


def test_numbers_that_could_be_times_are_told() -> None:
    """By no name, so that they are taken for numbers."""
    seconds = [int(moment.replace(tzinfo=UTC).timestamp()) for moment in MOMENTS]
    assert time_notice(cells_of("x", seconds)) == "as Unix times in seconds they would be from 2023-01-05 to 2024-01-02"
    assert time_notice(cells_of("x", [1.5, 2.5])) == ""
    assert time_notice(cells_of("x", ["a", "b"])) == ""
    assert find_format(cells_of("x", seconds)) is None


def test_texts_and_numbers_of_the_same_date_are_told_apart_from_amounts() -> None:
    """Eight, twelve or fourteen digits are a time only where each is one that there is."""
    for form, length in (("%Y%m%d", 8), ("%Y%m%d%H%M", 12), ("%Y%m%d%H%M%S", 14)):
        numbers = [int(moment.strftime(form)) for moment in MOMENTS]
        assert find_format(cells_of("x", numbers)) is not None
        assert len(str(numbers[0])) == length
        assert find_format(cells_of("x", [*numbers, int("20231399000000"[:length])])) is None
