"""Whole columns that have changed: most of their values are missing, were never seen, or are of another scale.

What a single record has of it is evidence in its score; what most records have of it is a fault of the source, like
codes in lower case, cents instead of euros, or a field that is no longer filled.
"""

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from kilter.service.detector.arrays import Array, Floats, Mask, Matrix, Positions
from kilter.service.detector.columns import Column
from kilter.service.detector.inputs import Table
from kilter.service.detector.modalities.base import Modality, Watched
from kilter.service.detector.reference import BINS, UNREACHED, Reference

MOSTLY = 0.5
"""A column has changed if it has lost more than this share of what it was to have."""
LEAST = 20  # values by which anything is said
SAMPLED = 512  # records of a batch whose values are kept
MOST_SAMPLES = 32  # batches of which they are kept
FACTORS = {
    60.0: "60",
    3600.0: "3,600",
    1000.0: "1,000 (or 1,024)",
    1e6: "1,000,000 (or 1,048,576)",
    **{10.0**power: f"{10**power:,}" for power in (1, 2, 4, 5, 7, 8, 9)},
}
"""By which units are larger than others, and how a message names them."""
NEAR = float(np.log(1.25))  # how far the logarithm of a ratio may be from that of a factor
APART = float(np.log(2))  # how far those of most of a column's quantiles may be from their median
AGREEING = 2 / 3  # share of the quantiles that are as near: those about zero have no ratio to speak of
LEAST_QUANTILES = 3
RESPELLINGS: dict[str, Callable[[str], str]] = {
    "in upper case": str.upper,
    "in lower case": str.lower,
    "with capital initials": str.title,
    "with a capital first letter": str.capitalize,
    "without the blanks around them": str.strip,
    "in Unicode's composed form (NFC)": lambda text: unicodedata.normalize("NFC", text),
    "without leading zeros": lambda text: text.lstrip("0") or "0",
}
"""What may be done with all texts of a column."""
EXAMPLES = 3


class Shift(NamedTuple):
    """What most values of a column are."""

    field: str
    how: Literal["missing", "new", "scale"]
    share: float
    """Of the records, those in which the value is missing; of the values, those that are new or of another scale."""
    words: str


class ColumnCounts(NamedTuple):
    """What some records hold of each watched value."""

    records: int
    missing: Positions
    """(watched,): number of records without a value."""
    new: Positions
    """(watched,): number of values outside of `Watched.low` to `Watched.high`."""
    sample: Mapping[str, Array]
    """By the names of columns, typed values of some of the records."""


def are_new(x: Matrix, watched: Sequence[Watched]) -> Mask:
    """Which of the watched figures, (n, watched), no fitting row could have had."""
    low = np.array([one.low for one in watched], np.float32)
    high = np.array([one.high for one in watched], np.float32)
    return np.asarray((x < low) | (x > high))


def lost(share: Floats | float, expected: Floats | float) -> Floats:
    """Which share has gone of the values that were to be expected, if `share` of them is now of another kind."""
    return np.asarray(np.clip((share - expected) / np.maximum(1 - expected, 1e-9), 0, 1))


def count_columns(modality: Modality, table: Table, figures: Matrix) -> ColumnCounts:
    """What the records of a table hold, by their figures, (n, ...); records with a problem are passed over."""
    watched = modality.watched
    bad = {problem.row for problem in table.problems}
    good = np.array([row not in bad for row in range(table.rows)]) if bad else np.ones(table.rows, bool)
    x = figures[good][:, [one.position for one in watched]]
    missing, new = np.isnan(x), are_new(x, watched)
    for i, one in enumerate(watched):
        column = modality.schema.field(one.name)
        if one.feature.kind == "flag" and column is not None and column.is_number:
            # A number that is no flag may be encoded as what is as unlikely: as a missing one.
            unknown = np.isnan(table.columns[one.name][good].astype(np.float64))
            missing[:, i], new[:, i] = unknown, new[:, i] | (missing[:, i] & ~unknown)
    rows = np.flatnonzero(good)
    rows = (
        rows[np.unique(np.linspace(0, len(rows) - 1, min(SAMPLED, len(rows))).astype(np.int64))] if len(rows) else rows
    )
    names = [one.name for one in watched if one.name in table.columns]
    sample = {name: table.columns[name][rows] for name in names}
    return ColumnCounts(len(x), missing.sum(axis=0), new.sum(axis=0), sample)


