"""Tables in Markdown."""

from collections.abc import Iterable, Sequence
from math import isnan


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table with its first column to the left and the others to the right."""
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, rule, *rows))


def number(value: float | None, digits: int = 3, *, sign: bool = False) -> str:
    """A figure, or a dash where there is none."""
    if value is None or isnan(value):
        return "–"
    return f"{value:{'+' if sign else ''},.{digits}f}"


def with_error(value: float, error: float, digits: int = 3, *, sign: bool = False) -> str:
    """A figure with its standard error."""
    return f"{number(value, digits, sign=sign)} ± {number(error, digits)}"
