"""Columns are taken for what a person would take them for, and the reason is told."""

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from kilter.service.detector import KilterError
from kilter.service.detector.columns import BooleanColumn, CategoricalColumn, Column, NumericColumn, TimestampColumn
from kilter.service.detector.schema import LeftOut, Schema
from kilter.service.formats.reading import to_table
from kilter.training.data.inference import Draft, group_by, infer_columns
from kilter.training.data.source import ColumnDecision

RNG = np.random.default_rng(0)
ROWS = 600
NUMBERS = [f"{x:.3f}" for x in RNG.normal(size=ROWS)]
MOMENTS = [datetime(2024, 1, 1) + timedelta(hours=5 * i) for i in range(ROWS)]


def draft(cells: Any, name: str = "c", **options: Any) -> Draft:
    """What is inferred of a column, beside a plain number that keeps the table usable."""
    return infer_columns(pl.DataFrame({name: cells, "other": NUMBERS[: len(cells)]}), **options)


def decided(cells: Any, name: str = "c", **options: Any) -> ColumnDecision:
    return draft(cells, name, **options).decisions[0]


def spread(values: list[Any]) -> list[Any]:
    return [values[i] for i in RNG.integers(len(values), size=ROWS)]


COLUMNS: list[tuple[str, Any, str, str]] = [
    ("numbers", NUMBERS, "numeric", "all 600 values are numbers"),
    ("gaps", ["", "NA", *NUMBERS[2:]], "numeric", "all 598 values are numbers, 2 missing"),
    ("few", spread(["1", "2", "5"]), "numeric", "all 600 values are numbers"),
    ("constant", ["7"] * ROWS, "numeric", "always 7"),
    ("junk", ["n.a.", *NUMBERS[1:]], "numeric", "599 of 600 values are numbers; 1 row with anything else ('n.a.')"),
    ("mixed", ["oops", "?!"] * 50 + NUMBERS[100:], "left out", "500 of 600 values are numbers and the rest are not"),
    ("marked", ["?"] * 50 + NUMBERS[50:], "numeric", "all 550 values are numbers, 50 missing"),
    ("digits", spread(["0", "1"]), "boolean", "all 600 values are '1' and '0'"),
    ("points", spread(["0.0", "1.0"]), "boolean", "'1'/'1.0' and '0'/'0.0'"),
    ("rare", ["1", "1", *["0"] * (ROWS - 2)], "numeric", "too few to know that it is a flag"),
    ("words", spread(["Yes", "no"]), "boolean", "'yes' and 'no'"),
    ("letters", spread(["T", "F"]), "boolean", "'t' and 'f'"),
    ("sex", spread(["M", "F"]), "categorical", "2 distinct values"),
    ("always", ["true"] * ROWS, "boolean", "never changes"),
    ("colour", spread(["red", "blue", "green"]), "categorical", "3 distinct values"),
    ("constant text", ["A"] * ROWS, "categorical", "1 distinct value"),
    ("levels", spread([f"shop {i}" for i in range(60)]), "categorical", "distinct values"),
    ("too many", spread([f"shop {i}" for i in range(300)]), "left out", "too many for a category"),
    ("uuid", [str(uuid.UUID(int=i * 7919)) for i in range(ROWS)], "left out", "an identifier: 600 distinct values"),
    ("prose", [f"customer {i} wrote a long letter about nothing at all" for i in range(ROWS)], "left out", "free text"),
    ("row", [str(i) for i in range(ROWS)], "left out", "it counts the rows"),
    ("sequence", [str(3 * i + i % 2) for i in range(ROWS)], "left out", "an identifier: 600 distinct whole numbers"),
    ("customer_id", [str(i * 7919 % 10_007) for i in range(ROWS)], "left out", "an identifier by its name"),
    ("customerId", [str(i * 7919 % 10_007) for i in range(ROWS)], "left out", "an identifier by its name"),
    ("paid", [str(i * 7919 % 10_007) for i in range(ROWS)], "numeric", "all 600 values are numbers"),
    ("empty", ["", "NaN"] * (ROWS // 2), "left out", "all 600 values are missing"),
    ("at", [moment.isoformat() for moment in MOMENTS], "timestamp", "read as iso, scored by hour, weekday, day"),
    ("day", [moment.strftime("%d.%m.%Y") for moment in MOMENTS], "timestamp", "scored by weekday, day"),
    ("time", [str(int(moment.timestamp())) for moment in MOMENTS], "timestamp", "read as unix_s"),
    ("date", [moment.strftime("%Y%m%d") for moment in MOMENTS], "timestamp", "read as iso, scored by weekday, day"),
    ("short", [(MOMENTS[0] + timedelta(seconds=i)).isoformat() for i in range(ROWS)], "left out", "too short a time"),
    ("typed flag", spread([True, False, None]), "boolean", "'true' and 'false'"),
    ("typed bits", RNG.integers(0, 2, ROWS), "boolean", "'1'/'1.0' and '0'/'0.0'"),
    ("typed bits too", RNG.integers(0, 2, ROWS).astype(float), "boolean", "'1'/'1.0' and '0'/'0.0'"),
    ("typed numbers", RNG.normal(size=ROWS), "numeric", "all 600 values are numbers"),
    ("typed nothing", [None] * ROWS, "left out", "all 600 values are missing"),
    ("typed time", [moment.replace(tzinfo=UTC) for moment in MOMENTS], "timestamp", "scored by hour"),
    ("typed date", [moment.date() for moment in MOMENTS], "timestamp", "scored by weekday, day"),
    ("typed level", pl.Series(spread(["a", "b"]), dtype=pl.Categorical), "categorical", "2 distinct values"),
    ("typed list", [[1.0]] * ROWS, "left out", "it holds List(Float64)"),
]


@pytest.mark.parametrize(("name", "cells", "kind", "why"), COLUMNS, ids=[column[0] for column in COLUMNS])
def test_columns_are_told_apart(name: str, cells: Any, kind: str, why: str) -> None:
    """Each kind of column is known by its cells, and the reason given says by what."""
    decision = decided(cells, name)
    assert decision.name == name
    assert (decision.kind, why in decision.why) == (kind, True), decision.why


@pytest.mark.parametrize(("name", "cells", "kind", "why"), COLUMNS, ids=[column[0] for column in COLUMNS])
def test_what_is_inferred_can_be_read(name: str, cells: Any, kind: str, why: str) -> None:
    """The drafted schema reads the table that it was drafted from: only cells that were called junk are problems."""
    found = draft(cells, name)
    frame = pl.DataFrame({name: cells, "other": NUMBERS})
    table = to_table(found.schema, frame)
    assert [problem.row for problem in table.problems] == ([0] if name == "junk" else [])
    assert {decision.name for decision in found.decisions} == {name, "other"}
    assert (name in found.schema.names) == (kind != "left out")


def test_columns_are_neutral_and_in_order() -> None:
    """The draft has the file's order and no statistics; the label and excluded columns are left out, and said so."""
    names = ["b", "colour", "n", "at", "label", "secret"]
    cells = [spread(["yes", "no"]), spread(["x", "y"]), NUMBERS, [m.isoformat() for m in MOMENTS], NUMBERS, NUMBERS]
    found = infer_columns(pl.DataFrame(dict(zip(names, cells, strict=True))), label="label", exclude=["secret"])
    assert found.schema.columns == (
        BooleanColumn("b", ("yes",), ("no",)),
        CategoricalColumn("colour", (), ()),
        NumericColumn("n", 0.0, 1.0, 0.0, 0.0),
        TimestampColumn("at", "iso", ("hour", "weekday", "day")),
    )
    assert found.schema.rows == ROWS
    assert [left.name for left in found.schema.left_out] == ["label", "secret"]
    assert [decision.name for decision in found.decisions] == names
    assert found.decisions[4].why == "it is the label"


def test_decimal_comma_is_kept() -> None:
    """With a decimal comma numbers are numbers, and the schema says which sign it is."""
    found = draft([number.replace(".", ",") for number in NUMBERS], decimal=",", exclude=["other"])
    assert found.decisions[0].kind == "numeric"
    assert found.schema.decimal == ","


def test_markers_of_missing_values_become_null_tokens() -> None:
    """A question mark among numbers is a null token of the schema; among words it is a level."""
    assert "?" in draft(["?", *NUMBERS[1:]]).schema.null_tokens
    assert draft(spread(["?", "a", "b"])).schema.null_tokens == Schema((), 0).null_tokens


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        (["7"] * ROWS, "every column that could be used is constant.*'c': all 600 values are numbers; always 7"),
        ([""] * ROWS, "no column can be used.*'c': all 600 values are missing"),
        ([f"r{i}" for i in range(ROWS)], "no column can be used.*an identifier"),
    ],
)
def test_a_table_with_nothing_to_learn_is_refused(cells: list[str], message: str) -> None:
    """Where no column varies, or none can be used, the error says why of each."""
    with pytest.raises(KilterError, match=message):
        infer_columns(pl.DataFrame({"c": cells}))


