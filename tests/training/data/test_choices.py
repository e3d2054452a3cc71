"""Tests of `data.choices`: what was asked for is done, or refused with the first value that stands against it."""

import re
from typing import Any

import numpy as np
import polars as pl
import pytest

from kilter.service.detector import KilterError
from kilter.service.detector.columns import CategoricalColumn, ClockColumn, NumericColumn, TimestampColumn
from kilter.service.formats.reading import to_table
from kilter.training.config import TrainConfig
from kilter.training.data.choices import choices_of
from kilter.training.data.source import TrainingSource
from kilter.training.data.tables import infer_columns, prepare

ROWS = 300
RNG = np.random.default_rng(0)
OTHER = [f"{x:.3f}" for x in RNG.normal(size=ROWS)]
DAYS = [f"2024-{1 + i % 12:02}-{1 + i % 28:02}" for i in range(ROWS)]


def frame(cells: Any) -> pl.DataFrame:
    return pl.DataFrame({"c": cells, "other": OTHER})


@pytest.mark.parametrize(
    ("kind", "cells", "column"),
    [
        ("categorical", OTHER, CategoricalColumn),
        ("categorical", [1, 2, 3] * 100, CategoricalColumn),
        ("categorical", [f"id {i}" for i in range(ROWS)], CategoricalColumn),
        ("categorical", [True, False, None] * 100, CategoricalColumn),
        ("categorical", DAYS, CategoricalColumn),
        ("numeric", [str(i) for i in range(ROWS)], NumericColumn),
        ("numeric", [f"{i:05}" for i in range(ROWS)], NumericColumn),
        ("numeric", [0, 1] * 150, NumericColumn),
        ("numeric", [f"{i % 24:02}:{i % 60:02}" for i in range(ROWS)], NumericColumn),
        ("numeric", [f"{i}.5 %" for i in range(ROWS)], NumericColumn),
        ("numeric", [2**60 + i for i in range(ROWS)], NumericColumn),
        ("timestamp", [1_700_000_000 + 7_000 * i for i in range(ROWS)], TimestampColumn),
        ("timestamp", [f"0{i % 6}:{i % 60:02}:46" for i in range(ROWS)], ClockColumn),
        ("timestamp", DAYS, TimestampColumn),
    ],
)
def test_a_column_is_taken_for_what_was_asked_for(kind: str, cells: Any, column: type) -> None:
    """Whatever it looks like; and the table that it was decided on is read by it."""
    schema, [decision, _] = infer_columns(frame(cells), choices={"c": kind})
    assert type(schema.columns[0]) is column
    assert schema.columns[0].name == "c"
    assert decision.why.startswith("as was asked for; ")
    assert not to_table(schema, frame(cells)).problems


@pytest.mark.parametrize(
    ("kind", "cells", "message"),
    [
        ("numeric", ["7", "", "red"] * 100, "--numeric c: row 2 holds 'red', which is no number: clean the column, or"),
        ("numeric", DAYS, "--numeric c: row 0 holds '2024-01-01', which is no number"),
        ("numeric", [True, False] * 150, "--numeric c: it holds Boolean, which is no number"),
        (
            "numeric",
            [f"{i} {'EUR' if i % 2 else 'USD'}" for i in range(ROWS)],
            "--numeric c: its numbers are in several",
        ),
        ("timestamp", ["", "2024-01-01", "soon"] * 100, "--timestamp c: row 2 holds 'soon', which is no time"),
        (
            "timestamp",
            ["2024-01-01", "1.2.2024", "3/4/24"] * 100,
            "--timestamp c: its values are times of several formats",
        ),
        ("timestamp", [0.5] * ROWS, "--timestamp c: it holds Float64, which is no time"),
        ("timestamp", ["2024-01-01"] * ROWS, "--timestamp c: times from .* too short a time"),
        ("categorical", [[1.0]] * ROWS, "--categorical c: the column holds List"),
    ],
)
def test_what_cannot_be_is_refused_with_the_first_value_against_it(kind: str, cells: Any, message: str) -> None:
    """By its row, from 0, so that it can be looked at."""
    with pytest.raises(KilterError, match=message):
        infer_columns(frame(cells), choices={"c": kind})


def test_what_is_ignored_is_left_out_and_an_empty_column_is_in_any_case() -> None:
    """And says why."""
    schema, [decision, _] = infer_columns(frame(OTHER), choices={"c": "ignore"})
    assert (schema.names, decision.why) == (("other",), "excluded on request")
    schema, [decision, _] = infer_columns(frame([""] * ROWS), choices={"c": "numeric"})
    assert decision.why == "all 300 values are missing, so that --numeric c has nothing to read"


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ({"kinds": {"d": "numeric"}}, "--numeric names 'd', and there is no such column: c, other"),
        ({"kinds": {"c": "numeric"}, "exclude": ("c",)}, "--numeric and --exclude both name 'c': leave one out"),
        ({"kinds": {"c": "numeric"}, "label": "c", "normal": "0"}, "--numeric and --label both name 'c'"),
    ],
)
def test_a_column_has_one_part(source: dict[str, Any], message: str) -> None:
    """It is there, and no other option says something else of it."""
    with pytest.raises(KilterError, match=message):
        prepare(frame(OTHER), TrainingSource(**source))


def test_a_column_may_be_left_out_twice() -> None:
    """By an option and by a setting, which say the same."""
    data = prepare(frame(OTHER), TrainingSource(kinds={"c": "ignore"}, exclude=("c",)))
    assert data.draft.names == ("other",)


def test_settings_name_a_column_once() -> None:
    """Each of them names any number of columns."""
    config = TrainConfig(categorical=("a", "b"), numeric=("c",), ignore=("d",))
    assert choices_of(config) == {"a": "categorical", "b": "categorical", "c": "numeric", "d": "ignore"}
    with pytest.raises(KilterError, match=re.escape("--categorical and --timestamp both name 'a': leave one out")):
        choices_of(TrainConfig(categorical=("a",), timestamp=("a",)))
