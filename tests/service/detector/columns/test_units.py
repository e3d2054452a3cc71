"""Tests of `columns.units`: units of one quantity are so many times one another."""

import math
from itertools import combinations

import pytest

from kilter.service.detector.columns.units import CODES, PREFIXES, QUANTITIES, SYMBOLS, currency_of, factor, quantity_of


def test_a_unit_converts_there_and_back() -> None:
    """Every pair of every quantity; a unit is once itself."""
    for quantity in QUANTITIES:
        for first, second in combinations(quantity, 2):
            there, back = factor(first, second), factor(second, first)
            assert there is not None
            assert back is not None
            assert math.isclose(there * back, 1.0)
            assert factor(first, first) == 1.0


@pytest.mark.parametrize(
    ("unit", "into", "size"),
    [
        ("s", "ms", 1e3),
        ("h", "min", 60),
        ("kB", "B", 1e3),
        ("KiB", "B", 1024),
        ("km/h", "m/s", 1 / 3.6),
        ("k", "", 1e3),
    ],
)
def test_sizes_are_those_of_the_world(unit: str, into: str, size: float) -> None:
    """Also of a prefix without a unit."""
    assert factor(unit, into) == pytest.approx(size)


def test_what_does_not_compare_has_no_factor() -> None:
    """Units of different quantities, and words that are no known units, but for their case."""
    assert factor("ms", "kg") is None
    assert factor("EUR", "ms") is None
    assert factor("rooms", "beds") is None
    assert factor("Rooms", "rooms") == 1.0
    assert quantity_of(["m", "s"]) == QUANTITIES[1]
    assert quantity_of(["m", "km"]) != QUANTITIES[1]
    assert quantity_of(["M", ""]) is PREFIXES


def test_a_sign_means_one_currency_or_itself() -> None:
    """€ is EUR, and $ may be of several countries."""
    assert (currency_of("€"), currency_of("EUR"), currency_of("$"), currency_of("EURO")) == ("EUR", "EUR", "$", None)
    assert all(code in CODES or code == sign.rstrip(".") for sign, code in SYMBOLS.items())
