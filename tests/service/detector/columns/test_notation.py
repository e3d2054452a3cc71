"""Tests of `columns.notation`: numbers as a column writes them, read and spelled."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.columns.notation import LONGEST, Notation, take_apart

NOTATIONS = st.builds(
    Notation,
    decimal=st.sampled_from([".", ","]),
    grouping=st.sampled_from(["", "'", " "]),
    currency=st.just("EUR"),
    before=st.sampled_from(["", "EUR", "€"]),
    gap=st.sampled_from(["", " "]),
    decimals=st.integers(0, 3),
    brackets=st.booleans(),
    quoted=st.booleans(),
) | st.builds(
    Notation,
    decimal=st.sampled_from([".", ","]),
    unit=st.sampled_from(["ms", "%", "rooms", "km/h", "m²"]),
    gap=st.sampled_from(["", " "]),
    decimals=st.integers(0, 3),
).map(lambda one: Notation(decimal=one.decimal, unit=one.unit, after=one.unit, gap=one.gap, decimals=one.decimals))


@given(NOTATIONS, st.floats(-1e9, 1e9) | st.integers(-(10**12), 10**12).map(float))
def test_a_spelled_number_is_read_as_itself(notation: Notation, value: float) -> None:
    """To the last digit, in every notation: a reason can be sent back."""
    assert notation.number(notation.spell(value)) == value
    assert notation.number(f"{value:.17g}".replace(".", notation.decimal)) == pytest.approx(value, rel=1e-15)


MONEY = Notation(decimal=",", grouping=".", currency="EUR", after="EUR", gap=" ", decimals=2)
LATENCY = Notation(unit="ms", after="ms", gap=" ")


@pytest.mark.parametrize(
    "text",
    [
        "1.234,50 EUR",
        "1234,5",
        "EUR 1.234,50",
        "€1.234,50",
        "1 234,50 €",
        "1\u202f234,50\u00a0€",
        "1'234,50",
        "1’234,5 EUR",
        "+1.234,5",
        "'1.234,50 EUR'",
        '"1234,50"',
        "1,2345k EUR",
        "1.234,50/-",
    ],
)
def test_what_a_text_lacks_is_taken_as_the_others_have_it(text: str) -> None:
    """A number of the column with another blank, sign of the currency, or none, is the same number."""
    assert MONEY.number(text) == 1234.5


@pytest.mark.parametrize(
    "text", ["(1.234,50) EUR", "-1.234,50", "−1.234,50 EUR", "(1.234,50 EUR)", "-€1.234,50", "1.234,50-"]
)
def test_below_zero_there_is_a_sign_or_brackets(text: str) -> None:
    """Before the number, after it, or around it with or without the currency."""
    if not text.endswith(") EUR"):
        assert MONEY.number(text) == -1234.5


def test_a_unit_of_the_same_quantity_is_converted() -> None:
    """1.5 s are 1500 ms."""
    assert [LATENCY.number(text) for text in ("12", "12.5 ms", "12.5ms", "1.5 s", "2 min")] == [
        12,
        12.5,
        12.5,
        1500,
        120_000,
    ]


@pytest.mark.parametrize(
    ("notation", "text", "message"),
    [
        (MONEY, "1234.5", "a number like 1.234,50 EUR is expected, not the text '1234.5'; leave the cell empty"),
        (MONEY, "12,34,5", "a number like 1.234,50 EUR is expected"),
        (MONEY, "1.23.456,0", "a number like"),
        (
            MONEY,
            "12 USD",
            "the text '12 USD' is in USD, and those of the column are in EUR: convert it, or leave it empty",
        ),
        (MONEY, "12 kg", "has the unit kg, and the column has no unit: convert it, or leave it empty"),
        (LATENCY, "12 kg", "has the unit kg, and those of the column are in ms: convert it"),
        (LATENCY, "$12", "is in [$], and the column has no currency"),
        (LATENCY, "red", "a number like 1234.5 ms is expected, not the text 'red'"),
        (LATENCY, "", "a number like"),
        (LATENCY, "(12", "a number like"),
        (LATENCY, "--12", "a number like"),
        (Notation("duration"), "red", "a duration like 03:04:46 is expected, not the text 'red'"),
        (Notation("duration"), "12 kg", "has the unit kg, and those of the column are in s"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_remedy(notation: Notation, text: str, message: str) -> None:
    """By an example of the column's own numbers."""
    with pytest.raises(ValueError, match=message):
        notation.number(text)


def test_durations_are_seconds_in_any_spelling() -> None:
    """A number alone, too, and one with a unit of time."""
    duration = Notation("duration")
    assert {
        duration.number(text) for text in ("03:04:46", "'03:04:46'", "PT3H4M46S", "11086", "11086 s", "11086000 ms")
    } == {11086.0}
    assert duration.in_words(whole=True) == "durations like 03:04:46, in seconds"


def test_a_notation_is_told_by_an_example() -> None:
    """With a negative number where brackets stand for one."""
    assert MONEY.in_words(whole=False) == "numbers as 1.234,50 EUR"
    brackets = Notation(currency="$", before="$", grouping=",", brackets=True)
    assert brackets.in_words(whole=True) == "numbers as $1,234 and ($1,234)"


@pytest.mark.parametrize(
    "text",
    [
        "red",
        "4 to 5",
        "a1",
        "1a5",
        "#5",
        "10.0.0.1:80",
        "2024-01-01",
        "12:30",
        "5;6",
        "5/6",
        "5/",
        "(5",
        "5)",
        "",
        "+-5",
    ],
)
def test_what_holds_no_single_number_is_not_taken_apart(text: str) -> None:
    """Ranges, dates, addresses, words."""
    assert take_apart(text) is None


@given(st.text(max_size=2 * LONGEST))
def test_any_text_is_read_or_refused(text: str) -> None:
    """Nothing but a ValueError comes of it."""
    for notation in (MONEY, LATENCY, Notation("duration")):
        try:
            assert isinstance(notation.number(text), float)
        except ValueError:
            continue


@given(NOTATIONS, st.floats(-1e9, 1e9), st.integers(0, 6), st.text("0123456789.,' -€EURms()", max_size=12))
def test_the_usual_spelling_is_read_as_any_other(notation: Notation, value: float, places: int, text: str) -> None:
    """The quick way gives what the other would, whatever the text."""
    for one in (notation.spell(round(value, places)), notation.spell(float(int(value))), text.strip(), f"'{text}'"):
        try:
            expected = notation.number_otherwise(one)
        except ValueError:
            with pytest.raises(ValueError, match=r"."):
                notation.number(one)
        else:
            assert notation.number(one) == expected


def test_a_long_text_is_refused_at_once() -> None:
    """However its parts might be combined."""
    start = time.process_time()
    for text in ("1" + " " * 100_000 + "x", "1" * 100_000 + ":", "a" * 100_000, "1 s " * 50_000 + "x"):
        with pytest.raises(ValueError, match="is expected"):
            MONEY.number(text)
        with pytest.raises(ValueError, match="is expected"):
            Notation("duration").number(text)
    assert time.process_time() - start < 60
