"""The queries and headers of the routes of the latent space, as they are understood."""

import math
import re
from collections.abc import Callable, Mapping
from typing import NamedTuple, TypeVar

from starlette import types

from kilter.service.detector.similar import MOST
from kilter.service.formats import CSV, JSON, NDJSON, PNG, Format, format_named
from kilter.service.judging.batch import Wanted
from kilter.service.problems import BAD_PARAMETER, RequestError
from kilter.service.request import header_of
from kilter.service.routes.latent_document import MOST_STEPS, STRONGEST
from kilter.service.routes.scoring import ScoreQuery, ignores_unknown, media_types_of, parameters_of

SEED, STEPS, NEAREST, STRENGTH, UNKNOWN = "seed", "steps", "k", "strength", "ignore_unknown"
"""The parameters that there are."""

Value = TypeVar("Value")


class LatentQuery(NamedTuple):
    """The headers and query of a request, as they were understood."""

    body: ScoreQuery
    """Of its body, and the media type of its answer."""
    seed: int | None
    """By which values are drawn; None for the expected ones."""
    steps: int | None
    """Records on the way from one to another, if that was said."""
    nearest: int
    """Known records that are shown of each."""
    strength: float
    """How far records are moved."""


def read_latent_query(
    scope: types.Scope,
    parameters: tuple[str, ...],
    form: Callable[[str], Format],
    *,
    pictures: bool,
    tables: bool,
) -> LatentQuery:
    """Read the query and headers of a request. Raises RequestError.

    `form` gives the format of a body by its content type. An answer may come as a PNG if it is of `pictures`, and as
    CSV if it is of `tables`.
    """
    values = parameters_of(scope, parameters)
    content_type, named = header_of(scope, b"content-type"), media_types_of(header_of(scope, b"accept"))
    lines, answer = format_named("ndjson"), JSON
    if pictures and PNG in named:
        answer = PNG
    elif tables and CSV in named:
        answer = CSV
    elif not named.isdisjoint((*lines.media_types, *lines.aliases)):
        answer = NDJSON
    body = ScoreQuery(form(content_type), content_type, answer, Wanted(), ignores_unknown(values))
    return LatentQuery(
        body,
        _number(values, SEED, "[0-9]{1,18}", int, "a whole number of up to 18 digits"),
        _number(values, STEPS, r"[2-9]|[1-9][0-9]{1,3}", int, f"a whole number from 2 to {MOST_STEPS:,}"),
        _number(values, NEAREST, r"[1-9][0-9]?|100", int, f"a whole number from 1 to {MOST}") or 5,
        _strength(values),
    )


def _strength(values: Mapping[str, list[str]]) -> float:
    what = f"a number from {-STRONGEST:,} to {STRONGEST:,}"
    strength = _number(values, STRENGTH, r"[+-]?[0-9.]+([eE][+-]?[0-9]{1,3})?", _real, what)
    if strength is None:
        return 1.0
    if not abs(strength) <= STRONGEST:
        raise RequestError(BAD_PARAMETER, f"{STRENGTH} is {what}, given once")
    return strength


def _real(text: str) -> float:
    """A number; NaN if it is none."""
    try:
        return float(text)
    except ValueError:
        return math.nan


def _number(
    values: Mapping[str, list[str]], name: str, pattern: str, kind: Callable[[str], Value], what: str
) -> Value | None:
    """The number that a parameter states, if it is there. Raises RequestError if it is not `what` it must be."""
    stated = values.get(name)
    if stated is None:
        return None
    if len(stated) > 1 or not re.fullmatch(pattern, stated[0]):
        raise RequestError(BAD_PARAMETER, f"{name} is {what}, given once")
    return kind(stated[0])
