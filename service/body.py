"""From the bytes of a request to records."""

from typing import Any

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope

from service.detector import Problem, Schema
from service.problems import BAD_BODY, BAD_RECORDS, TOO_LARGE, WRONG_TYPE, RequestError

JSON = "application/json"
CSV = "text/csv"
SHAPE = 'the body is {"records": [{...}, ...]}, or one bare record {...}'
_BOM = b"\xef\xbb\xbf"


def header(scope: Scope, name: bytes) -> str:
    """The value of a request's header, or an empty string."""
    for key, value in scope["headers"]:
        if key == name:
            return str(value, "latin-1").strip()
    return ""


def content_type(scope: Scope) -> str:
    """`application/json` or `text/csv`; JSON where the request does not say. Raises RequestError for any other."""
    encoding = header(scope, b"content-encoding")
    if encoding.lower() not in ("", "identity"):
        raise RequestError(WRONG_TYPE, f"the body is encoded as {encoding!r}: send it plain, without Content-Encoding")
    stated = header(scope, b"content-type") or JSON
    if stated == JSON:
        return JSON
    kind, *parameters = (part.strip().lower() for part in stated.split(";"))
    if kind not in (JSON, CSV):
        raise RequestError(
            WRONG_TYPE,
            f"the content type is {stated[:100]!r}: send {JSON} or {CSV} (with curl: -H 'Content-Type: {JSON}')",
            headers={"Accept-Post": f"{JSON}, {CSV}"},
        )
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "charset" and kind == JSON and value.strip("\"'") not in ("utf-8", "utf8", "us-ascii"):
            raise RequestError(WRONG_TYPE, f"JSON is UTF-8, and the content type says charset {value[:40]!r}")
    return kind


async def read(scope: Scope, receive: Receive, limit: int) -> bytes:
    """The whole body. Raises RequestError once it exceeds `limit` bytes, ClientDisconnect if it ends early."""
    length = header(scope, b"content-length")
    if length.isascii() and length.isdigit() and int(length[:20]) > limit:
        raise _too_long(limit)
    message = await receive()
    if message["type"] == "http.request" and not message.get("more_body"):
        body: bytes = message.get("body", b"")
        if len(body) > limit:
            raise _too_long(limit)
        return body
    parts: list[bytes] = []
    size = 0
    while True:
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size > limit:
            raise _too_long(limit)
        parts.append(part)
        if not message.get("more_body"):
            return b"".join(parts)
        message = await receive()


def _too_long(limit: int) -> RequestError:
    return RequestError(TOO_LARGE, f"the body is longer than {limit:,} bytes: send its records in several requests")


def json_records(body: bytes, schema: Schema, limit: int) -> list[Any]:
    """The records of a JSON body, `{"records": [...]}` or one bare record; what each holds is not looked at.

    A list under `records` is always the list of records, as no field's value is a list. Of a key that stands in an
    object twice the last counts. Raises RequestError.
    """
    value = decode(body)
    if not isinstance(value, dict):
        kind = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}.get(type(value), "a number")
        raise RequestError(BAD_RECORDS, f"the body is {kind}: {SHAPE}", [Problem(None, None, SHAPE)])
    records = value.get("records")
    if not isinstance(records, list):
        if "records" in value and "records" not in schema.names:
            raise RequestError(BAD_RECORDS, SHAPE, [Problem(None, "records", "a list of records is expected")])
        return [value]
    if len(value) > 1:
        extra = [
            Problem(None, name, "beside 'records' the body holds nothing else") for name in value.keys() - {"records"}
        ]
        raise RequestError(BAD_RECORDS, SHAPE, sorted(extra))
    if len(records) > limit:
        raise too_many(limit)
    return records


def too_many(limit: int) -> RequestError:
    """What a client is told that sends too many records at once."""
    return RequestError(TOO_LARGE, f"a request may have {limit:,} records: send them in several requests")


def decode(body: bytes) -> Any:
    """The value of a JSON text; a byte order mark before it is passed over. Raises RequestError."""
    try:
        return msgspec.json.decode(body.removeprefix(_BOM))
    except RecursionError:
        detail = "the JSON is nested too deeply"
    except UnicodeDecodeError as error:
        detail = f"JSON is UTF-8, and the byte at position {error.start} of a text is not"
    except msgspec.ValidationError:
        detail = "a number in the JSON is beyond what a 64-bit float can hold: use null for an unknown value"
    except msgspec.DecodeError as error:
        detail = _why(body, error)
    raise RequestError(BAD_BODY, detail)


def _why(body: bytes, error: msgspec.DecodeError) -> str:
    if not body.strip():
        return f"the body is empty: {SHAPE}"
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        return "the body is UTF-16: JSON is UTF-8"
    text = f"the body is not JSON: {str(error).removeprefix('JSON is malformed: ')}"
    if any(literal in body for literal in (b"NaN", b"Infinity")):
        text += "; NaN and Infinity are not JSON: use null for an unknown value"
    return text
