"""Tests of `data.tables`: columns are taken for what a person would take them for, and labels are read."""

import json
import re
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest

from kilter.service.detector import KilterError
from kilter.service.detector.columns import BooleanColumn, CategoricalColumn, Column, NumericColumn, TimestampColumn
from kilter.service.detector.names import check_fields
from kilter.service.detector.schema import LeftOut, Schema
from kilter.service.formats.reading import open_table, to_table
from kilter.service.formats.source import Hints
from kilter.training.data.source import ColumnDecision, TrainingSource
from kilter.training.data.tables import (
    as_polars,
    group_by,
    infer_columns,
    prepare,
    read_labelled_table,
    read_tables,
)
from tests.support.detectors import SCHEMA
from tests.support.manifests import training

RNG = np.random.default_rng(0)
ROWS = 600
NUMBERS = [f"{x:.3f}" for x in RNG.normal(size=ROWS)]
MOMENTS = [datetime(2024, 1, 1) + timedelta(hours=5 * i) for i in range(ROWS)]


def draft(cells: Any, name: str = "c", **options: Any) -> tuple[Schema, tuple[ColumnDecision, ...]]:
    """What is inferred of a column, beside a plain number that keeps the table usable."""
    return infer_columns(pl.DataFrame({name: cells, "other": NUMBERS[: len(cells)]}), **options)


def decided(cells: Any, name: str = "c", **options: Any) -> ColumnDecision:
    return draft(cells, name, **options)[1][0]


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
    ("many", spread([f"shop {i}" for i in range(300)]), "categorical", "and all others together are one"),
    ("too many", [f"shop {i % 400}" for i in range(ROWS)], "left out", "none of them in 5: too many for a category"),
    ("money", [f"{9 * i + 0.5:,.2f} EUR" for i in range(ROWS)], "numeric", "are numbers as 1,234.50 EUR"),
    ("marked money", ["-"] * 9 + [f"${i + 0.5:,.2f}" for i in range(ROWS - 9)], "numeric", "9 missing"),
    ("padded", spread([f"{i:05}" for i in range(20)]), "categorical", "codes, as zeros lead"),
    ("status", spread([200, 404, 500]), "categorical", "names and no amounts by the column's own name"),
    ("took", spread([f"0{i}:{i}4:46" for i in range(6)]), "numeric", "durations like 03:04:46, in seconds"),
    ("typed took", [timedelta(seconds=i) for i in range(ROWS)], "numeric", "durations like 03:04:46, in seconds"),
    ("clock", [f"{i % 24:02}:{i % 60:02}" for i in range(ROWS)], "clock", "times of day, 00:00 to 23:59"),
    ("typed clock", [moment.time() for moment in MOMENTS], "clock", "times of day, 00:00 to 23:00"),
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
    schema, decisions = draft(cells, name)
    frame = pl.DataFrame({name: cells, "other": NUMBERS})
    table = to_table(schema, frame)
    assert [problem.row for problem in table.problems] == ([0] if name == "junk" else [])
    assert {decision.name for decision in decisions} == {name, "other"}
    assert (name in schema.names) == (kind != "left out")


def test_columns_are_neutral_and_in_order() -> None:
    """The draft has the file's order and no statistics; the label and excluded columns are left out, and said so."""
    names = ["b", "colour", "n", "at", "label", "secret"]
    cells = [spread(["yes", "no"]), spread(["x", "y"]), NUMBERS, [m.isoformat() for m in MOMENTS], NUMBERS, NUMBERS]
    schema, decisions = infer_columns(
        pl.DataFrame(dict(zip(names, cells, strict=True))), label="label", exclude=["secret"]
    )
    assert schema.columns == (
        BooleanColumn("b", ("yes",), ("no",)),
        CategoricalColumn("colour", (), ()),
        NumericColumn("n", 0.0, 1.0, 0.0, 0.0),
        TimestampColumn("at", "iso", ("hour", "weekday", "day")),
    )
    assert schema.rows == ROWS
    assert [left.name for left in schema.left_out] == ["label", "secret"]
    assert [decision.name for decision in decisions] == names
    assert decisions[4].why == "it is the label"


