"""The hot route, `POST /v1/models/{name}/score`, as a plain ASGI endpoint: FastAPI's own handling of a body and an
answer takes longer than the verdict. `service.openapi` describes it, and a test holds the two together.
"""

import os
import re
from urllib.parse import parse_qs

import anyio
import anyio.to_thread
import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from service import body
from service.notes import Notes, notes_of
from service.problems import BAD_PARAMETER, NOT_READY, UNKNOWN_MODEL, RequestError
from service.registry import Registry, Serving
from service.verdicts import answer_of, judge

INLINE_BYTES = 32 * 1024
"""Bodies up to this size are worked on at once: that takes less than a few milliseconds, and a thread costs its own."""
CHUNK = 1024
"""Records that are typed and judged together."""
DEFAULT_REASONS = 5
MAX_REASONS = 1000


class ScoreEndpoint:
    """Answers score requests; long ones in a thread, so that the others need not wait for them."""

    def __init__(self, registry: Registry, max_body_bytes: int, max_records: int) -> None:
        self._registry = registry
        self._max_body_bytes = max_body_bytes
        self._max_records = max_records
        self._encode = msgspec.json.Encoder().encode
        self._threads = anyio.CapacityLimiter(os.cpu_count() or 1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        serving = find(self._registry, scope["path_params"]["name"])
        notes = notes_of(scope)
        notes.model, notes.version = serving.detector.name, serving.detector.version
        reasons = reasons_wanted(scope["query_string"])
        kind = body.content_type(scope)
        try:
            content = await body.read(scope, receive, self._max_body_bytes)
        except ClientDisconnect:
            return
        answered = body.JSON
        if kind == body.JSON and len(content) <= INLINE_BYTES:
            answer = self._json(serving, content, reasons, notes)
        else:
            work = self._json if kind == body.JSON else self._csv
            if kind == body.CSV and body.CSV in body.header(scope, b"accept"):
                work, answered = self._csv_to_csv, body.CSV
            answer = await anyio.to_thread.run_sync(work, serving, content, reasons, notes, limiter=self._threads)
        headers = [(b"content-type", answered.encode()), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def _json(self, serving: Serving, content: bytes, reasons: int, notes: Notes) -> bytes:
        detector = serving.detector
        records = body.json_records(content, detector.schema, self._max_records)
        tables = (detector.table(records[start : start + CHUNK]) for start in range(0, len(records), CHUNK))
        return self._encode(answer_of(detector, judge(serving, tables, reasons, notes)))

    def _csv(self, serving: Serving, content: bytes, reasons: int, notes: Notes) -> bytes:
        from service.csv_body import CsvBody

        read = CsvBody(content, serving.detector.schema, self._max_records)
        return self._encode(answer_of(serving.detector, judge(serving, read.tables(), reasons, notes)))

    def _csv_to_csv(self, serving: Serving, content: bytes, reasons: int, notes: Notes) -> bytes:
        from service.csv_body import CsvBody

        read = CsvBody(content, serving.detector.schema, self._max_records)
        read.check_free()
        return read.answer(judge(serving, read.tables(), reasons, notes))


def find(registry: Registry, name: str) -> Serving:
    """The model of that name. Raises RequestError that names those there are."""
    serving = registry.get(name)
    if serving is None:
        if registry.why_not_ready is not None:
            raise RequestError(NOT_READY, registry.why_not_ready)
        shown = repr(name[:63])
        raise RequestError(UNKNOWN_MODEL, f"there is no model {shown} here; there is {', '.join(registry.names)}")
    return serving


def reasons_wanted(query: bytes) -> int:
    """How many reasons `?reasons=` asks for: true, false or a number. Raises RequestError."""
    if not query:
        return 0
    values = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("reasons", ["false"])
    if len(values) == 1:
        if values[0] in ("true", "false"):
            return DEFAULT_REASONS if values[0] == "true" else 0
        if re.fullmatch(r"[0-9]{1,4}", values[0]) and int(values[0]) <= MAX_REASONS:
            return int(values[0])
    raise RequestError(BAD_PARAMETER, f"reasons is true, false or a number up to {MAX_REASONS}, given once")
