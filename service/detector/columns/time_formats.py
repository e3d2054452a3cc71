"""Which columns of a training file are times, and in which format: decided once, from the whole column."""

import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

import numpy as np

from kilter.service.detector.arrays import Floats, Times
from kilter.service.detector.columns.cells import TrainingCells
from kilter.service.detector.columns.clocks import UTC_CLOCK, Clock, find_clock, local_time, typed_clock, typed_times
from kilter.service.detector.columns.instants import (
    DIGITS,
    EXCEL,
    EXCEL_EPOCH,
    ISO,
    MAIL,
    MONTH,
    RFC,
    UNIX,
    read_instant,
    split_time,
)

PROBED = 200  # number of distinct texts on which a format is tried first
EXAMPLES = 3  # number of those whose look says which formats are tried
TOLERATED = 0.01  # largest share of texts that may be no times in a column of times
PLAUSIBLE = (datetime(1980, 1, 1), datetime(2100, 1, 1))  # between which numbers are times
TIME_NAME = re.compile(r"time|date|(^|_)ts$|epoch|unix|_at$|(created|updated|modified)$", re.IGNORECASE)
DATE_NAME = re.compile(
    r"(^|[^a-z])(date|datum|datetime|timestamp)([^a-z]|$)|_at$|(^|[^a-z])(created|updated|modified)$", re.IGNORECASE
)
CAMEL_DATE = re.compile(r"[a-z](Date|DateTime|Timestamp|At)$|^(date|timestamp)[A-Z]")
"""Names that say date, and not merely time, which may be a duration."""
TRIPLE = re.compile(r"[0-9]{1,4}([./-])[0-9]{1,2}\1[0-9]{1,4}")
NUMERIC = ("%Y{0}%m{0}%d", "%d{0}%m{0}%Y", "%m{0}%d{0}%Y", "%d{0}%m{0}%y", "%m{0}%d{0}%y")
WORDS = (
    *("%d %b %Y", "%d-%b-%Y", "%d/%b/%Y", "%d. %b %Y", "%d %b %y", "%d-%b-%y"),
    *("%b %d, %Y", "%b %d %Y", "%Y-%b-%d", "%Y %b %d"),
)


class TimeFormat(NamedTuple):
    """Format and clock of a column, the times that they give, and the doubt if texts can be read in two ways."""

    format: str
    times: Times
    clock: Clock = Clock()
    doubt: str = ""


class Reading(NamedTuple):
    """The times that a format makes of texts, and the number of those that are none."""

    format: str
    moments: list[datetime]
    unread: int

    @property
    def times(self) -> Times:
        """(moments,), by UTC."""
        return _as_array(self.moments, UTC_CLOCK)


def find_format(cells: TrainingCells, *, certain: bool = False) -> TimeFormat | None:
    """The format of a column of times; None for any other column.

    Numbers that count from some day are times where the column's name says so, or if it is `certain` that it has times.
    """
    if cells.texts is None and cells.numbers is None:
        is_time = str(cells.cells.dtype) == "Date" or str(cells.cells.dtype).startswith("Datetime")
        if not is_time:
            return None
        clock = typed_clock(cells.cells)
        return TimeFormat(ISO, typed_times(cells.cells.drop_nulls(), clock.name), clock)
    if not cells.are_numbers:
        return text_format(cells.distinct_texts.to_list())
    if len(cells.values) < cells.count:
        return None
    name = "timestamp" if certain else cells.name
    return unix_format(name, cells.values) or _compact_format(cells) or excel_format(name, cells.values)