def test_decimal_comma_is_kept() -> None:
    """With a decimal comma numbers are numbers, and the schema says which sign it is."""
    schema, decisions = draft([number.replace(".", ",") for number in NUMBERS], decimal=",", exclude=["other"])
    assert decisions[0].kind == "numeric"
    assert schema.decimal == ","


def test_markers_of_missing_values_become_null_tokens() -> None:
    """A question mark among numbers is a null token of the schema; among words it is a level."""
    assert "?" in draft(["?", *NUMBERS[1:]])[0].null_tokens
    assert draft(spread(["?", "a", "b"]))[0].null_tokens == Schema((), 0).null_tokens


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


def test_a_frame_of_pandas_keeps_its_types() -> None:
    """Numbers, flags and times go as they are, gaps are missing, and a column of several types becomes text."""
    frame = as_polars(
        pd.DataFrame(
            {"n": [1.5, None], "flag": [True, False], "mixed": [1, "a"], "at": [pd.Timestamp("2024-01-01"), pd.NaT]}
        )
    )
    assert frame.schema["n"] == pl.Float64
    assert frame.schema["flag"] == pl.Boolean
    assert frame.schema["at"].base_type() == pl.Datetime
    assert frame["mixed"].to_list() == ["1", "a"]
    assert frame.null_count().row(0) == (1, 0, 0, 1)


def test_a_frame_that_cannot_be_used_is_refused() -> None:
    """A column that stands there twice, or what is no table at all."""
    with pytest.raises(KilterError, match="the column 'a' stands in the table twice"):
        as_polars(pd.DataFrame([[1, 2]], columns=["a", "a"]))
    with pytest.raises(KilterError, match="not on dict"):
        as_polars({"a": [1]})


TRAINING = training(label="class", normal="ok")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Five rows, one without a label, one of a colour that training never saw."""
    path = tmp_path / "rows.csv"
    path.write_text("class,amount,age,colour\nok,1,2,red\nbad,3,4,blue\n,5,6,red\nok,,8,green\nworse,9,10,red\n")
    return path


def test_labels_are_taken_as_in_training(path: Path) -> None:
    """The column and its normal value need not be given again, and rows without a label are left out."""
    found = read_labelled_table(TrainingSource((path,), None, None), SCHEMA, TRAINING)
    assert found.anomalous is not None
    assert found.anomalous.tolist() == [False, True, False, True]
    assert found.table.columns["age"].tolist() == [2, 4, 8, 10]
    assert found.parts()[0].columns["age"].tolist() == [2, 8]
    assert "Rows without a label, left out: 1." in found.notes


def test_what_is_given_goes_before_what_training_says(path: Path) -> None:
    """Another value, or another column with its value."""
    found = read_labelled_table(TrainingSource((path,), "class", "bad"), SCHEMA, TRAINING)
    assert found.anomalous is not None
    assert found.anomalous.tolist() == [True, False, True, True]
    found = read_labelled_table(TrainingSource((path,), "colour", "red"), SCHEMA, TRAINING)
    assert found.anomalous is not None
    assert found.anomalous.tolist() == [False, True, False, True, False]


def test_without_a_label_column_every_row_is_normal(path: Path) -> None:
    """If the model had no labels, or the file lacks the column."""
    for said in (training(), training(label="kind", normal="ok")):
        found = read_labelled_table(TrainingSource((path,), None, None), SCHEMA, said)
        assert found.anomalous is None
        assert found.parts()[0].rows == 5


@pytest.mark.parametrize(
    ("label", "normal", "message"),
    [
        ("class", None, r"say which value of 'class' is normal, with --normal; it has 'ok' \(2\)"),
        ("class", "fine", "no row has 'fine' in 'class'"),
        ("kind", "ok", "--label names 'kind', and there is no such column"),
        (None, "ok", "name the column with --label"),
    ],
)
def test_labels_that_cannot_be_used_are_refused(
    path: Path, label: str | None, normal: str | None, message: str
) -> None:
    """The message names what is there."""
    with pytest.raises(KilterError, match=message):
        read_labelled_table(TrainingSource((path,), label, normal), SCHEMA, training())


def test_a_column_that_is_missing_is_told_as_in_scoring(path: Path) -> None:
    """In the same words, with the one that was probably meant."""
    path.write_text(path.read_text().replace("age", "Age"))
    with pytest.raises(KilterError) as labelled:
        read_labelled_table(TrainingSource((path,)), SCHEMA, training())
    with pytest.raises(KilterError) as scored, open_table(path) as table:
        check_fields(table.name, SCHEMA.names, table.columns)
    assert str(labelled.value) == str(scored.value)
    assert "lacks 'age' (did you mean 'Age'?), which the model needs" in str(scored.value)


def test_names_are_compared_as_unicode_does(tmp_path: Path) -> None:
    """In options, among files, and against a model's fields."""
    rows = "".join(f"{i},{i % 7},{'ok' if i % 5 else 'bad'}\n" for i in range(200))
    paths = (tmp_path / "a.csv", tmp_path / "b.csv")
    paths[0].write_text("gr\xf6\xdfe,x,\xe9tat\n" + rows)
    paths[1].write_text("gro\u0308\xdfe,x,e\u0301tat\n" + rows.replace("0", "1"))
    data = read_tables(TrainingSource(paths, "e\u0301tat", "ok", ("gro\u0308\xdfe",)))
    assert data.draft.names == ("x",)
    assert data.table.rows == 400
    assert data.labels is not None
    found = read_labelled_table(TrainingSource((paths[1],), "\xe9tat", "ok"), data.draft, TRAINING)
    assert found.anomalous is not None
    assert found.anomalous.sum() == 40


