"""Splits rows into those for fitting, for calibration, and for evaluation; fits schemas to the first alone."""

from typing import Literal, NamedTuple

import msgspec
import numpy as np

from kilter.service.detector.arrays import Positions, Times
from kilter.service.detector.calibration import fewest
from kilter.service.detector.errors import KilterError
from kilter.service.detector.inputs import Table
from kilter.service.detector.manifest import counted
from kilter.service.detector.schema import Schema
from kilter.service.detector.thresholds import check_target

RATES = (0.01, 0.02, 0.05, 0.1)  # the default false-positive rate is the first of these that the data can support
SHARE = 0.2  # the part of the normal rows that calibration aims at
MOST = 3  # calibration takes at most one row in so many, and half of them for a rate that was asked for
LARGEST = 9_999  # more calibration records than this add nothing that a fit would not use better
SMALLEST_TABLE = 30
ENTITIES = "values with normal rows in the column of --split-by, each of which counts once,"
DISTINCT_ROWS = "distinct normal rows (their copies do not count)"
HOLD_OUT_FROM = 10_000  # normal rows from which on some are held out for evaluation; fewer are worth more in the fit
HOLD_OUT_SHARE = 0.1
HOLD_OUT_MOST = 10_000


class Split(NamedTuple):
    """Positions of normal rows, each in one part; `rate` is the false-positive rate that the calibration supports."""

    fit: Positions
    calibration: Positions
    held_out: Positions
    how: Literal["random", "time"]
    rate: float


def split_rows(
    normal: Positions,
    target_fpr: float | None,
    seed: int,
    times: Times | None,
    *,
    entities: Positions | None = None,
    distinct: bool = False,
) -> Split:
    """Split normal rows at random, or by time if `times`, (rows of the table,), is given: the oldest are fitted.

    With `entities`, (rows of the table,), the rows of one stand in one part: the fit has all of them, and calibration
    and evaluation have `one_of_each`, so that they are exchangeable with records of new entities. `distinct` says that
    there were copies of rows, which do not count. Raises KilterError if rows or entities are too few, or too few for
    `target_fpr`.
    """
    rng = np.random.default_rng(seed)
    what = ENTITIES if entities is not None else DISTINCT_ROWS if distinct else "normal rows"
    rows = normal if entities is None else one_of_each(normal, entities, rng)
    if len(rows) < SMALLEST_TABLE:
        raise KilterError(
            f"there are {len(rows)} {what} to train on, and at least {SMALLEST_TABLE} are needed: give more rows"
        )
    order = rng.permutation(rows) if times is None else rows[np.argsort(times[rows], kind="stable")]
    rate = supported_rate(len(rows)) if target_fpr is None else target_fpr
    size = choose_size(len(rows), rate, what)
    held = min(int(HOLD_OUT_SHARE * len(rows)), HOLD_OUT_MOST) if len(rows) >= HOLD_OUT_FROM else 0
    fitted = len(order) - size - held
    fit, calibration, held_out = np.split(order, [fitted, fitted + size])
    if entities is not None:
        fit = normal[np.isin(entities[normal], entities[fit])]
    return Split(np.sort(fit), np.sort(calibration), np.sort(held_out), "random" if times is None else "time", rate)


def one_of_each(rows: Positions, entities: Positions, rng: np.random.Generator) -> Positions:
    """A random one of the rows of each entity, whose numbers are (rows of the table,), in the order of the rows.

    Of scores that are alike within entities, one of each is exchangeable with that of a new entity (subsampling once,
    Dunn, Wasserman and Ramdas, 2022); all together would be fewer than they seem.
    """
    drawn = rng.permutation(rows)
    return np.sort(drawn[np.unique(entities[drawn], return_index=True)[1]])


def supported_rate(rows: int) -> float:
    """The default false-positive rate for a number of normal rows, `SMALLEST_TABLE` or more."""
    return next(rate for rate in RATES if rows >= MOST * fewest(rate))


def rows_needed(target_fpr: float) -> int:
    """The smallest number of normal rows, all splits together, that supports a false-positive rate."""
    return max(SMALLEST_TABLE, 2 * fewest(check_target(target_fpr)))


