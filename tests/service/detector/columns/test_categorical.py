"""Tests of `columns.categorical`: levels, their codes, and what is none of them."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.columns.categorical import FREE_TEXT, MAX_LEVELS, CategoricalColumn
from kilter.service.detector.columns.cells import TextCells, TrainingCells
from kilter.service.detector.errors import Problem

COLUMN = CategoricalColumn("kind", ("a", "b", "c"), (5, 2, 1), missing=3)
TEXTS = st.lists(st.one_of(st.none(), st.sampled_from("abcdef")))


def objects(values: list[str | None]) -> np.ndarray[tuple[int], np.dtype[np.object_]]:
    """Typed values of a column of categories."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


@given(TEXTS)
def test_a_level_has_its_code_an_unseen_one_the_next_and_a_missing_one_none(values: list[str | None]) -> None:
    """So that an unseen level is not taken for any that training saw."""
    wanted = [np.nan if value is None else {"a": 0, "b": 1, "c": 2}.get(value, 3) for value in values]
    np.testing.assert_array_equal(COLUMN.encode(objects(values)), np.array(wanted, float).reshape(-1, 1))


@given(TEXTS)
def test_levels_are_those_of_the_fitting_rows_the_commonest_first(values: list[str | None]) -> None:
    """Of equally common ones the first by the alphabet; missing ones are counted apart."""
    column = CategoricalColumn("kind", (), ()).fit(objects(values))
    counts = {level: values.count(level) for level in set(values) - {None}}
    assert dict(zip(column.levels, column.counts, strict=True)) == counts
    assert list(column.levels) == sorted(counts, key=lambda level: (-counts[level], str(level)))
    assert column.missing == values.count(None)


def test_no_more_levels_are_kept_than_there_is_room_for() -> None:
    """Rarer ones are unseen, in training as in scoring, and no missing ones."""
    values: list[str | None] = [f"{i:04}" for i in range(MAX_LEVELS + 5)]
    column = CategoricalColumn("kind", (), ()).fit(objects([*values, "0003"]))
    assert len(column.levels) == MAX_LEVELS
    assert column.levels[0] == "0003"
    assert column.missing == 0


def test_texts_of_a_file_are_levels_as_they_stand() -> None:
    """Blanks around them included; those that mean nothing are missing."""
    texts = pl.Series(["a", " a", "", None, "NA ", "b"])
    read = TextCells(texts, texts.str.strip_chars(), None, frozenset(["", "NA"]), ".")
    problems: list[Problem] = []
    assert COLUMN.from_texts(read, problems).tolist() == ["a", " a", None, None, None, "b"]
    assert not problems


def test_only_text_is_a_level() -> None:
    """A number is no text, however it looks."""
    assert COLUMN.read("7") == "7"
    for value in (7, True, ["a"]):
        with pytest.raises(ValueError, match="text is expected, not"):
            COLUMN.read(value)
    assert COLUMN.read_all(["a", None]) is not None
    assert COLUMN.read_all(["a", 7]) is None


def test_a_reason_shows_the_level_and_the_likeliest_one() -> None:
    """By its code."""
    assert (COLUMN.shown("z"), COLUMN.shown(None)) == ("z", None)
    assert COLUMN.expected(np.array([1.0])) == "b"
    assert COLUMN.describe() == "3 levels: a, b, c"
    assert CategoricalColumn("kind", ("a",), (1,)).describe() == "1 level: a"


def decided(texts: list[str]) -> tuple[bool, str]:
    """Whether texts are categories, and why or why not."""
    decision = CategoricalColumn.infer(TrainingCells("kind", pl.Series("kind", texts), ("NA",), "."))
    assert decision is not None
    return decision.column is not None, decision.why


@pytest.mark.parametrize(
    ("levels", "rows", "category"),
    [(10, 12, True), (11, 54, False), (11, 55, True), (512, 2560, True), (513, 2600, False)],
)
def test_a_category_has_few_levels_or_enough_rows_for_each(levels: int, rows: int, category: bool) -> None:
    """Ten levels, or five rows for each; no more than 512."""
    texts = [f"level {i % levels}" for i in range(rows)]
    assert decided(texts)[0] is category


def test_what_is_no_category_is_said() -> None:
    """An identifier, prose, too many levels, or numbers that are not clean."""
    assert "an identifier: 100 distinct values" in decided([f"k{i}" for i in range(100)])[1]
    assert "free text" in decided([f"{i:03} {'x' * (FREE_TEXT - 4)}" for i in range(100)])[1]
    assert "free text" not in decided([f"{i:03} {'x' * (FREE_TEXT - 5)}" for i in range(100)])[1]
    assert "too many for a category" in decided([f"k{i % 80}" for i in range(100)])[1]
    assert "50 of 100 values are numbers" in decided([f"{i}" if i % 2 else f"k{i}" for i in range(100)])[1]
    assert CategoricalColumn.infer(TrainingCells("kind", pl.Series([1, 2]), (), ".")) is None


def test_made_up_levels_come_as_often_as_they_did() -> None:
    """An odd one was never seen, or is missing; without levels there is none."""
    rng = np.random.default_rng(0)
    usual = [COLUMN.usual(rng) for _ in range(800)]
    assert set(usual) == {"a", "b", "c"}
    assert usual.count("a") > usual.count("b") > usual.count("c")
    odd = {COLUMN.odd(rng) for _ in range(50)}
    assert None in odd
    assert len(odd) == 2
    assert not odd & {"a", "b", "c"}
    assert CategoricalColumn("kind", (), ()).usual(rng) is None
