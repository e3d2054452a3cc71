"""Tests of `columns.clocks`: an instant is the same wall time however its offset is written."""

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.service.detector.columns.clocks import (
    UTC_CLOCK,
    WRITTEN,
    Clock,
    check_clock,
    clock_label,
    find_clock,
    local_time,
    typed_clock,
    typed_times,
)
from tests.support.time_spellings import with_offset

ZONES = ("Europe/Berlin", "America/New_York", "Australia/Sydney", "America/Santiago", "Europe/London", "Asia/Jerusalem")


def times_of(zone: str, first: datetime, days: int, step: int = 7) -> list[datetime]:
    """Every so many hours an instant, with the offset of a zone."""
    return [with_offset(first + timedelta(hours=hours), zone) for hours in range(0, 24 * days, step)]


@settings(max_examples=12)
@given(
    st.sampled_from(ZONES), st.datetimes(datetime(2015, 1, 1), datetime(2024, 1, 1)), st.randoms(use_true_random=False)
)
def test_a_year_of_offsets_says_which_zone_it_was(zone: str, first: datetime, random: object) -> None:
    """Or one whose clock goes alike, in any order of rows; a few other offsets do not matter."""
    times = times_of(zone, first.replace(microsecond=0), 400)
    random.shuffle(times)  # type: ignore[attr-defined]
    times += [time.astimezone(timezone(timedelta(hours=9))) for time in times[:5]]
    clock = find_clock(times)
    same = [time.astimezone(ZoneInfo(clock.name)).replace(tzinfo=None) for time in times]
    assert same == [time.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for time in times]
    later = [first.replace(year=first.year + 2, month=month, tzinfo=UTC, day=1) for month in range(1, 13)]
    assert [local_time(time, clock.name) for time in later] == [
        time.astimezone(ZoneInfo(zone)).replace(tzinfo=None) for time in later
    ]
    assert clock.why == f"by the wall clock of {clock.name}, to which their offsets belong"
    check_clock(clock.name)
    assert clock_label(clock.name) == clock.name


@given(st.datetimes(datetime(1990, 1, 1), datetime(2090, 1, 1)), st.integers(-14 * 60, 14 * 60))
def test_an_instant_of_a_zone_is_one_wall_time_whatever_its_offset(moment: datetime, minutes: int) -> None:
    """And a time without an offset is taken as it stands."""
    here = moment.replace(tzinfo=UTC).astimezone(ZoneInfo("Europe/Berlin"))
    there = here.astimezone(timezone(timedelta(minutes=minutes)))
    for clock in ("Europe/Berlin", UTC_CLOCK):
        assert local_time(there, clock) == local_time(here, clock) == local_time(here.astimezone(UTC), clock)
    assert local_time(there, "Europe/Berlin") == here.replace(tzinfo=None)
    assert local_time(there, WRITTEN) == there.replace(tzinfo=None)
    for clock in ("Europe/Berlin", UTC_CLOCK, WRITTEN, "+02:00"):
        assert local_time(moment, clock) == moment


def test_one_offset_is_that_of_a_season_perhaps() -> None:
    """Another one is taken by its own wall clock, as summer time must be; one in UTC is moved to that of training."""
    clock = find_clock(times_of("Europe/Berlin", datetime(2024, 1, 1), 60))
    assert clock.name == "+01:00"
    for text, hour in (("2024-01-05T09:00+01:00", 9), ("2024-07-05T09:00+02:00", 9), ("2024-01-05T08:00Z", 9)):
        assert local_time(datetime.fromisoformat(text), clock.name).hour == hour
    assert find_clock(times_of("America/Phoenix", datetime(2024, 1, 1), 60)).name == "-07:00"
    assert clock_label("+01:00") == clock_label(WRITTEN) == "local time"


def test_offsets_of_many_places_are_taken_as_they_were_written() -> None:
    """Everybody's morning is a morning."""
    times = [time for zone in ZONES for time in times_of(zone, datetime(2024, 1, 1), 100)]
    clock = find_clock(times)
    assert clock.name == WRITTEN
    assert "of no one zone" in clock.why
    assert find_clock([datetime(2024, 1, 1, tzinfo=timezone(timedelta(seconds=1)))]).name == WRITTEN


def test_without_offsets_or_in_utc_there_is_nothing_to_say() -> None:
    """Where some have one and others none, UTC is what is meant, and is told."""
    plain = [datetime(2024, 1, day) for day in range(1, 9)]
    utc = [time.replace(tzinfo=UTC) for time in plain]
    assert find_clock(plain) == find_clock(utc) == Clock(UTC_CLOCK, "")
    assert find_clock([*plain[:3], *utc]) == Clock("UTC", "in UTC, for which 3 of 11 without an offset are taken too")
    assert clock_label(UTC_CLOCK) == ""


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "+25:00", "../../etc/passwd", "local"])
def test_a_clock_that_is_not_there_is_refused(name: str) -> None:
    """With the remedy, since a machine may have no time zones."""
    with pytest.raises(ValueError, match=r"there is no time zone .* here: install the package tzdata"):
        check_clock(name)


@pytest.mark.parametrize("clock", ["Europe/Berlin", UTC_CLOCK, WRITTEN, "+01:00"])
@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC", "America/New_York", None])
def test_typed_times_are_those_of_their_texts(clock: str, zone: str | None) -> None:
    """Each with the offset of the column's time zone; none where it has none."""
    moments = [datetime(2024, 1, 1, 3) + timedelta(hours=37 * i) for i in range(300)]
    cells = pl.Series(moments)
    cells = cells if zone is None else cells.dt.replace_time_zone("UTC").dt.convert_time_zone(zone)
    texts = [moment if zone is None else with_offset(moment, zone) for moment in moments]
    assert typed_times(cells, clock).tolist() == [local_time(time, clock) for time in texts]
    assert typed_clock(cells).name == (zone if zone not in (None, "UTC") else UTC_CLOCK)
    assert np.isnat(typed_times(pl.Series([None], dtype=cells.dtype), clock)).all()