SITE = CategoricalColumn("site", (), ())
GROUPED = Schema(
    (NumericColumn("amount", center=0, scale=1, minimum=0, maximum=1), TimestampColumn("at", "iso", ("hour",))),
    10,
    (LeftOut("site", "excluded on request"),),
)


@pytest.mark.parametrize(
    ("cells", "column"),
    [
        (["north", "south", None], SITE),
        (["1", "2", "NA"], NumericColumn("site", center=0, scale=1, minimum=0, maximum=0, integer=True)),
        (["true", "False", ""], BooleanColumn("site", ("true",), ("false",))),
        ([True, False, None], BooleanColumn("site", ("true",), ("false",))),
        ([1.5, 2.0, None], NumericColumn("site", center=0, scale=1, minimum=0, maximum=0)),
    ],
)
def test_a_column_that_the_model_does_not_see_is_put_aside(cells: list[object], column: Column) -> None:
    """Records have it besides, read as what it is; it is no longer among those left out."""
    schema = group_by(GROUPED, pl.DataFrame({"amount": [1, 2, 3], "site": cells}), "site")
    assert schema.aside == (column,)
    assert schema.names == ("amount", "at", "site")
    assert schema.columns == GROUPED.columns
    assert schema.left_out == ()


def test_a_column_of_the_model_may_group_too() -> None:
    """Then the schema stays as it is."""
    assert group_by(GROUPED, pl.DataFrame({"amount": [1, 2]}), "amount") == GROUPED


@pytest.mark.parametrize(
    ("name", "label", "message"),
    [
        ("cite", None, "--group-by names 'cite', and there is no such column"),
        ("site", "site", "which is the label"),
        ("number", None, "'number' has 1,000 values, and at most 512 can group records"),
        ("at", None, "'at' holds times"),
    ],
)
def test_a_column_that_cannot_group_is_refused(name: str, label: str | None, message: str) -> None:
    """The message names it and the remedy."""
    frame = pl.DataFrame({"site": ["a"] * 1_000, "number": range(1_000), "at": ["2024-01-01"] * 1_000})
    with pytest.raises(KilterError, match=message):
        group_by(GROUPED, frame, name, label)
