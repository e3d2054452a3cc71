"""Tests of `columns.codes`: whole numbers that are names and no amounts."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.columns.codes import are_few, collapse, few_names, zeros_lead

RNG = np.random.default_rng(0)


def some(values: list[Any], rows: int = 300) -> np.ndarray[Any, Any]:
    return RNG.choice(np.array(values, float), rows)


@given(st.lists(st.integers(0, 9999), min_size=50))
def test_zeros_lead_where_numbers_are_padded(numbers: list[int]) -> None:
    """To one length; and no number that is written as it is has a leading zero."""
    assert zeros_lead(pl.Series([f"{number:05}" for number in numbers]))
    assert not zeros_lead(pl.Series([str(number) for number in numbers]))
    assert not zeros_lead(pl.Series([f"{number / 10_000:.4f}" for number in numbers]))


def test_a_slip_makes_no_codes() -> None:
    """One leading zero among many numbers of several lengths."""
    numbers = [str(number) for number in range(300)]
    assert not zeros_lead(pl.Series([*numbers, "07"]))
    assert zeros_lead(pl.Series([*numbers, *["07"] * 10]))
    assert zeros_lead(pl.Series([*(f"{number}" for number in range(10, 99)), "07"]))


@given(st.lists(st.integers(2**53, 2**63 - 1), min_size=2, unique=True))
def test_whole_numbers_that_a_float_does_not_tell_apart_collapse(numbers: list[int]) -> None:
    """As texts and as integers; what is rarer than a slip does so only if two become one."""
    assert collapse(pl.Series([str(number) for number in numbers]))
    assert collapse(pl.Series(numbers))
    small = [*range(1000)]
    assert not collapse(pl.Series(small))
    assert not collapse(pl.Series([*small, 2**53]))
    assert collapse(pl.Series([*small, 2**53, 2**53 + 1]))
    assert not collapse(pl.Series([float(2**60), 2.0**61]))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("status", [200, 404, 500]),
        ("HTTPStatus", [200, 301]),
        ("code2", [10, 11, 15]),
        ("zip_code", [10115, 20095, 80331]),
        ("shopId", [*range(1, 40)]),
        ("c", [200, 201, 204, 301, 302, 404, 500, 503]),
        ("answer", [200, 404, 500]),
        ("sector", [1001, 1012, 3004, 9003]),
    ],
)
def test_few_whole_numbers_are_names_by_the_columns_name_or_their_build(name: str, values: list[int]) -> None:
    """Status codes, zip codes, ids."""
    assert "names and no amounts" in str(few_names(name, some(values)))


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("rating", [1, 2, 3, 4, 5]),
        ("month", [*range(1, 13)]),
        ("children", [0, 1, 2, 3, 4, 7]),
        ("year", [*range(1990, 2021)]),
        ("engine_cc", [1000, 1200, 1598, 1998]),
        ("watts", [100, 150, 200, 300]),
        ("price", [199, 299, 499]),
        ("term", [120, 180, 240, 360]),
        ("grams", [100, 205, 300]),
        ("status_changes", [0, 1, 2]),
        ("Region-centroid-col", [*range(1, 30)]),
        ("width", [185, 195, 205, 225]),
        ("status", [*range(100, 1000)]),
        ("code", [-1, 200, 404]),
        ("paid", [200, 201]),
        ("code", [7]),
    ],
)
def test_in_doubt_whole_numbers_stay_numbers(name: str, values: list[int]) -> None:
    """Ratings, months, counts, years, sizes that are sold; and codes of which there are too many, or one."""
    assert few_names(name, some(values)) is None


def test_few_are_ten_or_have_five_rows_each() -> None:
    """And never over 512."""
    assert [are_few(10, 10), are_few(11, 54), are_few(11, 55), are_few(512, 2560), are_few(513, 9999)] == [
        True,
        False,
        True,
        True,
        False,
    ]
