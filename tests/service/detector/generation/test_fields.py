"""Values as codes, and values drawn from codes: what both promise for every kind of column."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import ArtifactError, KilterError
from kilter.service.detector.arrays import Array
from kilter.service.detector.columns import BooleanColumn, CategoricalColumn, Column, NumericColumn, TimestampColumn
from kilter.service.detector.generation.fields import (
    FEW_NUMBERS,
    FieldCodes,
    FieldShape,
    conditions_of,
    rounded_to,
    split_numbers,
)

NUMBER = NumericColumn("amount", 0.0, 1.0, 0.0, 0.0)
COLOUR = CategoricalColumn("colour", ("red", "blue"), (60, 40))
NULL = ("", "NA")


def coded(column: Column, values: Any) -> tuple[FieldCodes, Array]:
    typed = np.array(values, column.dtype)
    return FieldCodes.fit(column, typed), typed


@given(
    st.lists(st.one_of(st.floats(-1e6, 1e6), st.just(np.nan)), min_size=1, max_size=300),
    st.sampled_from([0, 1, 2, 6]),
    st.floats(0, 0.9),
)
def test_what_is_drawn_is_like_what_was_coded(numbers: list[float], places: int, zeros: float) -> None:
    """In range, in the same step, missing where it was; and a code that is drawn is coded as itself again."""
    values = np.round(np.array(numbers), places)
    values[: int(zeros * len(values))] = 0.0
    field, values = coded(NUMBER, values)
    codes = field.encode(values)
    assert codes.min() >= 0
    assert codes.max() < field.shape.size
    drawn = field.decode(codes, np.random.default_rng(0))
    assert np.array_equal(np.isnan(drawn), np.isnan(values))
    present = ~np.isnan(values)
    if present.any():
        assert values[present].min() <= drawn[present].min()
        assert drawn[present].max() <= values[present].max()
        np.testing.assert_allclose(drawn[present], np.round(drawn[present], places), atol=1e-6)
    if field.shape.bins == 0:
        assert np.array_equal(drawn, values, equal_nan=True)


def test_a_number_that_is_often_repeated_stays_exact() -> None:
    """As often as it was, among others that are drawn between quantiles."""
    rng = np.random.default_rng(0)
    values = np.where(rng.random(2000) < 0.4, 0.0, rng.lognormal(size=2000))
    field, values = coded(NUMBER, values)
    assert 0.0 in field.repeated
    drawn = field.decode(field.encode(values), rng)
    assert np.array_equal(drawn == 0, values == 0)
    others = drawn[drawn != 0]
    for share in (0.1, 0.5, 0.9):
        assert np.quantile(others, share) == pytest.approx(np.quantile(values[values != 0], share), rel=0.1)
    assert len(set(others) & set(values[values != 0])) < 0.05 * len(others)


def test_ranks_are_in_the_order_of_the_numbers() -> None:
    """Of repeated numbers and bins together; levels have none."""
    rng = np.random.default_rng(0)
    field, values = coded(NUMBER, np.where(rng.random(2000) < 0.4, 1.0, rng.normal(size=2000) * 10))
    codes, ranks = field.encode(values), field.ranks
    assert ranks is not None
    assert sorted(ranks) == list(range(field.shape.known))
    means = np.array([values[codes == code].mean() for code in range(field.shape.known)])
    assert np.corrcoef(ranks, np.argsort(np.argsort(means)))[0, 1] > 0.999
    assert coded(COLOUR, ["red"] * 10)[0].ranks is None


def test_levels_are_codes_and_rare_ones_are_not_drawn() -> None:
    """A level that training never saw has no code; the rare ones have one, which is none of those that are drawn."""
    field, values = coded(COLOUR, ["red", "blue", None, "red"])
    assert field.encode(values).tolist() == [0, 1, 2, 0]
    assert field.decode(np.array([0, 1, 2]), np.random.default_rng(0)).tolist() == ["red", "blue", None]
    assert field.encode(np.array(["green"], object)).tolist() == [-1]
    rare, values = coded(CategoricalColumn("colour", ("red", "blue"), (60, 40), rest=3), ["red", "green", "blue"])
    assert rare.encode(values).tolist() == [0, 2, 1]
    assert (rare.drawn, rare.shape.known) == (2, 3)


def test_times_keep_their_step() -> None:
    """Whole minutes stay whole minutes, within the span of the fitting rows."""
    column = TimestampColumn("at", "iso", ("hour",))
    times = np.datetime64("2024-03-01", "us") + np.arange(1000) * 37 * np.timedelta64(60, "s")
    times[3] = np.datetime64("NaT")
    field, values = coded(column, times)
    drawn = field.decode(field.encode(values), np.random.default_rng(0))
    assert drawn.dtype == column.dtype
    assert np.array_equal(np.isnat(drawn), np.isnat(values))
    there = drawn[~np.isnat(drawn)]
    assert np.array_equal(there, there.astype("datetime64[m]"))
    assert np.nanmin(values) <= there.min() <= there.max() <= np.nanmax(values)
    assert len(np.unique(there)) > 5 * FEW_NUMBERS


@given(st.floats(-1e5, 1e5), st.sampled_from([0.0, 0.001, 0.1, 1.0, 5.0, 60.0, 1000.0]))
def test_rounding_gives_the_nearest_multiple(number: float, step: float) -> None:
    """As the fitting rows write it; where there is no step, the number itself."""
    [made] = rounded_to(np.array([number]), step)
    if step == 0:
        assert made == number
    else:
        assert abs(made - number) <= step / 2 + 1e-9
        assert abs(made / step - round(made / step)) < 1e-6


@pytest.mark.parametrize(
    ("column", "values", "cell", "message"),
    [
        (
            NUMBER,
            np.arange(100.0),
            120,
            "'amount': the number 120 is beyond the fitting rows, which go from 0.0 to 99.0",
        ),
        (NUMBER, np.arange(100.0), "many", "'amount': a number like 1234.5 is expected, not the text 'many'"),
        (NUMBER, np.arange(100.0), None, "'amount' is never missing in the fitting rows: give it a value"),
        (NUMBER, np.arange(100.0), "NA", "'amount' is never missing"),
        (
            COLOUR,
            ["red", "blue"],
            "green",
            "'colour': the text 'green' is in too few of the fitting rows; there are red",
        ),
        (COLOUR, ["red", "blue"], "", "'colour' is never missing"),
        (BooleanColumn("f", ("1",), ("0",)), [0.0, 1.0], 7, "'f': the number 7 is beyond the fitting rows"),
    ],
)
def test_a_condition_that_no_record_can_meet_is_refused(column: Column, values: Any, cell: Any, message: str) -> None:
    """With what there is instead."""
    field, _ = coded(column, values)
    with pytest.raises(KilterError, match=message):
        field.typed(cell, ".", NULL)


def test_a_condition_is_read_as_a_cell() -> None:
    """As JSON has it, or as a file does; a missing value is one where there are missing values."""
    number, colour = coded(NUMBER, [1.5, 2.0, np.nan])[0], coded(COLOUR, ["red", "blue", None])[0]
    assert number.typed("1,5", ",", NULL) == number.typed(1.5, ".", NULL) == 1.5
    assert np.isnan(number.typed("NA", ".", NULL))
    assert colour.typed(None, ".", NULL) is None
    assert conditions_of({"amount": number, "colour": colour}, {"colour": " red "}, ".", NULL) == {"colour": "red"}
    with pytest.raises(KilterError, match="the model has no column 'size': it has amount"):
        conditions_of({"amount": number}, {"size": 1}, ".", NULL)


@pytest.mark.parametrize(
    ("shape", "numbers"),
    [
        (FieldShape(repeated=2), [2.0, 1.0]),
        (FieldShape(bins=2, knots=4), [1.0, 2.0, 3.0, 4.0]),
        (FieldShape(bins=1, knots=2), [1.0, 0.0]),
    ],
)
def test_numbers_that_are_none_of_a_generator_are_refused(shape: FieldShape, numbers: list[float]) -> None:
    """Out of order, or of another number than the bins need."""
    with pytest.raises(ArtifactError, match="the numbers of the field 'amount' are not those of a generator"):
        FieldCodes(NUMBER, shape, np.array(numbers))
    with pytest.raises(ArtifactError, match="a generator of"):
        split_numbers((shape,), np.zeros(9))
