"""What an administrator sends, and what is told of what is not possible."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, TypeVar

import msgspec
from starlette.requests import ClientDisconnect, Request

from kilter.service.bodies.body import JSON
from kilter.service.detector import KilterError
from kilter.service.models.registry import NotThereError, RefusedError
from kilter.service.problems import (
    BAD_BODY,
    BAD_PARAMETER,
    REFUSED,
    TOO_LARGE,
    UNKNOWN_MODEL,
    WRONG_TYPE,
    Kind,
    RequestError,
)

BODY_BYTES = 64 * 1024
Version = Annotated[int, msgspec.Meta(ge=1, le=999_999_999)]
T = TypeVar("T")


class WhichVersion(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version; null for the one that serves and, of those in the folder, the one that is to serve."""

    version: Version | None = None


class TargetRate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The share of normal records that may be flagged."""

    target_fpr: Annotated[float, msgspec.Meta(gt=0, le=0.5)]


class Candidate(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A version that is to be in the shadow of the one that serves."""

    version: Version


def _number(text: str) -> int | float:
    """To JSON Schema 2.0 is an integer."""
    number = float(text)
    return int(number) if number.is_integer() else number


_DECODER = msgspec.json.Decoder(float_hook=_number)


async def content(request: Request, kind: type[T]) -> T:
    """What the body says in JSON; an empty one says `{}`. Raises RequestError."""
    stated = request.headers.get("content-type", JSON).partition(";")[0].strip().lower()
    if stated != JSON or request.headers.get("content-encoding", "identity").lower() != "identity":
        raise RequestError(WRONG_TYPE, f"send {JSON}, without Content-Encoding", headers={"Accept": JSON})
    sent = bytearray()
    try:
        async for part in request.stream():
            sent += part
            if len(sent) > BODY_BYTES:
                raise RequestError(TOO_LARGE, f"the body is longer than {BODY_BYTES:,} bytes")
        return msgspec.convert(_DECODER.decode(sent or b"{}"), kind)
    except msgspec.ValidationError as error:
        raise RequestError(BAD_PARAMETER, f"the body does not say what is needed: {error}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise RequestError(BAD_BODY, f"the body is not JSON: {error}") from None
    except ClientDisconnect:
        raise RequestError(BAD_BODY, "the body ended early") from None


@contextmanager
def told(failed: Kind) -> Iterator[None]:
    """Tell a client what is not possible; what the domain does not tell apart is a problem of the kind `failed`."""
    try:
        yield
    except NotThereError as error:
        raise RequestError(UNKNOWN_MODEL, str(error)) from None
    except RefusedError as error:
        raise RequestError(REFUSED, str(error)) from None
    except KilterError as error:
        raise RequestError(failed, str(error)) from None
