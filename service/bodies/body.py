"""From the bytes of a request to records."""

from collections.abc import Sequence
from typing import Any

import msgspec
from starlette.types import Scope

from kilter.service.detector import Problem, Schema
from kilter.service.detector.columns import ImageColumn
from kilter.service.problems import BAD_BODY, BAD_RECORDS, TOO_LARGE, WRONG_TYPE, RequestError
from kilter.service.request import header

JSON = "application/json"
CSV = "text/csv"
NDJSON = "application/x-ndjson"
ARROW_STREAM = "application/vnd.apache.arrow.stream"
ARROW_FILE = "application/vnd.apache.arrow.file"
OCTETS = "application/octet-stream"
MULTIPART = "multipart/form-data"
NPY = "application/x-npy"
PNG = "image/png"
KINDS = (JSON, CSV, NDJSON, ARROW_STREAM, ARROW_FILE)
PICTURES = (PNG, "image/jpeg", "image/webp", "image/tiff", "image/bmp", OCTETS)
"""What a picture as the whole body may be called; which it is, its content decides."""
PICTURE_KINDS = (*PICTURES, MULTIPART, JSON, NDJSON, NPY)
ALIASES = {
    **dict.fromkeys(("application/ndjson", "application/jsonl", "application/x-jsonlines"), NDJSON),
    **dict.fromkeys(("image/jpg", "image/pjpeg"), "image/jpeg"),
    **dict.fromkeys(("image/x-ms-bmp", "image/x-bmp"), "image/bmp"),
    **dict.fromkeys(("image/tif", "image/x-tiff"), "image/tiff"),
}
SHAPE = 'the body is {"records": [{...}, ...]}, or one bare record {...}'
COLUMNS_SHAPE = 'column by column the body is {"columns": {"field": [...], ...}}, all of the same length'
CONTAINERS = 50_000
"""Lists and objects that a body may have beside those of its records: each takes thirty times its bytes in memory."""
PICTURE_BYTES = 64 * 1024 * 1024
"""Of a request's pictures at the model's size, all together."""
BOM = b"\xef\xbb\xbf"


def content_type(scope: Scope, kinds: Sequence[str] = KINDS) -> str:
    """One of `kinds`; JSON where the request does not say. Raises RequestError for any other."""
    stated = header(scope, b"content-type") or JSON
    if stated == JSON:
        return JSON
    kind, *parameters = (part.strip().lower() for part in stated.split(";"))
    kind = ALIASES.get(kind, kind)
    if kind not in kinds:
        first = kinds[0]
        raise RequestError(
            WRONG_TYPE,
            f"the content type is {stated[:100]!r}: to this model send one of {', '.join(kinds)} (with curl: -H "
            f"'Content-Type: {first}')",
            headers={"Accept-Post": ", ".join(kinds)},
        )
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        text = value.strip("\"'")
        if name == "charset" and kind in (JSON, NDJSON) and text not in ("utf-8", "utf8", "us-ascii"):
            raise RequestError(WRONG_TYPE, f"JSON is UTF-8, and the content type says charset {value[:40]!r}")
    return kind


def records_of(value: Any, schema: Schema, limit: int) -> list[Any]:
    """The records of a JSON body, `{"records": [...]}` or one bare record; what each holds is not looked at.

    A list under `records` is always the list of records, as no field's value is a list. Of a key that stands in an
    object twice the last counts. Raises RequestError.
    """
    if not isinstance(value, dict):
        kind = {list: "a list", str: "a text", bool: "true or false", type(None): "null"}.get(type(value), "a number")
        raise RequestError(BAD_RECORDS, f"the body is {kind}: {SHAPE}", [Problem(None, None, SHAPE)])
    records = value.get("records")
    if not isinstance(records, list):
        if "records" in value and "records" not in schema.names:
            raise RequestError(BAD_RECORDS, SHAPE, [Problem(None, "records", "a list of records is expected")])
        return [value]
    if len(value) > 1:
        refuse_beside(value, "records")
    if len(records) > limit:
        raise too_many(limit)
    return records


def refuse_beside(value: dict[str, Any], key: str) -> None:
    """Refuse what stands in a body beside the one key that it may have. Raises RequestError."""
    extra = [Problem(None, name, f"beside {key!r} the body holds nothing else") for name in value.keys() - {key}]
    raise RequestError(BAD_RECORDS, SHAPE, sorted(extra))


def too_many(limit: int) -> RequestError:
    """What a client is told that sends too many records at once."""
    return RequestError(TOO_LARGE, f"a request may have {limit:,} records: send them in several requests")


def most_pictures(column: ImageColumn, limit: int) -> int:
    """How many pictures a request may have, by the number of records and by what they come to at the model's size."""
    return max(1, min(limit, PICTURE_BYTES // column.size))


def decode(body: bytes, records: int = 0) -> Any:
    """The value of a JSON text; a byte order mark before it is passed over.

    Raises RequestError if it is none, or has more lists and objects than so many records need.
    """
    if body.count(b"[") + body.count(b"{") > records + CONTAINERS:
        raise RequestError(TOO_LARGE, "the JSON has too many lists and objects: send its records in several requests")
    try:
        return msgspec.json.decode(body.removeprefix(BOM))
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
