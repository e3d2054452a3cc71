"""A request's headers, the notes that are taken of it on its way, and its deadline."""

import re
import time
from dataclasses import dataclass
from typing import Any

from starlette.types import Scope

from kilter.service.problems import BAD_PARAMETER, RequestError

WAITED = "kilter.waited"  # in a scope: how many seconds a request waited before it was begun, if it did
AT_HAND = "kilter.body"  # in a scope: a request's body, if all of it came with its head
TRANSPORT = "kilter.transport"  # in a scope: the connection's, of a request that does not come by the fast lane
TIMEOUT_HEADERS = frozenset({b"request-timeout", b"x-request-timeout"})
LONGEST_SECONDS = 3600.0
_HEADERS = "kilter.headers"
_NOTES = "kilter.notes"
_SECONDS = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")


def header_of(scope: Scope, name: bytes) -> str:
    """The value of a request's header, the first if there are several, or an empty string."""
    value = headers_of(scope).get(name)
    return "" if value is None else str(value, "latin-1").strip()


def headers_of(scope: Scope) -> dict[bytes, bytes]:
    """A request's headers by their names in lower case, of each the first."""
    by_name: dict[bytes, bytes] | None = scope.get(_HEADERS)
    if by_name is None:
        by_name = scope[_HEADERS] = dict(reversed(scope["headers"]))
    return by_name


@dataclass(slots=True)
class Notes:
    """Filled in on the way; a request that judges nothing has no model."""

    model: str | None = None
    version: int | None = None
    records: int = 0
    anomalies: int = 0
    rejected: int = 0
    seconds: float = 0.0
    request_id: str = ""
    deadline: float | None = None
    """Until when the client waits, by `time.monotonic`; None if it does not say."""
    token: str | None = None
    """The name of the token that the request came with."""
    admin: bool = False
    """Whether that token let it in as an administrator."""

    def fields(self) -> dict[str, Any]:
        """The notes as attributes of a span."""
        caller = {} if self.token is None else {"token": self.token}
        if self.model is None:
            return caller
        judged = {name: getattr(self, name) for name in ("model", "version", "records", "anomalies", "rejected")}
        return {**caller, **judged, "detector_milliseconds": round(self.seconds * 1000, 3)}


def notes_of(scope: Scope) -> Notes:
    """The notes on a request: the same ones at each call."""
    notes: Notes | None = scope.get(_NOTES)
    if notes is None:
        notes = scope[_NOTES] = Notes()
    return notes


def deadline_of(scope: Scope) -> float | None:
    """The time, by `time.monotonic`, until which the client waits; None if it does not say. Raises RequestError."""
    for name in sorted(TIMEOUT_HEADERS):
        if name in headers_of(scope):
            stated = header_of(scope, name)
            if not _SECONDS.fullmatch(stated) or not 0 < float(stated) <= LONGEST_SECONDS:
                text = f"{name.decode()} is a number of seconds up to {LONGEST_SECONDS:g}, such as 0.5"
                raise RequestError(BAD_PARAMETER, f"{text}, not {stated[:40]!r}")
            waited: float = scope.get(WAITED, 0.0)
            return time.monotonic() - waited + float(stated)
    return None
