"""What a score request asks for, by its headers and query."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple
from urllib.parse import parse_qs

from starlette.types import Scope

from kilter.service.bodies import body
from kilter.service.bodies.body import CSV, JSON, NDJSON, PNG
from kilter.service.detector import Schema
from kilter.service.problems import BAD_PARAMETER, RequestError
from kilter.service.request import header, headers

DEFAULT_REASONS = 5
MAX_REASONS = 1000
PARAMETERS = ("reasons", "heatmap")


class Asked(NamedTuple):
    """What a request asks for."""

    kind: str
    """The content type of its body."""
    stated: str
    """The same as it was stated, with its parameters."""
    back: str
    """The content type of its answer."""
    reasons: int


PLAIN = Asked(JSON, JSON, JSON, 0)
"""What most requests ask for."""


def asked_of(scope: Scope, schema: Schema) -> Asked:
    """What a request asks for, by its headers and query. Raises RequestError."""
    pictures = any(column.modality == "image" for column in schema.columns)
    query, sent = scope["query_string"], headers(scope)
    if (
        not query
        and sent.get(b"content-type") == b"application/json"
        and sent.get(b"accept", b"*/*") == b"*/*"
        and not pictures
    ):
        return PLAIN
    values = parse_qs(query.decode("latin-1"), keep_blank_values=True)
    check_names(values)
    stated, accept = header(scope, b"content-type"), header(scope, b"accept")
    kind = body.content_type(scope, body.PICTURE_KINDS if pictures else body.KINDS)
    back = answer_kind(kind, accept)
    if (pictures or "heatmap" in values) and heatmap_wanted(values.get("heatmap"), accept, schema):
        back = PNG
    return Asked(kind, stated, back, reasons_wanted(values.get("reasons", ["false"])))


def check_names(values: Iterable[str]) -> None:
    """Raise RequestError for a parameter that there is not: a mistyped one would be passed over in silence."""
    for name in values:
        if name not in PARAMETERS:
            raise RequestError(BAD_PARAMETER, f"there is no parameter {name[:40]!r}, only {' and '.join(PARAMETERS)}")


def heatmap_wanted(values: Sequence[str] | None, accept: str, schema: Schema) -> bool:
    """Whether a heat map is asked for, by `?heatmap=` or, where that is not there, by `Accept`. Raises RequestError."""
    if values is None:
        return any(item.partition(";")[0].strip().lower() == PNG for item in accept.split(","))
    if values not in (["true"], ["false"]):
        raise RequestError(BAD_PARAMETER, "heatmap is true or false, given once")
    if values == ["true"] and not any(column.modality == "image" for column in schema.columns):
        raise RequestError(BAD_PARAMETER, "a heat map is drawn over a picture, and the model judges records of fields")
    return values == ["true"]


def answer_kind(kind: str, accept: str) -> str:
    """The content type of an answer, by that of the body and the request's `Accept`: JSON unless it names another."""
    if accept in ("", "*/*", JSON):
        return JSON
    named = {item.partition(";")[0].strip().lower() for item in accept.split(",")}
    if kind == CSV and CSV in named:
        return CSV
    return NDJSON if any(body.ALIASES.get(name, name) == NDJSON for name in named) else JSON


def reasons_wanted(values: Sequence[str]) -> int:
    """How many reasons `?reasons=` asks for: true, false or a number. Raises RequestError."""
    if len(values) == 1:
        if values[0] in ("true", "false"):
            return DEFAULT_REASONS if values[0] == "true" else 0
        if re.fullmatch(r"[0-9]{1,4}", values[0]) and int(values[0]) <= MAX_REASONS:
            return int(values[0])
    raise RequestError(BAD_PARAMETER, f"reasons is true, false or a number up to {MAX_REASONS}, given once")
