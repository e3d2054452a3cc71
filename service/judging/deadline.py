"""Until when a request wants its answer, by the header `Request-Timeout` or `X-Request-Timeout`, in seconds."""

import re
import time

from starlette.types import Scope

from kilter.service.bodies.body import WAITED, header, headers
from kilter.service.web.problems import BAD_PARAMETER, RequestError

HEADERS = frozenset({b"request-timeout", b"x-request-timeout"})
LONGEST = 3600.0
_SECONDS = re.compile(r"[0-9]{1,20}(\.[0-9]{1,20})?")


def deadline_of(scope: Scope) -> float | None:
    """The time, by `time.monotonic`, until which the client waits; None if it does not say. Raises RequestError."""
    for name in sorted(HEADERS):
        if name in headers(scope):
            stated = header(scope, name)
            if not _SECONDS.fullmatch(stated) or not 0 < float(stated) <= LONGEST:
                raise RequestError(
                    BAD_PARAMETER,
                    f"{name.decode()} is a number of seconds up to {LONGEST:g}, such as 0.5, not {stated[:40]!r}",
                )
            waited: float = scope.get(WAITED, 0.0)
            return time.monotonic() - waited + float(stated)
    return None
