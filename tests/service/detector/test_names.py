"""Names are the same where Unicode says so, and one that is unknown is answered with the one that was meant."""

from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import KilterError
from kilter.service.detector.names import (
    check_fields,
    listed,
    name_form,
    named_column,
    own_names,
    suggestion,
    with_own_names,
)

NAMES = st.text(st.sampled_from("aéöüçn̈́ ŝ"), min_size=1, max_size=5)


@given(st.lists(NAMES, min_size=1, max_size=4, unique_by=name_form))
def test_every_form_of_a_name_is_the_name(names: list[str]) -> None:
    """Letters with their accents as one character or as two."""
    given_names = [normalize("NFD", name) for name in names]
    own = own_names(names, given_names)
    assert {own.get(name, name) for name in names} == {*given_names}
    record = dict.fromkeys(given_names, 1)
    assert with_own_names(names, record).keys() >= {name for name in names if name in own} | (record.keys() & {*names})
    check_fields("x.csv", names, given_names)
    assert [named_column("--label", name, given_names) for name in names] == given_names


def test_fields_that_have_their_names_are_left_alone() -> None:
    """They are not even copied."""
    record = {"a": 1, "b": 2}
    assert with_own_names(["a"], record) is record
    assert own_names(["a", "c"], record) == {}


@pytest.mark.parametrize(
    ("name", "given_names", "meant"),
    [
        ("amount", ["Amount", "mount"], "Amount"),
        ("amount", [" amount ", "amounts"], " amount "),
        ("total amount", ["total_amount", "total"], "total_amount"),
        ("temperature", ["temprature", "pressure"], "temprature"),
        ("größe", ["GRÖSSE", "gross"], "GRÖSSE"),
        ("amount", ["x", "y"], None),
        ("amount", [], None),
        ("***", ["***", "b"], "***"),
    ],
)
def test_what_was_probably_meant(name: str, given_names: list[str], meant: str | None) -> None:
    """By case, blanks and the like first, then by likeness; nothing where nothing is like it."""
    assert suggestion(name, given_names) == ("" if meant is None else f"; did you mean {meant!r}?")


def test_a_hostile_list_of_names_costs_nothing() -> None:
    """Names without end, and ever so many, are not compared."""
    assert suggestion("a" * 10**6, ["b" * 10**6]) == ""
    assert suggestion("a", ["b" * 10**6]) == ""
    assert suggestion("name", [f"name {i}" for i in range(10**5)]) == ""


def test_the_message_names_what_is_there_and_what_was_meant() -> None:
    """Of many columns the first."""
    with pytest.raises(KilterError) as caught:
        check_fields("new.csv", ["amount", "city"], ["Amount", "x"])
    assert str(caught.value) == (
        "new.csv lacks 'amount' (did you mean 'Amount'?), 'city', which the model needs; its columns are 'Amount', 'x'"
    )
    with pytest.raises(KilterError, match=r"it has no header line, so add one with the names$"):
        check_fields("new.csv", ["a"], ["column_1", "column_2"])
    with pytest.raises(KilterError, match="the model was trained on a file without a header line"):
        check_fields("new.csv", ["column_1"], ["a"])
    with pytest.raises(KilterError, match="--label names 'b', and there is no such column: a, B; did you mean 'B'"):
        named_column("--label", "b", ["a", "B"])
    assert listed([f"c{i}" for i in range(30)]).endswith("'c19', ...")