def choose_size(rows: int, target_fpr: float, what: str = "normal rows") -> int:
    """The number of `rows` normal rows to calibrate on: about a fifth, with rate x (n + 1) whole.

    Where no n does that, the one whose floor(rate x (n + 1)) / (n + 1) is closest to the rate. At most a third of the
    rows, or as few as the rate needs if that is more, which may be half of them. Raises KilterError, which names the
    number of rows needed and calls them `what`, if the rate cannot be supported.
    """
    if rows < rows_needed(target_fpr):
        raise KilterError(
            f"a false-positive rate of {target_fpr:g} needs at least {rows_needed(target_fpr)} {what} in all, "
            f"{fewest(target_fpr)} of them for calibration alone; there are {rows}: ask for a higher rate "
            "with --target-fpr, or bring more rows"
        )
    least = fewest(target_fpr)
    high = max(min(rows // MOST, LARGEST), least)
    goal = min(max(round(SHARE * rows), least), high)
    return _closest(max(least, goal // 2), high, goal, target_fpr)


def largest_size(rows: int, target_fpr: float, what: str = "calibration rows") -> int:
    """The largest n <= rows with rate x (n + 1) whole or, where no n is, as close to the rate as can be.

    Raises KilterError, which names the number of rows needed and calls them `what`, if there are too few.
    """
    least = fewest(check_target(target_fpr))
    if rows < least:
        raise KilterError(
            f"a false-positive rate of {target_fpr:g} needs at least {least} {what}; there are {rows}: "
            "ask for a higher rate with --target-fpr, or bring more rows"
        )
    return _closest(max(least, rows // 2), rows, rows, target_fpr)


def _closest(low: int, high: int, goal: int, target_fpr: float) -> int:
    """The n in low..high whose k / (n + 1) falls least short of the rate and, among those, is nearest to the goal."""
    sizes = np.arange(low, high + 1)
    ranks = np.floor(target_fpr * (sizes + 1) + 1e-9)
    shortfall = np.round(target_fpr - ranks / (sizes + 1), 12)
    return int(sizes[np.lexsort((np.abs(sizes - goal), np.abs(shortfall)))[0]])


def time_of(schema: Schema, table: Table, wanted: Literal["auto", "random", "time"]) -> Times | None:
    """The times by which rows are split: those of the first timestamp column, or the order in the file.

    None if the split is to be random: where it is asked for, or no column holds times. Neighbours in time are not
    exchangeable, so a table with times is split by them unless `random` is asked for. A row without a time, which may
    be of any age, counts as old as the oldest.
    """
    if wanted == "random":
        return None
    if schema.time is not None:
        times: Times = table.columns[schema.time.name]
        return np.where(np.isnat(times), np.fmin.reduce(times) if len(times) else times, times)
    return np.arange(table.rows).astype("datetime64[us]") if wanted == "time" else None


def order_note(schema: Schema, table: Table, wanted: Literal["auto", "random", "time"]) -> list[str]:
    """What a split by time goes by where that is not plain, in a sentence."""
    if wanted == "random" or (schema.time is None and wanted == "auto"):
        return []
    if schema.time is None:
        return [
            "There is no column of times: --split time takes the rows for older and newer in the order in which they "
            "stand. If they stand in another order, leave it out."
        ]
    unknown = int(np.isnat(table.columns[schema.time.name]).sum())
    if not unknown:
        return []
    return [f"Without a time in {schema.time.name!r}, and so as old as the oldest: {counted(unknown, 'row')}."]


def records_per_day(times: Times, share: float) -> float | None:
    """How many rows fall on a day, by the middle 90 % of their times; None if that is less than a day.

    The times are those of a `share` of the rows, drawn at random.
    """
    known = np.sort(times[~np.isnat(times)])
    if len(known) < SMALLEST_TABLE:
        return None
    inner = known[len(known) // 20 : len(known) - len(known) // 20]
    days = (inner[-1] - inner[0]) / np.timedelta64(1, "D")
    return float((len(inner) - 1) / days / share) if days >= 1 else None


def fit_schema(draft: Schema, table: Table, rows: Positions) -> Schema:
    """The schema with its statistics, from the fitting rows of a table alone.

    Calibration and evaluation rows must have no part in it: a level that only they hold is unseen.
    """
    columns = tuple(column.fit(table.columns[column.name][rows]) for column in draft.columns)
    return fit_aside(msgspec.structs.replace(draft, columns=columns, rows=len(rows)), table, rows)


def fit_aside(schema: Schema, table: Table, rows: Positions) -> Schema:
    """The schema with statistics of the columns that the network does not see."""
    aside = tuple(column.fit(table.columns[column.name][rows]) for column in schema.aside)
    return msgspec.structs.replace(schema, aside=aside)
