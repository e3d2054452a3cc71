"""Styles in which the numbers of a column may be written."""

from typing import Any

from hypothesis import strategies as st

WORDS = [("", ""), ("$", ""), ("EUR ", ""), ("", " EUR"), ("", "€"), ("£", ""), ("US$ ", ""), ("", " zł"), ("Fr. ", "")]
WORDS += [("", " %"), ("", "ms"), ("", " km/h"), ("", " rooms")]
STYLES = st.fixed_dictionaries(
    {
        "decimal": st.sampled_from([".", ","]),
        "grouping": st.sampled_from([".", ",", "'", " ", "\u00a0", "\u202f", "\u2009", "’", ""]),
        "words": st.sampled_from([*WORDS]),
        "negative": st.sampled_from(["-{}", "({})", "{}-", "−{}"]),
        "quote": st.sampled_from(["{}", "'{}'", '"{}"', "'{}"]),
    }
).filter(lambda style: style["decimal"] != style["grouping"])


def spelled_in(style: dict[str, Any], value: float) -> str:
    """A number in a style."""
    whole, fraction = f"{abs(value):,.2f}".split(".")
    text = whole.replace(",", style["grouping"]) + style["decimal"] + fraction
    before, after = style["words"]
    text = f"{before}{text}{after}"
    return str(style["quote"].format(style["negative"].format(text) if value < 0 else text))
