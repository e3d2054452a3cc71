"""Tests of `fitting.entities`: a column that looks like an entity is named, with what it does to the rate."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.training.data.source import TrainingSource
from kilter.training.data.tables import prepare
from kilter.training.fitting.entities import find_entities, measure_inflation, with_entity_notice

SEEDS = st.integers(0, 2**32)


def customers(count: int, rows: int, within: float, seed: int, *, numbers: bool = False) -> pl.DataFrame:
    """Rows of customers, who each have a place of their own, from which their rows lie apart by a deviation."""
    rng = np.random.default_rng(seed)
    who = rng.permutation(np.repeat(np.arange(count), rows))
    x = rng.normal(size=(count, 4))[who] + within * rng.normal(size=(count * rows, 4))
    names = rng.permutation(10 * count)[who]
    columns = {f"x{i}": values for i, values in enumerate(x.T)}
    return pl.DataFrame(columns | {"customer": names if numbers else [f"c{name}" for name in names]})


@settings(max_examples=8)
@given(SEEDS, st.booleans())
def test_customers_are_named_with_the_inflation_that_they_cause(seed: int, numbers: bool) -> None:
    """Whether they go by names or by numbers; the rate is that of rows of customers that are new."""
    data = prepare(customers(200, 20, 0.2, seed, numbers=numbers), TrainingSource())
    inflation = find_entities(data, 0.05)
    assert inflation is not None
    assert (inflation.column, inflation.entities, inflation.target) == ("customer", 200, 0.05)
    assert inflation.realised > 0.1
    note = with_entity_notice(data, 0.05).notes[-1]
    assert "'customer' looks like an entity: its 200 values repeat" in note
    assert "5 % are meant, measured with nearest neighbours" in note
    assert "--split-by customer" in note


@settings(max_examples=8)
@given(SEEDS)
def test_values_that_say_nothing_and_quantities_are_no_entities(seed: int) -> None:
    """A code that has nothing to do with the rest, a rounded number, an age; then nothing is said."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(2_000, 3)) @ rng.normal(size=(3, 4)) + 0.3 * rng.normal(size=(2_000, 4))
    frame = pl.DataFrame({f"x{i}": values for i, values in enumerate(x.T)}).with_columns(
        code=pl.Series([f"k{value}" for value in rng.integers(100, size=2_000)]),
        tenths=pl.Series(np.round(20 * x[:, 0]).astype(np.int64)),
        age=pl.Series(rng.integers(18, 80, size=2_000)),
    )
    data = prepare(frame, TrainingSource())
    assert {"code", "age"} <= data.candidates.keys()
    assert find_entities(data, None) is None
    assert with_entity_notice(data, None) is data


def test_few_values_and_single_rows_are_no_candidates() -> None:
    """Nor are labels, nor the column by which rows are split."""
    frame = customers(100, 5, 0.2, 0).with_columns(
        few=pl.Series(["a", "b"] * 250), single=pl.Series([f"s{row}" for row in range(500)])
    )
    assert [*prepare(frame, TrainingSource()).candidates] == ["customer"]
    assert not prepare(frame, TrainingSource(split_by="customer")).candidates
    label, normal = "customer", frame["customer"][0]
    assert not prepare(frame, TrainingSource(label=label, normal=normal)).candidates


@pytest.mark.parametrize("rows", [0, 1, 30])
def test_too_few_rows_say_nothing(rows: int) -> None:
    """Half of them would not support the rate."""
    points = np.random.default_rng(0).normal(size=(rows + 2, 2))
    assert measure_inflation("k", points, np.arange(rows + 2) // 2, 0.01) is None
