"""The clock by which a column's times are taken, so that one instant is the same hour however its offset is written.

A *clock* is a text in the artifact: `UTC`; the name of a time zone, by whose wall clock every time with an offset is
taken; an offset like `+02:00`, the only one of the training values; or `written`, by which every time is taken by the
wall clock that it was written by. A time without an offset is taken as it stands by every clock.
"""

import math
import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta, timezone
from functools import cache
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

import numpy as np

from kilter.service.detector.arrays import Positions, Times

if TYPE_CHECKING:
    import polars as pl

UTC_CLOCK = "UTC"
WRITTEN = "written"
OFFSET = re.compile(r"([+-])([01][0-9]|2[0-3]):([0-5][0-9])")
ZERO = timedelta(0)
PROBES = 256  # instants at which time zones are compared with the offsets of the training values
LEAST_AGREEMENT = 0.99  # share of all instants at which a zone has the offset that was written
LATER = 60  # months after the last of the training values for which zones are compared with each other
FAMILIAR = (
    "Europe/Berlin",
    "Europe/London",
    "Europe/Moscow",
    "America/New_York",
    "America/Chicago",
    "America/Denver",
    "America/Los_Angeles",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    "Asia/Shanghai",
    "Asia/Tokyo",
    "Australia/Sydney",
)
"""Of zones whose clocks go alike the first of these gives its name."""


class Clock(NamedTuple):
    """A clock, and what a report says of it; nothing where no offset was written, or none but zero."""

    name: str = UTC_CLOCK
    why: str = ""


def check_clock(name: str) -> None:
    """Raise ValueError if there is no such clock on this machine."""
    if name in (UTC_CLOCK, WRITTEN) or OFFSET.fullmatch(name):
        return
    try:
        _zone(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name!r} here: install the package tzdata") from None


@cache
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


@cache
def _fixed(offset: str) -> timezone:
    """The time zone of an offset like `+02:00`."""
    hours, minutes = int(offset[1:3]), int(offset[4:6])
    return timezone((-1 if offset[0] == "-" else 1) * timedelta(hours=hours, minutes=minutes))


def local_time(time: datetime, clock: str) -> datetime:
    """A time as a clock shows it, without an offset."""
    if time.tzinfo is None:
        return time
    if clock == UTC_CLOCK:
        time = time.astimezone(UTC)
    elif clock == WRITTEN or (clock[0] in "+-" and time.utcoffset() != ZERO):
        pass
    else:  # a time in UTC is no wall clock of a column that has always had another offset
        time = time.astimezone(_fixed(clock) if clock[0] in "+-" else _zone(clock))
    return time.replace(tzinfo=None)


def typed_times(cells: "pl.Series", clock: str) -> Times:
    """Dates and times of a typed table, as a clock shows them."""
    import polars as pl

    zone = cells.dtype.time_zone if isinstance(cells.dtype, pl.Datetime) else None
    if zone is not None:
        if clock == UTC_CLOCK:
            cells = cells.dt.convert_time_zone("UTC")
        elif OFFSET.fullmatch(clock) and zone in ("UTC", "Etc/UTC"):
            cells = cells.dt.convert_time_zone("UTC") + _fixed(clock).utcoffset(None)
        elif not OFFSET.fullmatch(clock) and clock != WRITTEN:
            cells = cells.dt.convert_time_zone(clock)
        cells = cells.dt.replace_time_zone(None)
    return cells.cast(pl.Datetime("us")).to_numpy().astype("datetime64[us]")


def typed_clock(cells: "pl.Series") -> Clock:
    """The clock of the dates and times of a typed table: that of their time zone."""
    import polars as pl

    zone = cells.dtype.time_zone if isinstance(cells.dtype, pl.Datetime) else None
    if zone is None or zone in ("UTC", "Etc/UTC"):
        return Clock()
    return Clock(zone, f"by the wall clock of {zone}, the column's time zone")


def find_clock(times: Sequence[datetime]) -> Clock:
    """The clock of training values, by the offsets that are written with them."""
    offsets = Counter(time.utcoffset() for time in times)
    without = offsets.pop(None, 0)
    if not offsets or (set(offsets) == {ZERO} and not without):
        return Clock()
    if without:
        return Clock(UTC_CLOCK, f"in UTC, for which {without:,} of {len(times):,} without an offset are taken too")
    if len(offsets) == 1:
        offset = _written_offset(next(filter(None, offsets)))
        if offset is None:
            return Clock(WRITTEN, "by the wall clock that each was written by")
        why = f"by the wall clock that each was written by, all with {offset}; one in UTC is moved there"
        return Clock(offset, why)
    zone = _find_zone(times)
    if zone is None:
        return Clock(WRITTEN, f"by the wall clock that each was written by, with {len(offsets)} offsets of no one zone")
    return Clock(zone, f"by the wall clock of {zone}, to which their offsets belong")


def _written_offset(offset: timedelta) -> str | None:
    """An offset as ISO 8601 writes it; None if it has seconds."""
    minutes, rest = divmod(abs(offset), timedelta(minutes=1))
    if rest:
        return None
    return f"{'-' if offset < ZERO else '+'}{minutes // 60:02}:{minutes % 60:02}"


def _find_zone(times: Sequence[datetime]) -> str | None:
    """The time zone that has the offsets of times; None if none has nearly all of them.

    Zones are compared where the offset changes, and at instants in between. Of those that agree, as Berlin and Rome
    do, the one is taken whose clock most of them will show in the years to come.
    """
    pairs = {(round(time.timestamp()), offset) for time in times if (offset := time.utcoffset()) is not None}
    ordered = np.array(sorted((second, offset.total_seconds()) for second, offset in pairs), np.int64)
    spread = np.unique(np.linspace(0, len(ordered) - 1, PROBES).astype(np.int64))
    changes = np.flatnonzero(np.diff(ordered[:, 1]))
    at_changes = np.unique(np.concatenate([changes, changes + 1]))
    agreeing: dict[str, float] = {}
    # The probes are a sample, whose share may lie three standard errors below that of all.
    least = LEAST_AGREEMENT - 3 * math.sqrt(LEAST_AGREEMENT * (1 - LEAST_AGREEMENT) / PROBES)
    for name in sorted(available_timezones()):
        if "/" in name and not name.startswith("Etc/") and _agreement(name, ordered[spread]) >= least:
            agreeing[name] = _agreement(name, ordered[at_changes[-PROBES:]])
    best = [name for name, share in agreeing.items() if share == max(agreeing.values())]
    if not best:
        return None
    later = [int(ordered[-1, 0]) + 2_629_746 * month for month in range(LATER)]
    futures = {name: tuple(_offset(name, second) for second in later) for name in best}
    common, _ = Counter(futures.values()).most_common(1)[0]
    alike = [name for name in best if futures[name] == common]
    return next((name for name in FAMILIAR if name in alike), alike[0])


def _agreement(name: str, ordered: Positions) -> float:
    """At which share of instants, (n, 2) with their offsets, all in seconds, a zone has that offset."""
    return float(np.mean([_offset(name, second) == offset for second, offset in ordered.tolist()]))


def _offset(name: str, second: int) -> float:
    offset = datetime.fromtimestamp(second, _zone(name)).utcoffset()
    return 0.0 if offset is None else offset.total_seconds()


def clock_label(clock: str) -> str:
    """What a reason or a report calls the clock; nothing for UTC, by which a time without an offset is taken too."""
    if clock == UTC_CLOCK:
        return ""
    return "local time" if clock == WRITTEN or OFFSET.fullmatch(clock) else clock