class ColumnTally:
    """Adds up what the batches of a file hold."""

    def __init__(self, modality: Modality, reference: Reference) -> None:
        self._modality, self._reference = modality, reference
        self._counts = np.zeros((2, len(modality.watched)), np.int64)
        self._records = 0
        self._samples: list[Mapping[str, Array]] = []
        self._batches, self._every = 0, 1

    def add(self, counts: ColumnCounts) -> None:
        """Add what a batch holds. Of many batches the samples of some are kept, evenly."""
        self._records += counts.records
        self._counts += np.stack([counts.missing, counts.new])
        if self._batches % self._every == 0:
            self._samples.append(counts.sample)
        self._batches += 1
        if len(self._samples) > MOST_SAMPLES:
            self._samples, self._every = self._samples[::2], self._every * 2

    def unknown(self, name: str) -> int:
        """The number of records whose value of a column is missing, or was never seen in training."""
        return int(sum(self._counts[:, i].sum() for i, one in enumerate(self._modality.watched) if one.name == name))

    def counts(self, most: int | None = None) -> ColumnCounts:
        """What all batches hold, with the values of at most so many records, evenly, or of all that are kept."""
        names = self._samples[0] if self._samples else ()
        sample = {name: np.concatenate([part[name] for part in self._samples]) for name in names}
        if most is not None:
            sample = {name: values[:: max(1, -(-len(values) // most))] for name, values in sample.items()}
        return ColumnCounts(self._records, self._counts[0], self._counts[1], sample)

    def shifts(self) -> list[Shift]:
        """What most values of the file are, of each column of which anything is to be said."""
        return find_shifts(self._modality, self._reference, self.counts())


def find_shifts(modality: Modality, reference: Reference, counts: ColumnCounts) -> list[Shift]:
    """What most values are, of each column of which anything is to be said."""
    shifts: list[Shift] = []
    for i, one in enumerate(modality.watched):
        column = modality.schema.field(one.name)
        present = counts.records - int(counts.missing[i])
        if column is None or counts.records < LEAST:
            continue
        share = counts.missing[i] / counts.records
        if lost(share, one.missing) > MOSTLY:
            words = f"{share:.0%} of {one.name!r} are missing; of the fitting rows {one.missing:.0%} were"
            shifts.append(Shift(one.name, "missing", share, words))
        if present >= LEAST:
            share = int(counts.new[i]) / present
            values = counts.sample.get(one.name, np.empty(0))
            is_number = one.feature.kind == "gaussian" and len(values) >= LEAST
            quantiles = _quantiles(column, reference, i) if is_number else np.empty((2, 0))
            shifts += _new_values(column, one, share, values, quantiles)
    return shifts


def _new_values(column: Column, watched: Watched, share: float, values: Array, quantiles: Floats) -> list[Shift]:
    """That most values are new, or all of another scale; nothing if they are not."""
    name, mostly = watched.name, bool(lost(share, watched.unseen or 0.0) > MOSTLY)
    if watched.feature.kind == "level":
        if not mostly:
            return []
        words = f"{share:.0%} of {name!r} are values that training never saw{_respelling(column, watched, values)}"
        return [Shift(name, "new", share, words)]
    if factor := _factor(quantiles, values):
        return [Shift(name, "scale", 1.0, f"the values of {name!r} are about {factor} as large as in training")]
    if not mostly:
        return []
    middle = (
        f", and half are above {np.nanmedian(values):.4g}" if watched.feature.kind == "gaussian" and len(values) else ""
    )
    words = f"{share:.0%} of {name!r} lie outside of what training saw ({column.describe()}){middle}"
    return [Shift(name, "new", share, words)]


def _respelling(column: Column, watched: Watched, values: Array) -> str:
    """How else to write texts so that most of the new ones are known, or some examples of them."""

    def known(texts: Sequence[str]) -> Mask:
        cells = np.empty(len(texts), object)
        cells[:] = texts
        return np.asarray(column.encode(cells)[:, 0] <= watched.high)

    texts = [value for value in values.tolist() if isinstance(value, str)]
    new = [text for text, is_known in zip(texts, known(texts).tolist(), strict=True) if not is_known]
    if not new:
        return ""
    shares = {how: float(known([write(text) for text in new]).mean()) for how, write in RESPELLINGS.items()}
    best = max(shares, key=lambda how: shares[how])
    if shares[best] > MOSTLY:
        return f"; {'all' if shares[best] == 1 else f'{shares[best]:.0%} of them'} would be known {best}"
    return f", like {', '.join(map(repr, list(dict.fromkeys(new))[:EXAMPLES]))}"


def _quantiles(column: Column, reference: Reference, index: int) -> Floats:
    """(2, q): shares of a column's fitting rows, and the values below which they lie; none where they are not known."""
    edges = reference.edges[index]
    inner = edges < UNREACHED
    if reference.shares is None or column.extremes is None or not inner.any():
        return np.empty((2, 0))
    shares = reference.shares[index][: BINS + 1]
    below = np.cumsum(shares)[: len(edges)][inner] / max(float(shares.sum()), 1e-9)
    values = np.array([column.restore(float(edge)) for edge in edges[inner]])
    return np.stack([below, values])


def _factor(quantiles: Floats, values: Array) -> str:
    """By which factor values differ from those of training at all their quantiles; nothing if by none."""
    values = values[~np.isnan(values)] if values.dtype.kind == "f" else np.empty(0)
    below, usual = quantiles
    if len(values) < LEAST or not len(usual):
        return ""
    live = np.quantile(values, below)
    comparable = usual * live > 0
    if comparable.sum() < LEAST_QUANTILES or comparable.mean() <= MOSTLY or len(np.unique(usual[comparable])) < 2:
        return ""
    ratios = np.log(live[comparable] / usual[comparable])
    middle = float(np.median(ratios))
    nearest = min(FACTORS, key=lambda factor: abs(abs(middle) - np.log(factor)))
    agreeing = float(np.mean(np.abs(ratios - middle) <= APART))
    if abs(abs(middle) - np.log(nearest)) > NEAR or agreeing < AGREEING:
        return ""
    return f"{FACTORS[nearest]} times" if middle > 0 else f"1/{FACTORS[nearest]} times"