@pytest.mark.parametrize(
    ("text", "hints"),
    [
        ("a=b=c\n1=2=x\n", Hints("=")),
        ("1,2,x\n", Hints(header=False)),
        ("1,2,x\n", Hints(header=True)),
        ("\u0446\u0435\u043d\u0430,b,c\n1,2,x\n", Hints(encoding="koi8-r")),
    ],
)
def test_what_is_stated_about_a_file_is_obeyed(text: str, hints: Hints, tmp_path: Path) -> None:
    """And not noted."""
    path = tmp_path / "x.csv"
    lines = text.splitlines()
    more = ["5,7,y".replace(",", hints.delimiter or ","), "6,9,x".replace(",", hints.delimiter or ",")]
    path.write_text("\n".join([lines[0], *lines[1:] * 50, *more * 50]))
    if hints.encoding:
        path.write_text(path.read_text(), hints.encoding)
    data = read_tables(TrainingSource((path,), hints=hints))
    names = [f"column_{i}" for i in (1, 2, 3)] if hints.header is False else re.split("[,=]", lines[0])
    assert [decision.name for decision in data.decisions] == names
    assert data.notes == ()


def test_json_is_trained_on(tmp_path: Path) -> None:
    """A record in each line; lists and objects in fields are left out with a note."""
    path = tmp_path / "x.ndjson"
    path.write_text("\n".join(json.dumps({"n": i / 3, "ok": i % 2 == 0, "tags": [str(i)]}) for i in range(300)))
    data = read_tables(TrainingSource((path,)))
    assert [(column.name, column.kind) for column in data.draft.columns] == [("n", "numeric"), ("ok", "boolean")]
    assert any("has lists or objects in 'tags'" in note for note in data.notes)


@pytest.mark.parametrize("name", ["kilter_score", "kilter_anomaly", "kilter_tail_probability"])
def test_a_column_of_a_name_that_scoring_appends_is_refused(name: str) -> None:
    """Before a model is made whose own files could not be scored; unless it is left out."""
    frame = pl.DataFrame({"a": [0.5 + i % 7 for i in range(40)], name: [0.5] * 40})
    with pytest.raises(KilterError, match=f"a column is called '{name}', .* leave it out with --exclude {name}"):
        prepare(frame, TrainingSource())
    assert prepare(frame, TrainingSource(exclude=(name,))).draft.names == ("a",)
