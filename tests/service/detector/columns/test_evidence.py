"""Tests of `columns.evidence`: the notation of a column is decided by all of its texts."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.columns.evidence import Numbers, find_numbers
from kilter.service.detector.columns.notation import Notation
from tests.support.styles import STYLES, spelled_in

RNG = np.random.default_rng(0)
VALUES = sorted(RNG.lognormal(6, 1.5, 80).round(2).tolist())


def decided(texts: list[str], name: str = "c", decimal: Any = ".") -> Numbers | str | None:
    """What is decided of texts, each in one row."""
    return find_numbers(name, dict.fromkeys(texts, 1), decimal)


@given(STYLES, st.lists(st.integers(-(10**8), 10**8), min_size=30, unique=True), st.sampled_from([".", ","]))
def test_every_style_of_numbers_is_read(style: dict[str, Any], hundredths: list[int], decimal: Any) -> None:
    """Whatever the decimal sign of the file; and the notation reads what it spells as it read the texts."""
    values = [number / 100 for number in hundredths]
    texts = [spelled_in(style, value) for value in values]
    numbers = decided(texts, decimal=decimal)
    if numbers is None:  # nothing sets them apart from plain numbers of the file
        assert style["decimal"] == decimal
        assert (style["words"], style["quote"]) == (("", ""), "{}")
        return
    assert isinstance(numbers, Numbers)
    assert isinstance(numbers.notation, Notation)
    assert [numbers.of[text] for text in texts] == values
    for value in values:
        assert numbers.notation.number(numbers.notation.spell(value)) == value


def grouped(sign: str, values: list[float] = VALUES) -> list[str]:
    return [f"{int(value):,}".replace(",", sign) for value in values]


@pytest.mark.parametrize("sign", [".", ","])
@pytest.mark.parametrize("decimal", [".", ","])
def test_999_beside_1_234_is_a_doubt_that_the_whole_column_resolves(sign: str, decimal: str) -> None:
    """Numbers under 1000 without a sign, and all others with three digits after it: thousands, and it is said."""
    texts = grouped(sign)
    assert {len(text) > 3 for text in texts} == {True, False}
    numbers = decided(texts, decimal=decimal)
    assert isinstance(numbers, Numbers)
    assert [numbers.of[text] for text in texts] == [int(value) for value in VALUES]
    assert f"numbers under 1000 stand without '{sign}'" in numbers.doubt
    assert (f"write 999{sign}000 if these are decimals" in numbers.doubt) == (sign == decimal)


def test_three_decimals_are_decimals() -> None:
    """Where no number under 1000 stands without a sign, or some are above, or 0 is the only one, or some have two."""
    decimals = [f"{value:.3f}" for value in VALUES]
    assert decided(decimals) is None
    assert decided([*decimals, "0"]) is None
    assert decided([*decimals, "1234", "5"]) is None
    assert decided([*decimals, "12.5", "5"]) is None
    commas = decided([text.replace(".", ",") for text in decimals])
    assert isinstance(commas, Numbers)
    assert commas.notation == Notation(decimal=",", decimals=3)


def test_thousands_alone_go_by_the_file() -> None:
    """1,234 is 1234 where the file's decimal sign is a point, and it is said."""
    texts = grouped(",", [value + 1000 for value in VALUES if value < 900])
    numbers = decided(texts)
    assert isinstance(numbers, Numbers)
    assert numbers.of[texts[0]] >= 1000
    assert numbers.doubt == f"{texts[0]!r} is read with thousands, as the decimal sign of the file is '.'"
    assert decided(texts, decimal=",") is None


@pytest.mark.parametrize(
    "texts",
    [
        ["red", "blue", "green"],
        ["2WD", "4WD"],
        [f"{i}{'ABCDEF'[i % 6]}" for i in range(60)],
        [f"{i:05}" for i in range(100)],
        [f"'{i:05}'" for i in range(100)],
        [f"{600 + i} 345 67{i % 10}" for i in range(99)],
        [f"+49 {i:02} 1234" for i in range(99)],
        ["192.168.1.1", "10.0.0.2", "10.0.0.1"],
        ["16:9", "16:10", "4:03", "21:09"],
        [f"{i}:{i % 10}" for i in range(50)],
        [f"{i}st street" if i % 2 else f"{i}nd street" for i in range(50)],
        [f"2024-01-{i:02}" for i in range(1, 29)],
        [str(value) for value in VALUES],
    ],
)
def test_what_are_no_numbers_or_plain_ones_is_left_to_others(texts: list[str]) -> None:
    """Words, codes, numbers to call, addresses, ratios, dates."""
    assert decided(texts) is None