def text_format(texts: Sequence[str]) -> TimeFormat | None:
    """The format of distinct texts, in the order in which they came, if almost all of them are times.

    Of formats that read as many, like those with the day and with the month first, the one is taken by which the times
    ascend, or else span the shortest time.
    """
    probes = texts[:: max(1, len(texts) // PROBED)]
    candidates = dict.fromkeys(form for example in probes[:EXAMPLES] for form in _candidates(example))
    fitting = [form for form in candidates if _read_texts(form, probes) is not None]
    readings = [reading for form in fitting if (reading := _read_texts(form, texts)) is not None]
    readings = [reading for reading in readings if reading.unread == min(each.unread for each in readings)]
    if not readings:
        return None
    ordered = [reading for reading in readings if (np.diff(reading.times) >= np.timedelta64(0)).all()]
    best = ordered[0] if len(ordered) == 1 else min(readings, key=lambda reading: float(np.ptp(_micros(reading.times))))
    clock = find_clock(best.moments)
    return TimeFormat(best.format, _as_array(best.moments, clock.name), clock, _doubt(texts, best, readings))


def _doubt(texts: Sequence[str], best: Reading, readings: Sequence[Reading]) -> str:
    """That texts can be read in another way, by an example; nothing if they cannot."""
    for other in readings:
        for text in texts if other is not best else ():
            first, second = _read_texts(best.format, [text]), _read_texts(other.format, [text])
            if first is not None and second is not None and first.moments != second.moments:
                return f"{text!r} may also be read as {other.format}: write ISO 8601 if that is meant"
    return ""


def unix_format(name: str, values: Floats) -> TimeFormat | None:
    """The format of numbers if they are Unix times: the column's name says time, and all are plausible."""
    if not TIME_NAME.search(name):
        return None
    low, high = ((day - datetime(1970, 1, 1)).total_seconds() for day in PLAUSIBLE)
    for form, (per_second, _) in UNIX.items():
        if (values >= low * per_second).all() and (values <= high * per_second).all():
            return TimeFormat(form, (values * (1_000_000 / per_second)).astype(np.int64).astype("datetime64[us]"))
    return None


def excel_format(name: str, values: Floats) -> TimeFormat | None:
    """The format of numbers if they are dates of Excel: the column's name says date, and all are plausible."""
    if not (DATE_NAME.search(name) or CAMEL_DATE.search(name)):
        return None
    low, high = ((day - EXCEL_EPOCH).total_seconds() / 86_400 for day in PLAUSIBLE)
    if not ((values >= low).all() and (values <= high).all()):
        return None
    seconds = np.round(values * 86_400).astype("timedelta64[s]")
    return TimeFormat(EXCEL, (np.datetime64(EXCEL_EPOCH, "s") + seconds).astype("datetime64[us]"))


def time_notice(cells: TrainingCells) -> str:
    """That numbers could be times, though nothing else says so; nothing if they could not."""
    if not cells.are_numbers or len(cells.values) < cells.count or cells.distinct_numbers < 2:
        return ""
    form = unix_format("timestamp", cells.values) if cells.are_whole else None
    if form is None and TIME_NAME.search(cells.name):
        form = excel_format("timestamp", cells.values)
    if form is None:
        return ""
    kind = "dates of Excel" if form.format == EXCEL else f"Unix times in {UNIX[form.format][1]}"
    first, last = (str(time.astype("datetime64[D]")) for time in (form.times.min(), form.times.max()))
    return f"as {kind} they would be from {first} to {last}"


def _compact_format(cells: TrainingCells) -> TimeFormat | None:
    """The format of dates and times that are written as whole numbers, like 20240531 and 20240531081500."""
    if not cells.are_whole or cells.distinct_numbers < 2:
        return None
    low, high = cells.values.min(), cells.values.max()
    for digits in DIGITS.values():
        if float(PLAUSIBLE[0].strftime(digits)) <= low and high <= float(PLAUSIBLE[1].strftime(digits)):
            texts = [f"{value:.0f}" for value in np.unique(cells.values)]
            form = text_format(texts)
            return form if form is not None and len(form.times) == len(texts) else None
    return None


def _candidates(example: str) -> Iterator[str]:
    """The formats that a text may have by its look."""
    if MAIL.fullmatch(example):
        yield RFC
        return
    if example.isdigit() and len(example) in DIGITS and len(example) > 8:
        yield DIGITS[len(example)]
        return
    if _read_texts(ISO, [example]) is not None:
        yield ISO
        return
    parts = split_time(example)
    month = None
    if (triple := TRIPLE.fullmatch(parts.date)) is not None:
        dates = [form.format(triple[1]) for form in NUMERIC]
    elif (month := MONTH.search(example)) is not None and re.search("[0-9]", parts.date):
        dates = [*WORDS]
    else:
        return
    for form in dates:
        try:
            datetime.strptime(parts.date, form)
        except ValueError:
            continue
        yield parts.form(form.replace("%b", "%B") if month is not None and len(month[0]) > 4 else form)


def _read_texts(form: str, texts: Sequence[str]) -> Reading | None:
    """The times of texts, without those that are none; None if those are too many."""
    moments: list[datetime] = []
    for i, text in enumerate(texts):
        try:
            moments.append(read_instant(text, form))
        except ValueError:
            if i + 1 - len(moments) > TOLERATED * len(texts):
                return None
    return Reading(form, moments, len(texts) - len(moments))


def _as_array(moments: Sequence[datetime], clock: str) -> Times:
    return np.array([local_time(moment, clock) for moment in moments], "datetime64[us]")


def _micros(times: Times) -> Floats:
    return times.astype(np.int64).astype(np.float64)
