"""What is told of a request beside its answer, by its log line and its span: counts and durations, never a value."""

from dataclasses import dataclass
from typing import Any

from starlette.types import Scope

_KEY = "kilter.notes"


@dataclass(slots=True)
class Notes:
    """Filled in on the way; a request that judges nothing has no model."""

    model: str | None = None
    version: int | None = None
    records: int = 0
    anomalies: int = 0
    rejected: int = 0
    seconds: float = 0.0
    """In the detector."""
    request_id: str = ""
    deadline: float | None = None
    """Until when the client waits, by `time.monotonic`; None if it does not say."""
    token: str | None = None
    """The name of the token that the request came with."""
    admin: bool = False
    """Whether that token let it in as an administrator."""

    def fields(self) -> dict[str, Any]:
        """What a log line holds of it."""
        caller = {} if self.token is None else {"token": self.token}
        if self.model is None:
            return caller
        return {
            **caller,
            "model": self.model,
            "version": self.version,
            "records": self.records,
            "anomalies": self.anomalies,
            "rejected": self.rejected,
            "detector_milliseconds": round(self.seconds * 1000, 3),
        }


def notes_of(scope: Scope) -> Notes:
    """The notes on a request: the same ones each time it is asked for."""
    notes: Notes | None = scope.get(_KEY)
    if notes is None:
        notes = scope[_KEY] = Notes()
    return notes
