"""Tests of `columns.instants`: a cell is read in the format of its column, and in any that can mean nothing else."""

from contextlib import suppress
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.columns.instants import LONGEST, read_instant, split_time, with_clock
from tests.support.time_spellings import SPELLINGS

moments = st.datetimes(datetime(1980, 1, 1), datetime(2068, 1, 1)).map(lambda time: time.replace(microsecond=0))
FORMATS = sorted({spelling.format for spelling in SPELLINGS.values()})


def plain(time: datetime) -> datetime:
    """A time in UTC, without an offset, to the minute."""
    return time.replace(tzinfo=None, second=0, microsecond=0)


@given(moments)
def test_a_spelling_is_read_in_its_format(moment: datetime) -> None:
    """As a text, and as a number if it is one."""
    for spelling in SPELLINGS.values():
        cell = spelling.write(moment)
        for value in (cell, str(cell), f" {cell} "):
            assert plain(read_instant(value, spelling.format)) == plain(moment), (value, spelling.format)
        if not isinstance(cell, str):
            assert plain(read_instant(np.float64(cell), spelling.format)) == plain(moment)


CERTAIN = [name for name, spelling in SPELLINGS.items() if spelling.format in ("iso", "rfc2822")]


@pytest.mark.parametrize("form", FORMATS)
@given(moment=moments, name=st.sampled_from(CERTAIN))
def test_what_can_mean_one_time_only_is_read_whatever_the_format(form: str, moment: datetime, name: str) -> None:
    """ISO 8601 and RFC 2822; and typed values."""
    assert plain(read_instant(SPELLINGS[name].write(moment), form)) == plain(moment)
    assert plain(read_instant(moment, form)) == plain(moment)
    assert plain(read_instant(np.datetime64(moment), form)) == plain(moment)
    assert read_instant(moment.date(), form) == datetime.combine(moment.date(), datetime.min.time())


@given(moments)
def test_the_same_day_may_have_another_clock(moment: datetime) -> None:
    """With or without seconds, of 12 or 24 hours, with an offset or not; or none, which is midnight."""
    form = "%d.%m.%Y %H:%M"
    for clock in ("%H:%M", "%H:%M:%S", "%I:%M %p", "%I:%M%p", "%I.%M.%S.%f %p", "%H:%M:%SZ", "%H:%M:%S,%f +0000"):
        for join in (" ", ", ", "  "):
            assert plain(read_instant(moment.strftime(f"%d.%m.%Y{join}{clock}"), form)) == plain(moment)
    assert read_instant(moment.strftime("%d.%m.%Y"), form) == datetime.combine(moment.date(), datetime.min.time())


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("12/31/2024", "%d/%m/%Y"),
        ("31/12/2024 3:04", "%d/%m/%Y %I:%M %p"),
        ("31/12/2024 15:04 PM", "%d/%m/%Y %I:%M %p"),
        ("31/12/2024 25:04", "%d/%m/%Y %H:%M"),
        ("01/02/2024", "iso"),
        ("202405310815", "%Y%m%d%H%M%S"),
        ("2024-13-01", "%d/%m/%Y"),
        ("Tue, 02 Foo 2024 03:04:05 GMT", "rfc2822"),
        ("soon", "unix_s"),
        (True, "unix_s"),
        ([1], "excel"),
        (1e300, "unix_s"),
        (1e9, "excel"),
        (None, "iso"),
        ("1" * LONGEST * 2, "%d.%m.%Y"),
        ("2024-01-01 " + "0" * LONGEST, "rfc2822"),
    ],
)
def test_what_is_no_time_or_may_mean_another_is_refused(value: Any, form: str) -> None:
    """And never guessed."""
    with pytest.raises(ValueError, match=r"is expected, not|is out of range"):
        read_instant(value, form)


@given(st.text() | st.from_regex(r"[0-9 :./,APMTZ+-]{0,30}"), st.sampled_from(FORMATS))
def test_any_text_is_read_or_refused(text: str, form: str) -> None:
    """With a ValueError and nothing else."""
    with suppress(ValueError, OverflowError):
        read_instant(text, form)


def test_dates_of_excel_are_rounded_to_seconds() -> None:
    """Since a twelfth of a day has no end: one o'clock may be a little less than that."""
    assert read_instant(45293 + round(1 / 24, 6), "excel") == datetime(2024, 1, 2, 1)
    assert read_instant("45293,125", "excel", ",") == datetime(2024, 1, 2, 3)


def test_the_parts_of_a_text_say_its_pattern() -> None:
    """By which a column's other texts are read."""
    parts = split_time("Tuesday, January  2, 2024 at 3:04:05.5 p.m. GMT+1:00".replace("+1", "+01"))
    assert parts.date == "Jan 2, 2024"
    assert parts.form("%b %d, %Y") == "%b %d, %Y %I:%M:%S.%f %p%z"
    day = datetime(2024, 1, 2)
    assert with_clock(day, parts.clock).isoformat() == "2024-01-02T15:04:05.500000+01:00"
    assert with_clock(day, split_time("31.12.2024").clock) == day
    assert split_time("31.12.24").form("%d.%m.%y") == "%d.%m.%y"
    assert read_instant(date(2024, 1, 2), "iso") == day
    assert read_instant(1_704_164_645, "unix_s") == datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
