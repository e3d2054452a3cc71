"""Ways in which tools write times, each with what it keeps of one."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo


class TimeSpelling(NamedTuple):
    """How a tool writes a wall time, and the format by which training reads a column of it."""

    write: Callable[[datetime], Any]
    format: str


def twelve(time: datetime) -> int:
    """The hour on a clock of 12."""
    return (time.hour + 11) % 12 + 1


def unix(time: datetime) -> int:
    """Seconds since 1970, of a time in UTC."""
    return int(time.replace(tzinfo=UTC).timestamp())


SPELLINGS: dict[str, TimeSpelling] = {
    "iso": TimeSpelling(lambda t: t.isoformat(), "iso"),
    "iso with a blank": TimeSpelling(lambda t: f"{t:%Y-%m-%d %H:%M}", "iso"),
    "iso with nanoseconds": TimeSpelling(lambda t: f"{t:%Y-%m-%dT%H:%M:%S}.123456789Z", "iso"),
    "iso and UTC, as BigQuery writes it": TimeSpelling(lambda t: f"{t:%Y-%m-%d %H:%M:%S} UTC", "iso"),
    "datetimeoffset of SQL Server": TimeSpelling(lambda t: f"{t:%Y-%m-%d %H:%M:%S}.1234567 +00:00", "iso"),
    "as Java writes it": TimeSpelling(lambda t: f"{t:%Y-%m-%dT%H:%M:%S}+00:00[Etc/UTC]", "iso"),
    "RFC 1123": TimeSpelling(lambda t: f"{t:%a, %d %b %Y %H:%M:%S} GMT", "rfc2822"),
    "RFC 2822": TimeSpelling(lambda t: format_datetime(t.replace(tzinfo=UTC)), "rfc2822"),
    "SQL Server": TimeSpelling(lambda t: f"{t:%b} {t.day:2d} {t:%Y} {twelve(t):2d}:{t:%M%p}", "%b %d %Y %I:%M %p"),
    "SQL Server with milliseconds": TimeSpelling(
        lambda t: f"{t:%b} {t.day:2d} {t:%Y} {twelve(t):2d}:{t:%M:%S}:678{t:%p}", "%b %d %Y %I:%M:%S.%f %p"
    ),
    "Oracle": TimeSpelling(lambda t: f"{t:%d-%b-%y %I.%M.%S}.678000000 {t:%p}".upper(), "%d-%b-%y %I:%M:%S.%f %p"),
    "day first": TimeSpelling(lambda t: f"{t:%d.%m.%Y %H:%M:%S}", "%d.%m.%Y %H:%M:%S"),
    "day first with a comma": TimeSpelling(lambda t: f"{t:%d.%m.%Y, %H:%M}", "%d.%m.%Y %H:%M"),
    "day first with points": TimeSpelling(lambda t: f"{t.day}.{t.month}.{t:%Y} {t.hour}.{t:%M}", "%d.%m.%Y %H:%M"),
    "day first, 12 hours": TimeSpelling(lambda t: f"{t:%d/%m/%Y} {twelve(t)}:{t:%M} {t:%p}", "%d/%m/%Y %I:%M %p"),
    "month first": TimeSpelling(
        lambda t: f"{t.month}/{t.day}/{t:%Y}, {twelve(t)}:{t:%M:%S}\u202f{t:%p}", "%m/%d/%Y %I:%M:%S %p"
    ),
    "in words": TimeSpelling(
        lambda t: f"{t:%B %d, %Y} at {twelve(t)}:{t:%M} {t:%p}".replace("AM", "a.m."), "%B %d, %Y %I:%M %p"
    ),
    "a log's": TimeSpelling(lambda t: f"[{t:%d/%b/%Y:%H:%M:%S} +0000]", "%d/%b/%Y %H:%M:%S%z"),
    "the C library's": TimeSpelling(lambda t: f"{t:%a %b} {t.day:2d} {t:%H:%M:%S} {t:%Y}", "%b %d %Y %H:%M:%S"),
    "as date prints it": TimeSpelling(lambda t: f"{t:%a %b %d %H:%M:%S} UTC {t:%Y}", "%b %d %Y %H:%M:%S%z"),
    "14 digits": TimeSpelling(lambda t: f"{t:%Y%m%d%H%M%S}", "%Y%m%d%H%M%S"),
    "12 digits": TimeSpelling(lambda t: f"{t:%Y%m%d%H%M}", "%Y%m%d%H%M"),
    "unix_s": TimeSpelling(unix, "unix_s"),
    "unix_s with a fraction": TimeSpelling(lambda t: unix(t) + 0.25, "unix_s"),
    "unix_ms": TimeSpelling(lambda t: unix(t) * 10**3, "unix_ms"),
    "unix_us": TimeSpelling(lambda t: unix(t) * 10**6, "unix_us"),
    "unix_ns": TimeSpelling(lambda t: unix(t) * 10**9, "unix_ns"),
    "Excel": TimeSpelling(lambda t: round((t - datetime(1899, 12, 30)) / timedelta(days=1), 6), "excel"),
}
"""Of a wall time of whole seconds in UTC; none loses its hour."""


def with_offset(time: datetime, zone: str) -> datetime:
    """An instant, given in UTC without an offset, by the clock of a zone, with the offset alone."""
    return datetime.fromisoformat(time.replace(tzinfo=UTC).astimezone(ZoneInfo(zone)).isoformat())
