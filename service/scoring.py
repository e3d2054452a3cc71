"""The hot route, `POST /v1/models/{name}/score`, as a plain ASGI endpoint: FastAPI's own handling of a body and an
answer takes longer than the verdict. `service.openapi` describes it, and a test holds the two together.
"""

import re
from collections.abc import Iterator
from urllib.parse import parse_qs

import msgspec
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from service import body
from service.detector import Verdicts
from service.detector.inputs import Table
from service.engine import Engine
from service.notes import notes_of
from service.problems import BAD_PARAMETER, NOT_READY, UNKNOWN_MODEL, RequestError
from service.registry import Registry, Serving
from service.verdicts import answer_of

INLINE_BYTES = 32 * 1024
"""Bodies up to this size are worked on at once: that takes less than a few milliseconds, and a thread costs its own."""
CHUNK = 1024
"""Records that are typed and judged together."""
DEFAULT_REASONS = 5
MAX_REASONS = 1000
VERSION = re.compile(r"[1-9][0-9]{0,17}")


class ScoreEndpoint:
    """Answers score requests; long ones in a thread, so that the others need not wait for them."""

    def __init__(self, registry: Registry, engine: Engine, max_body_bytes: int, max_records: int) -> None:
        self._registry = registry
        self._engine = engine
        self._max_body_bytes = max_body_bytes
        self._max_records = max_records
        self._encode = msgspec.json.Encoder().encode

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        serving = find(self._registry, **scope["path_params"])
        notes = notes_of(scope)
        notes.model, notes.version = serving.detector.name, serving.detector.version
        reasons = reasons_wanted(scope["query_string"])
        kind = body.content_type(scope)
        answered = body.JSON
        try:
            content = await body.read(scope, receive, self._max_body_bytes)
            size = len(content)
            if kind == body.JSON and size <= INLINE_BYTES:
                tables = list(self._tables(serving, content))
                judged = await self._engine.judge(serving, tables, reasons, notes, size=size, receive=receive)
                answer = self._encode(answer_of(serving.detector, judged))
            elif kind == body.JSON:
                read = self._tables(serving, content)
                judged = await self._engine.judge(serving, read, reasons, notes, size=size, receive=receive)
                answer = await self._engine.run(self._encoded, serving, judged)
            else:
                from service.csv_body import CsvBody

                csv = await self._engine.run(CsvBody, content, serving.detector.schema, self._max_records)
                back = body.CSV in body.header(scope, b"accept")
                if back:
                    csv.check_free()
                judged = await self._engine.judge(serving, csv.tables(), reasons, notes, size=size, receive=receive)
                if back:
                    answered = body.CSV
                    answer = await self._engine.run(csv.answer, judged)
                else:
                    answer = await self._engine.run(self._encoded, serving, judged)
        except ClientDisconnect:
            return
        headers = [(b"content-type", answered.encode()), (b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": answer})

    def _tables(self, serving: Serving, content: bytes) -> Iterator[Table]:
        records = body.json_records(content, serving.detector.schema, self._max_records)
        for start in range(0, len(records), CHUNK):
            yield serving.detector.table(records[start : start + CHUNK])

    def _encoded(self, serving: Serving, judged: list[Verdicts]) -> bytes:
        return self._encode(answer_of(serving.detector, judged))


def find(registry: Registry, name: str, version: str | None = None) -> Serving:
    """The model of that name that serves, or that version of it. Raises RequestError that names those there are."""
    serving = registry.get(name)
    if serving is not None and version is not None:
        serving = registry.get(name, int(version)) if VERSION.fullmatch(version) else None
        if serving is None:
            there = ", ".join(map(str, registry.versions(name)))
            raise RequestError(UNKNOWN_MODEL, f"{name} has no version {version[:20]!r} loaded; it has {there}")
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
