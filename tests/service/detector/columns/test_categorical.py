"""Tests of `columns.categorical`: levels, their codes, and what is none of them."""

from collections import Counter
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.columns.categorical import FREE_TEXT, CategoricalColumn, plain_spelling
from kilter.service.detector.columns.cells import TextCells, TrainingCells
from kilter.service.detector.columns.codes import MOST_LEVELS
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


SPELLINGS = ("7", "7.0", "7.00", "-7.0", "007", "07.0", "true", "TRUE", "True", "a", "A", "1e1", "10", "0.0", ".0")
MEANINGS = ("7", "7", "7", "-7", "007", "07.0", "true", "true", "true", "a", "A", "1e1", "10", "0", ".0")


def test_spellings_have_a_plain_one() -> None:
    """Of whole numbers and of true and false; a leading zero is a code's, and capitals are other words."""
    assert tuple(map(plain_spelling, SPELLINGS)) == MEANINGS


@given(st.lists(st.sampled_from(SPELLINGS), min_size=1), st.sampled_from(SPELLINGS))
def test_a_level_is_known_in_any_spelling(values: list[str], text: str) -> None:
    """It is one level, under the spelling that comes most often, whose rows are those of all its spellings."""
    column = CategoricalColumn("kind", (), ()).fit(objects([*values]))
    meanings = [plain_spelling(value) for value in values]
    assert dict(zip(map(plain_spelling, column.levels), column.counts or (), strict=True)) == Counter(meanings)
    [[code]] = column.encode(objects([text])).tolist()
    known = plain_spelling(text) in meanings
    assert code == len(column.levels) if not known else plain_spelling(column.levels[int(code)]) == plain_spelling(text)
    assert column.group_name(text) == plain_spelling(text)


def test_a_level_is_itself_where_an_old_model_has_two_spellings_of_it() -> None:
    """And a third spelling is the commoner of the two."""
    column = CategoricalColumn("kind", ("7.0", "7"), (5, 2))
    assert column.encode(objects(["7", "7.0", "7.00"])).tolist() == [[1.0], [0.0], [0.0]]


def test_no_more_levels_are_kept_than_there_is_room_for() -> None:
    """Rarer ones are unseen, in training as in scoring, and no missing ones."""
    values: list[str | None] = [f"{i:04}" for i in range(MOST_LEVELS + 5)]
    column = CategoricalColumn("kind", (), ()).fit(objects([*values, "0003"]))
    assert len(column.levels) == MOST_LEVELS
    assert column.levels[0] == "0003"
    assert column.missing == 0


def test_texts_of_a_file_are_levels_as_they_stand() -> None:
    """Blanks around them included; those that mean nothing are missing."""
    texts = pl.Series(["a", " a", "", None, "NA ", "b"])
    read = TextCells(texts, texts.str.strip_chars(), None, frozenset(["", "NA"]), ".")
    problems: list[Problem] = []
    assert COLUMN.from_texts(read, problems).tolist() == ["a", " a", None, None, None, "b"]
    assert not problems


@pytest.mark.parametrize(
    ("value", "level"),
    [("7", "7"), (7, "7"), (7.0, "7"), (7.5, "7.5"), (np.int8(7), "7"), (True, "true"), (np.False_, "false")],
)
def test_a_number_or_a_flag_is_the_level_that_a_file_would_hold(value: Any, level: str) -> None:
    """A whole number without a point."""
    assert COLUMN.read(value) == level


def test_what_has_no_text_is_no_level() -> None:
    """A list or an object, and cells that are not all texts are read one by one."""
    for value in (["a"], {"a": 1}):
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
def test_each_value_is_a_level_where_they_are_few_or_have_enough_rows(levels: int, rows: int, category: bool) -> None:
    """Ten levels, or five rows for each; no more than 512. Of others the commonest are."""
    texts = [f"level {i % levels}" for i in range(rows)]
    known, why = decided(texts)
    assert known is True
    assert ("all others together are one" not in why) is category


def test_of_thousands_of_levels_the_commonest_are_kept_and_the_others_together() -> None:
    """A level that is rare, or new, is the last; it is expected, described and made up under a name of its own."""
    texts = [*(f"rare {i // 2}" for i in range(4000)), *["a"] * 900, *["b"] * 5, *["c"] * 4]
    assert decided(texts) == (
        True,
        "2,003 distinct values; the 2 commonest, in 18.4 % of the rows, are levels, and all others together are one",
    )
    column = CategoricalColumn("kind", (), (), least=5).fit(objects([*texts, None]))
    assert (column.levels, column.counts, column.rest, column.missing) == (("a", "b"), (900, 5), 4004, 1)
    assert column.features(0)[0].levels == 3
    assert column.encode(objects(["a", "b", "c", "rare 7", "new"])).ravel().tolist() == [0, 1, 2, 2, 2]
    assert column.expected(np.array([2.0])) == "any other value"
    assert column.describe() == "2 levels: a, b; all others together, in 4,004 rows"
    rng = np.random.default_rng(0)
    assert {column.usual(rng) for _ in range(99)} == {"a", "any other value"}


def test_codes_are_levels() -> None:
    """Of a typed column too, by the texts that a file would hold; the option that makes numbers of them is named."""
    for cells in (
        pl.Series([200, 404, 500] * 30),
        pl.Series(["200", "404", "500"] * 30),
        pl.Series([200.0, 404.0] * 30),
    ):
        decision = CategoricalColumn.infer(TrainingCells("status", cells, (), "."))
        assert decision is not None
        assert decision.column == CategoricalColumn("status", (), ())
        assert "names and no amounts by the column's own name; --numeric status takes it for numbers" in decision.why
    large = pl.Series([2**60 + i % 7 for i in range(70)])
    decision = CategoricalColumn.infer(TrainingCells("n", large, (), "."))
    assert decision is not None
    assert decision.column is not None
    assert "7 distinct values, codes, as a float does not tell whole numbers of so many digits apart" in decision.why


def test_numbers_that_do_not_compare_are_named() -> None:
    """As levels where they are few; else they are left out with the remedy."""
    few = [f"{i % 3} {'EUR' if i % 2 else 'USD'}" for i in range(90)]
    assert decided(few)[0]
    assert "its numbers are in several currencies (" in decided(few)[1]
    many = [f"{i} {'EUR' if i % 2 else 'USD'}" for i in range(90)]
    assert not decided(many)[0]
    assert "which do not compare: convert them to one" in decided(many)[1]


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


def test_the_commonest_levels_stand_in_for_another() -> None:
    """Beside the one that is expected, and never a value that is not known."""
    rare = CategoricalColumn("kind", tuple("abcdefghij"), tuple(range(20, 10, -1)), rest=3)
    expected = np.array([[9.0], [10.0]])
    assert rare.stand_ins("a", expected).tolist() == ["j", "a"]
    assert rare.replacements("a", expected[0]) == ["j", *"bcdefgh"]
    assert rare.replacements("new", expected[1]) == list("abcdefgh")
    assert rare.way("new", "a") == []
