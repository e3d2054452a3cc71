"""Whole numbers that are names and no amounts: with leading zeros, beyond what a float tells apart, or few by name."""

import re
from typing import TYPE_CHECKING

import numpy as np

from kilter.service.detector.arrays import Floats

if TYPE_CHECKING:
    import polars as pl

EXACT = 2**53  # from here on a float64 does not tell whole numbers apart
RARE = 0.01  # up to this share of a column's values, zeros that lead or too many digits are slips
MOST_LEVELS = 512
ROWS_PER_LEVEL = 5
FEW_LEVELS = 10
"""Names have on average at least `ROWS_PER_LEVEL` rows each, or there are at most `FEW_LEVELS`."""
WORDS = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_CODE_WORDS = """
code codes status id ids zip zipcode postcode postal plz key type category errno sku fips naics sic iso branch region
district department dept store warehouse terminal
"""
CODE_WORDS = frozenset(_CODE_WORDS.split())
"""Last words of a column's name that say that its whole numbers are names: of a `zip_count` it is `count`."""


def are_few(levels: int, count: int) -> bool:
    """Whether so many values may be so many levels."""
    return levels <= MOST_LEVELS and (levels <= FEW_LEVELS or levels * ROWS_PER_LEVEL <= count)


def zeros_lead(texts: "pl.Series") -> bool:
    """Whether texts are whole numbers, more than few of them with a leading zero, or all of one length and some."""
    zeros = texts.str.contains(r"^0[0-9]+$")
    if not zeros.any() or texts.str.contains(r"^[0-9]+$").sum() < (1 - RARE) * len(texts):
        return False
    return bool(zeros.sum() > RARE * len(texts) or texts.str.len_chars().n_unique() == 1)


def collapse(cells: "pl.Series") -> bool:
    """Whether whole numbers, as texts or as integers, are too large for a float64 to tell them apart.

    More than few are beyond `EXACT`, or some are that would become one.
    """
    import polars as pl

    if cells.dtype == pl.String:
        if cells.str.contains(r"^[+-]?[0-9]+$").sum() < (1 - RARE) * len(cells):
            return False
        texts = cells.filter(cells.str.contains(r"^[+-]?[0-9]{16,40}$"))
        long = texts.cast(pl.Float64)
    elif cells.dtype.is_integer():
        texts, long = cells, cells.cast(pl.Float64)
    else:
        return False
    large = long.abs() >= EXACT
    if not large.any():
        return False
    return bool(large.sum() > RARE * len(cells) or texts.filter(large).n_unique() > long.filter(large).n_unique())


def few_names(name: str, values: Floats) -> str | None:
    """Why whole numbers are names, if they are few and the column's name or their own build says so."""
    distinct = np.unique(values)
    if len(distinct) < 2 or not are_few(len(distinct), len(values)) or distinct[0] < 0:
        return None
    words = WORDS.findall(name)
    if words and words[-1].lower() in CODE_WORDS:
        return "names and no amounts by the column's own name"
    if len(distinct) > 2 and _begin_their_hundreds(distinct):
        return "names and no amounts, as all stand at the beginning of their hundreds"
    return None


def _begin_their_hundreds(distinct: Floats) -> bool:
    """Whether numbers of one length of three digits or more are grouped by the first, as 200, 404 and 503 are.

    Each is in the first tenth of its group, which amounts would be by chance alone, and not all are round.
    """
    digits = len(f"{distinct[-1]:.0f}")
    if digits < 3 or len(f"{distinct[0]:.0f}") != digits:
        return False
    size = 10.0 ** (digits - 1)
    rest = distinct % size
    groups = np.unique(distinct // size)
    return bool(len(groups) > 1 and (rest <= size / 10).all() and (distinct % 5 != 0).any())
