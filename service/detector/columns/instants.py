"""A cell as a time: text, number or typed value, by the format that training found for its column.

A *format* is `iso` (ISO 8601), `rfc2822` (of mail and HTTP headers), a unit in which numbers count (`unix_s`,
`unix_ms`, `unix_us`, `unix_ns`, `excel`), or a pattern of strptime. Whatever a column's format, its times are also read
where they are written in a way that can mean nothing else: by ISO 8601 or RFC 2822, or with another clock.
"""

import re
from datetime import UTC, date, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import cache
from typing import Any, NamedTuple

import numpy as np

from kilter.service.detector.columns.base import NUMBERS, describe_value
from kilter.service.detector.columns.cells import Decimal, parse_number

ISO = "iso"
RFC = "rfc2822"
EXCEL = "excel"
UNIX = {
    "unix_s": (1, "seconds"),
    "unix_ms": (1000, "milliseconds"),
    "unix_us": (10**6, "microseconds"),
    "unix_ns": (10**9, "nanoseconds"),
}
"""Formats of Unix times, with their units in a second and the units' names."""
COUNTING = {form: f"a Unix time in {unit}" for form, (_, unit) in UNIX.items()} | {EXCEL: "a date number of Excel"}
"""What the numbers of a format count, as a message names it."""
LONGEST = 80  # characters of a text that may be a time
EXCEL_EPOCH = datetime(1899, 12, 30)
DIGITS = {8: "%Y%m%d", 12: "%Y%m%d%H%M", 14: "%Y%m%d%H%M%S"}
"""Formats of times that are written without a separator, by their length."""
POINTED = re.compile(r"([0-9]{8}|[0-9]{12}|[0-9]{14})\.0+")  # 20240531 or 20240531081500, with the .0 of a number
DASHED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")
MAIL = re.compile(
    r"([a-z]{3},? )?[0-9]{1,2} [a-z]{3} [0-9]{4} [0-9]{2}:[0-9]{2}(:[0-9]{2})? ([+-][0-9]{4}|[a-z]{1,3})", re.IGNORECASE
)
BLANKS = re.compile(r"\s+")
ZONE_NAME = re.compile(r"\[[\w/+-]+\]$", re.ASCII)  # as Java writes after an offset
WEEKDAY = re.compile(r"(mon|tue|wed|thu|fri|sat|sun)[a-z]*\.?,? (?=.*[0-9])", re.IGNORECASE)
CLOCK = re.compile(
    r"(?P<date>.+?)(?:,? at |, ?| |(?<=[0-9])T|(?<=[0-9]{4}):)"
    r"(?P<hour>[0-9]{1,2})(?P<mark>[:.])(?P<minute>[0-9]{2})(?:(?P=mark)(?P<second>[0-9]{2})"
    r"(?:[.,:](?P<fraction>[0-9]{1,9}))?)?"
    r"(?: ?(?P<half>[ap])\.? ?m\.?)?"
    r"(?: ?(?P<zone>Z|(?:UTC|GMT)?[+-][0-9]{2}(?::?[0-9]{2})?|UTC|GMT))?(?P<year> [0-9]{4})?",
    re.IGNORECASE,
)
MONTH = re.compile(
    r"(?<![a-z])(jan(uary)?|feb(ruary)?|mar(ch)?|apr(il)?|may|june?|july?|aug(ust)?|sep(t(ember)?)?|oct(ober)?"
    r"|nov(ember)?|dec(ember)?)(?![a-z])\.?",
    re.IGNORECASE,
)
CLOCK_FORM = re.compile(r"[T,: ]*%[HI].*?(?P<year> %Y)?$")
WEEKDAY_FORM = re.compile(r"^%a,? ")


class TimeParts(NamedTuple):
    """A text as a date and a clock; the latter is None where there is none."""

    date: str
    clock: re.Match[str] | None

    def form(self, date_form: str) -> str:
        """The pattern of strptime for texts like this one, with that of the date."""
        if self.clock is None:
            return date_form
        half, zone = self.clock["half"], self.clock["zone"]
        seconds = ":%S" if self.clock["second"] else ""
        fraction = ".%f" if self.clock["fraction"] else ""
        return f"{date_form} %{'I' if half else 'H'}:%M{seconds}{fraction}{' %p' if half else ''}{'%z' if zone else ''}"


def read_instant(value: Any, form: str, decimal: Decimal = ".") -> datetime:
    """A cell as a time, with an offset where one is known. Raises ValueError, with the remedy."""
    if isinstance(value, datetime):
        return value
    if isinstance(value, date):
        return datetime(value.year, value.month, value.day)
    if isinstance(value, np.datetime64):
        time: datetime = value.astype("datetime64[us]").item()
        return time
    if form in COUNTING:
        return _counted(value, form, decimal)
    text = value.strip() if isinstance(value, str) else _digits(value)
    if text is None:
        raise ValueError(f"a time is expected, not {describe_value(value)}")
    try:
        return _read_text(text, form)
    except ValueError:
        if isinstance(value, str) and (digits := _digits(text)) is not None:
            return read_instant(int(digits), form)
        pattern = f"of the form {form}"
        if form == ISO:
            pattern = "like 2024-05-31T08:15:00 (ISO 8601)"
        elif form == RFC:
            pattern = "like Fri, 31 May 2024 08:15:00 +0200 (RFC 2822)"
        raise ValueError(f"a time {pattern} is expected, not {describe_value(value)}") from None


