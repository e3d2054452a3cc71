"""RFC 9457 problem details: all answers to requests that cannot be answered otherwise."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from kilter.service.detector import Problem

if TYPE_CHECKING:
    from starlette.types import Scope

Headers = Mapping[str, str] | None
MEDIA_TYPE = "application/problem+json"
LISTED = 1000
"""Problems that one answer lists; beyond it only their number is given, or that not all records were looked at."""
LINES = 20  # the same in an answer of plain text


class ProblemKind(NamedTuple):
    """A kind of problem, by its `slug`; `/docs#<slug>` says what it means."""

    slug: str
    status: int
    title: str
    meaning: str


BAD_BODY = ProblemKind("bad-body", 400, "The body cannot be read", "It is not what its Content-Type says, or damaged.")
UNAUTHORIZED = ProblemKind("unauthorized", 401, "A token is needed", "Send Authorization: Bearer, with a known token.")
FORBIDDEN = ProblemKind("forbidden", 403, "The token lacks a scope", "The detail names the scope that the path needs.")
NOT_FOUND = ProblemKind("not-found", 404, "There is no such route", "The path is none of this service's.")
UNKNOWN_MODEL = ProblemKind("unknown-model", 404, "There is no such model", "The detail names the loaded models.")
WRONG_METHOD = ProblemKind("wrong-method", 405, "The route has no such method", "The header Allow names its methods.")
SLOW_BODY = ProblemKind("slow-body", 408, "The body did not arrive in time", "Send it faster, or in several requests.")
TOO_LARGE = ProblemKind(
    "too-large", 413, "The request is too large", "Its body or its number of records: send it in parts."
)
WRONG_TYPE = ProblemKind("wrong-type", 415, "The content type is not supported", "The detail names those that are.")
BAD_RECORDS = ProblemKind(
    "bad-records",
    422,
    "The records do not fit the model",
    "Every problem is listed with its record, counted from 0, and its field. No record was judged.",
)
REFUSED = ProblemKind("refused", 409, "It is not possible as things stand", "The detail says why, and the remedy.")
LOAD_FAILED = ProblemKind("load-failed", 409, "The version cannot be loaded", "What served before goes on serving.")
UNSUPPORTED_RATE = ProblemKind(
    "unsupported-rate",
    422,
    "The model cannot support that false-positive rate",
    "The detail names the smallest rate that its calibration records support.",
)
BAD_PARAMETER = ProblemKind(
    "bad-parameter", 422, "A parameter is wrong", "The detail says which there are, or which values it takes."
)
INTERNAL = ProblemKind("internal", 500, "Something unforeseen happened", "The service's log has the request id.")
NOT_READY = ProblemKind("not-ready", 503, "No model is loaded", "The detail says why.")

OVERLOADED = ProblemKind(
    "overloaded", 503, "Too much is in flight", "Send the request again after the seconds that Retry-After tells."
)
OUT_OF_TIME = ProblemKind(
    "out-of-time", 503, "The request's time is over", "It was not judged. Send it again, perhaps with more time."
)

KINDS = tuple(kind for kind in tuple(globals().values()) if isinstance(kind, ProblemKind))
"""Every kind, in the order of the documentation."""


class ProblemEntry(msgspec.Struct, frozen=True):
    """One thing that is wrong; `row` counts records from 0, and is null where it is not about one."""

    row: int | None
    field: str | None
    message: str


class ProblemDetails(msgspec.Struct, frozen=True):
    """A request that could not be answered, by RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    problems: list[ProblemEntry]


class RequestError(Exception):
    """A request that cannot be answered, and all that its client is told."""

    def __init__(
        self, kind: ProblemKind, detail: str, problems: Sequence[Problem] = (), headers: Headers = None
    ) -> None:
        self.kind, self.detail, self.problems, self.headers = kind, detail, problems, headers
        super().__init__(detail)


def no_route(scope: "Scope") -> RequestError:
    """The error for a path without a route."""
    place = f"{scope['method'][:20]} {scope['path'][:200]}"
    return RequestError(NOT_FOUND, f"there is nothing at {place}: /docs lists what there is")
