"""Names of columns and fields: compared as Unicode says that they are the same, and suggested where one is unknown."""

import re
from collections.abc import Iterable, Mapping, Sequence
from difflib import get_close_matches
from functools import lru_cache
from typing import Any
from unicodedata import normalize

from kilter.service.detector.errors import ColumnsError

MADE_UP = re.compile(r"column_\d+")
"""The names of columns that have none, in the order of the file."""
LISTED = 20  # columns that a message lists
LONGEST = 200  # letters of a name, and number of names, beyond which none is looked for that is like another


def name_form(name: str) -> str:
    """A name in Unicode's form NFC, in which two are compared: a letter and its accent may be one character or two."""
    return name if name.isascii() else normalize("NFC", name)


def own_names(names: Iterable[str], given: Iterable[str]) -> dict[str, str]:
    """Of those of some names that are given in another form, the form in which they are given."""
    present = {*given}
    absent = [name for name in names if name not in present]
    if not absent:
        return {}
    forms = {name_form(name): name for name in present}
    return {name: forms[name_form(name)] for name in absent if name_form(name) in forms}


def with_own_names(names: Iterable[str], fields: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Fields under the names that are wanted, where they stand under another form of these."""
    absent = [name for name in names if name not in fields]
    own = own_names(absent, (name for name in fields if isinstance(name, str))) if absent else {}
    if not own:
        return fields
    wanted = {given: name for name, given in own.items()}
    return {wanted.get(name, name): value for name, value in fields.items()}


def suggestion(name: str, given: Iterable[str]) -> str:
    """The given name that was probably meant, as the end of a message; empty if none is like it.

    Names that differ by case, blanks and the like alone go before those that are merely alike.
    """
    others = tuple(other for other in given if len(other) <= LONGEST)
    if len(name) > LONGEST or not 0 < len(others) <= LONGEST:
        return ""
    likeliest = _likeliest(name, others)
    return f"; did you mean {likeliest!r}?" if likeliest is not None else ""


@lru_cache(64)
def _likeliest(name: str, given: tuple[str, ...]) -> str | None:
    choices = {_bare(other): other for other in given}
    bare = _bare(name)
    alike = [bare] if bare in choices else get_close_matches(bare, choices, 1)
    return choices[alike[0]] if alike else None


def _bare(name: str) -> str:
    return "".join(char for char in name_form(name).casefold() if char.isalnum()) or name


def listed(names: Sequence[str]) -> str:
    """Names, or the first of many, as a message lists them."""
    return f"{', '.join(map(repr, names[:LISTED]))}{', ...' if len(names) > LISTED else ''}"


def check_fields(source: str, names: Iterable[str], given: Sequence[str]) -> None:
    """Raise ColumnsError if columns that a model needs are not among those of a source."""
    there = {*map(name_form, given)}
    absent = [name for name in names if name_form(name) not in there]
    if absent:
        spare = [name for name in given if name not in {*names}]
        lacking = ", ".join(f"{name!r}{_aside(suggestion(name, spare))}" for name in absent)
        doubt = ""
        if all(map(MADE_UP.fullmatch, given)):
            doubt = ": it has no header line, so add one with the names"
        elif all(map(MADE_UP.fullmatch, absent)):
            doubt = ", and the model was trained on a file without a header line"
        raise ColumnsError(f"{source} lacks {lacking}, which the model needs; its columns are {listed(given)}{doubt}")


def _aside(hint: str) -> str:
    return f" ({hint.removeprefix('; ')})" if hint else ""


def named_column(option: str, name: str, given: Sequence[str]) -> str:
    """The column that an option names, as it is given. Raises ColumnsError if there is none."""
    if name in given:
        return name
    own = own_names([name], given)
    if not own:
        raise ColumnsError(
            f"{option} names {name!r}, and there is no such column: {', '.join(given)}{suggestion(name, given)}"
        )
    return own[name]
