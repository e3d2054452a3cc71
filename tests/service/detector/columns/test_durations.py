"""Tests of `columns.durations`: durations and times of day, read and spelled."""

from datetime import time, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.columns.durations import DAY, clock_seconds, duration_seconds, spell_clock, spell_duration

SECONDS = st.integers(-10_000_000, 10_000_000)


def pandas_like(seconds: int) -> str:
    """As pandas prints a Timedelta."""
    days, rest = divmod(seconds, int(DAY))
    return f"{days} days {rest // 3600:02}:{rest % 3600 // 60:02}:{rest % 60:02}"


@given(SECONDS, st.sampled_from(["h:m", "m:s"]))
def test_a_spelled_duration_is_read_as_itself(seconds: int, two: str) -> None:
    """Whole seconds and millionths of them, below 0 too, whatever two numbers alone would mean."""
    for value in (float(seconds), seconds / 1e6 * 7):
        text = spell_duration(value, two)  # type: ignore[arg-type]
        assert duration_seconds(text, two) == pytest.approx(value, abs=1e-6)  # type: ignore[arg-type]


@given(st.integers(0, 10_000_000))
def test_one_duration_has_one_meaning_in_every_spelling(seconds: int) -> None:
    """Hours, days before them, ISO 8601, letters, and as Python and pandas print it."""
    hours, minutes, rest = seconds // 3600, seconds % 3600 // 60, seconds % 60
    spellings = [
        f"{hours}:{minutes:02}:{rest:02}",
        f"{hours:02}:{minutes:02}:{rest:02}.000",
        str(timedelta(seconds=seconds)),
        pandas_like(seconds),
        f"PT{hours}H{minutes}M{rest}S",
        f"P{seconds // 86400}DT{seconds % 86400}S",
        f"{hours}h {minutes}m {rest}s",
        f"{hours}h{minutes}min{rest}sec",
        f"{hours} hours, {minutes} minutes, {rest} seconds",
    ]
    assert {duration_seconds(text, "h:m") for text in spellings} == {float(seconds)}
    assert {duration_seconds(f"-{text}", "h:m") for text in spellings if "day" not in text} == {-float(seconds)}


@given(st.times())
def test_one_time_of_day_has_one_meaning_in_every_spelling(at: time) -> None:
    """With 24 hours and with 12, to the second or to the minute."""
    seconds = at.hour * 3600 + at.minute * 60 + at.second
    twelve = f"{at.hour % 12 or 12}:{at.minute:02}:{at.second:02}"
    half = "PM" if at.hour >= 12 else "AM"
    spellings = [
        f"{at:%H:%M:%S}",
        f"T{at:%H:%M:%S}",
        f"{twelve} {half}",
        f"{twelve}{half.lower()}",
        f"{twelve} {half[0]}.M.",
    ]
    assert {clock_seconds(text) for text in spellings} == {float(seconds)}
    assert clock_seconds(f"{at:%H:%M}") == seconds - at.second
    assert clock_seconds(spell_clock(float(seconds))) == seconds
    assert clock_seconds(at.isoformat()) == pytest.approx(seconds + at.microsecond / 1e6)


def test_two_numbers_are_what_the_column_decides() -> None:
    """Hours and minutes, or minutes and seconds; a fraction leaves no doubt."""
    assert (duration_seconds("4:05", "h:m"), duration_seconds("4:05", "m:s")) == (14_700.0, 245.0)
    assert (duration_seconds("4:05.5", "h:m"), duration_seconds("1 day 4:05", "m:s")) == (245.5, DAY + 14_700)


@pytest.mark.parametrize(
    "text", ["", "4", "4:5", "4:60", "4:05:60", "P", "PT", "12 apples", "3h apples", "a:b", "::", "h"]
)
def test_what_is_no_duration_is_none(text: str) -> None:
    """Nor is any of it a time of day."""
    assert duration_seconds(text, "h:m") is None
    assert clock_seconds(text) is None


@pytest.mark.parametrize("text", ["24:00", "13:00 PM", "0:30 am", "12:60", "-1:00", "12:30:15:00"])
def test_what_no_clock_shows_is_no_time_of_day(text: str) -> None:
    """A thirteenth hour before or after noon, or a sixtieth minute."""
    assert clock_seconds(text) is None