def _counted(value: Any, form: str, decimal: Decimal) -> datetime:
    """The time of a number that counts, or of a text that is no number and can only be a time."""
    number = value
    if isinstance(value, str):
        text = value.strip()
        try:
            number = parse_number(text, decimal)
        except ValueError:
            try:
                return _certain(text)
            except ValueError:
                number = None
    if isinstance(number, bool) or not isinstance(number, NUMBERS):
        raise ValueError(f"{COUNTING[form]} is expected, not {describe_value(value)}")
    try:
        if form == EXCEL:  # whose numbers are rounded: 1 o'clock may be 0:59:59.9999
            return EXCEL_EPOCH + timedelta(seconds=round(float(number) * 86_400))
        return datetime.fromtimestamp(float(number) / UNIX[form][0], UTC)
    except (OSError, ValueError, OverflowError):
        kind = "Unix time" if form in UNIX else "date number"
        raise ValueError(f"the {kind} {value!r} is out of range") from None


def _digits(value: Any) -> str | None:
    """The digits of a compact time that came as a number, or with the `.0` of one; None if it is neither."""
    if isinstance(value, str):
        return digits[1] if (digits := POINTED.fullmatch(value)) else None
    if isinstance(value, bool) or not isinstance(value, NUMBERS) or not (0 < value < 1e15 and value % 1 == 0):
        return None
    text = f"{value:.0f}"
    return text if len(text) in DIGITS else None


def _read_text(text: str, form: str) -> datetime:
    """The time of a text: by its format as it stands, else by the format's date and a clock of any spelling."""
    if form != RFC and (form not in DIGITS.values() or DIGITS.get(len(text)) == form):
        try:
            return datetime.fromisoformat(text) if form == ISO else datetime.strptime(text, form)
        except ValueError:
            if text.isdigit():
                raise
    if len(text) > LONGEST:
        raise ValueError("it is too long for a time")
    try:
        return _certain(text)
    except ValueError:
        if form in (ISO, RFC):
            raise
    parts = split_time(text)
    return with_clock(datetime.strptime(parts.date, _date_form(form)), parts.clock, twelve="%I" in form)


def _certain(text: str) -> datetime:
    """The time of a text that can mean only one: by ISO 8601 in any of its spellings, or by RFC 2822."""
    if MAIL.fullmatch(text):
        return parsedate_to_datetime(text)
    parts = split_time(text)
    if not DASHED.fullmatch(parts.date):
        raise ValueError("it is neither by ISO 8601 nor by RFC 2822")
    return with_clock(datetime.fromisoformat(parts.date), parts.clock)


def split_time(text: str) -> TimeParts:
    """A text as a date and a clock, its month in three letters; without weekday, quotes, brackets and spare blanks."""
    text = ZONE_NAME.sub("", BLANKS.sub(" ", text).strip(" '\"")).strip("[]")
    text = WEEKDAY.sub("", text, count=1) if text[:1].isalpha() else text
    text = MONTH.sub(lambda name: name[0][:3], text)
    clock = CLOCK.fullmatch(text)
    return TimeParts(text, None) if clock is None else TimeParts(clock["date"] + (clock["year"] or ""), clock)


def with_clock(day: datetime, clock: re.Match[str] | None, *, twelve: bool = False) -> datetime:
    """A day at the time of a clock, (in any spelling). Raises ValueError if there is no such time.

    `twelve` says that the clock's hours go to 12, so that one of them without AM or PM is no time.
    """
    if clock is None:
        return day
    hour, half, zone = int(clock["hour"]), clock["half"], clock["zone"]
    if half is not None:
        if not 1 <= hour <= 12:
            raise ValueError("the hours of a clock with AM and PM go from 1 to 12")
        hour = hour % 12 + 12 * (half in "pP")
    elif twelve and 1 <= hour <= 12:
        raise ValueError("a clock of 12 hours needs AM or PM")
    fraction = int((clock["fraction"] or "").ljust(6, "0")[:6])
    time = day.replace(hour=hour, minute=int(clock["minute"]), second=int(clock["second"] or 0), microsecond=fraction)
    if zone is None:
        return time
    offset = zone.upper().removeprefix("UTC").removeprefix("GMT").removeprefix("Z").replace(":", "")
    return time.replace(tzinfo=datetime.strptime(offset.ljust(5, "0") if offset else "+0000", "%z").tzinfo)


@cache
def _date_form(form: str) -> str:
    """The date in a pattern of strptime, with months in three letters."""
    form = WEEKDAY_FORM.sub("", form).replace("%B", "%b")
    clock = CLOCK_FORM.search(form)
    return form if clock is None else form[: clock.start()] + (clock["year"] or "")