def test_numbers_that_do_not_compare_are_said_to() -> None:
    """Several currencies, or units of several quantities; units of one are converted."""
    euros = [f"{value} {'EUR' if i % 2 else 'USD'}" for i, value in enumerate(VALUES)]
    assert "several currencies (" in str(decided(euros))
    assert "several units (" in str(decided([f"{value} {'kg' if i % 2 else 'ms'}" for i, value in enumerate(VALUES)]))
    seconds = decided([f"{value} ms" if value < 400 else f"{value / 1000:.5f} s" for value in VALUES])
    assert isinstance(seconds, Numbers)
    assert isinstance(seconds.notation, Notation)
    size = 1000 if seconds.notation.unit == "s" else 1
    assert sorted(seconds.of.values()) == pytest.approx([value / size for value in VALUES])
    unknown = decided([f"{value} {'kmpl' if i % 2 else 'km/kg'}" for i, value in enumerate(VALUES)])
    assert "several units (" in str(unknown)
    prefixes = decided([f"{value:.0f}" if value < 1000 else f"{value / 1000:.1f}k" for value in VALUES])
    assert isinstance(prefixes, Numbers)
    assert max(prefixes.of.values()) > 1000


def clocks(low: float, high: float, seconds: bool = True) -> list[str]:
    """Different times between two hours."""
    texts = []
    for at in np.linspace(low * 3600, high * 3600 - 60, 90).astype(int).tolist():
        text = f"{at // 3600:02}:{at % 3600 // 60:02}"
        texts.append(f"{text}:{at % 60:02}" if seconds else text)
    return texts


@pytest.mark.parametrize(
    ("texts", "name", "kind"),
    [
        (clocks(0, 24), "c", "clock"),
        (clocks(0, 24, seconds=False), "c", "clock"),
        (clocks(2, 6), "c", "duration"),
        (clocks(2, 6), "opened at", "clock"),
        (clocks(0, 24), "elapsed", "duration"),
        (clocks(0, 30), "start", "duration"),
        ([f"{1 + i % 12}:{i % 60:02} {'am' if i % 5 else 'PM'}" for i in range(99)], "elapsed", "clock"),
        ([f"{i}:{i % 60:02}" for i in range(99)], "c", "duration"),
        ([f"1h {i}m" for i in range(50)], "c", "duration"),
        ([f"PT{i}S" for i in range(50)], "c", "duration"),
        ([f"-0:{i:02}:00" for i in range(10, 60)], "c", "duration"),
    ],
)
def test_durations_and_times_of_day_are_told_apart_by_the_whole_column(texts: list[str], name: str, kind: str) -> None:
    """By what no clock shows, by the column's name, or by whether they reach beyond noon; and a doubt is said."""
    numbers = decided(texts, name)
    assert isinstance(numbers, Numbers)
    assert (numbers.notation if isinstance(numbers.notation, str) else numbers.notation.kind) == kind
    both = max(numbers.of.values()) < 86_400 and min(numbers.of.values()) >= 0 and len(texts) == 90
    assert ("they may be" in numbers.doubt) == both


def test_two_numbers_with_a_colon_are_minutes_where_a_clock_or_the_column_says_so() -> None:
    """The first is over 23, or others have three; else they are hours, which is said."""
    long = decided([f"{i}:{i % 60:02}" for i in range(10, 99)])
    three = decided([*[f"{i}:30" for i in range(10, 22)], "1:02:03"], "length")
    short = decided([f"{i % 6}:{i:02}" for i in range(10, 60)], "length")
    assert isinstance(long, Numbers)
    assert isinstance(three, Numbers)
    assert isinstance(short, Numbers)
    assert (long.of["40:40"], three.of["12:30"], three.of["1:02:03"], short.of["4:10"]) == (2440, 750, 3723, 15_000)
    assert "write 0:4:10 for minutes and seconds" in short.doubt
