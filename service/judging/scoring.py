"""The hot route, `POST /v1/models/{name}/score`, as a plain ASGI endpoint: FastAPI's own handling of a body and an
answer takes longer than the verdict. `web.openapi` describes it, and a test holds the two together.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple
from weakref import WeakKeyDictionary

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from kilter.service.bodies import encodings
from kilter.service.bodies.body import ARROW_STREAM, CSV, JSON, NDJSON, PNG
from kilter.service.bodies.intake import Intake
from kilter.service.bodies.json_body import CHUNK, JsonBody, LinesBody
from kilter.service.bodies.rows import RowReader
from kilter.service.detector import Detector, Schema, Verdicts
from kilter.service.detector.inputs import Table
from kilter.service.judging.asked import PLAIN, Asked, asked_of
from kilter.service.judging.engine import Engine
from kilter.service.judging.picture_scoring import PictureScoring
from kilter.service.judging.verdicts import AnswerWriter
from kilter.service.models.registry import Registry, Serving
from kilter.service.problems import NOT_READY, UNKNOWN_MODEL, RequestError
from kilter.service.request import Notes, header, notes_of

INLINE_BYTES = 128 * 1024
"""Bodies up to this size are worked on at once: that takes less than a few milliseconds, and a thread costs its own."""
_TYPES = {kind: (b"content-type", kind.encode()) for kind in (JSON, CSV, NDJSON, PNG)}
VERSION = re.compile(r"[1-9][0-9]{0,17}")


class Prepared:
    """What is made once for a model that serves: the reader of its records, and the writer of its answers."""

    def __init__(self, serving: Serving) -> None:
        detector = serving.detector
        self.name, self.version, self.schema = detector.name, detector.version, detector.schema
        self.reader = RowReader(detector.schema)
        self.writer = AnswerWriter(detector)


class Form(NamedTuple):
    """A body as it is read, and how its answer is written."""

    tables: Iterable[Table]
    write: Callable[[Sequence[Verdicts]], bytes]


class Answered(NamedTuple):
    """The body of an answer, and headers that belong to it."""

    body: bytes
    headers: Sequence[tuple[bytes, bytes]] = ()


class ScoreEndpoint:
    """Answers score requests; long ones in threads, so that the others need not wait for them."""

    def __init__(
        self, registry: Registry, engine: Engine, pictures: PictureScoring, max_body_bytes: int, max_records: int
    ) -> None:
        self._pictures = pictures
        self._registry = registry
        self._engine = engine
        self._intake = Intake(engine, max_body_bytes)
        self._max_records = max_records
        self._short = min(CHUNK, max_records)
        self._prepared: WeakKeyDictionary[Serving, Prepared] = WeakKeyDictionary()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        serving = find(self._registry, **scope["path_params"])
        prepared = self._prepare(serving)
        notes = notes_of(scope)
        notes.model, notes.version = prepared.name, prepared.version
        asked = asked_of(scope, prepared.schema)
        content = self._intake.at_hand(scope) if asked is PLAIN else None
        self._engine.turn_away(serving, asked.reasons, notes)
        table = None if content is None or len(content) > INLINE_BYTES else prepared.reader.short(content, self._short)
        try:
            if content is not None and table is not None:
                judged = await self._engine.judge_one(serving, table, notes, len(content), receive)
                answer = Answered(prepared.writer.write([judged]))
            else:
                answer = await self._long(scope, receive, serving, prepared, asked)
        except ClientDisconnect:
            return
        body, head = answer.body, [_TYPES[asked.back], (b"content-length", b"%d" % len(answer.body)), *answer.headers]
        if asked.back in (NDJSON, PNG):
            head += told(serving.detector)
        if len(body) >= encodings.PAYS and asked.back != PNG:
            coding = encodings.chosen(header(scope, b"accept-encoding"))
            if coding:
                body = await self._engine.run(encodings.compress, body, coding)
                head[1] = (b"content-length", b"%d" % len(body))
                head += [(b"content-encoding", coding.encode()), (b"vary", b"accept-encoding")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": body})

    async def _long(
        self, scope: Scope, receive: Receive, serving: Serving, prepared: Prepared, asked: Asked
    ) -> Answered:
        """What is answered to a request that is out of the ordinary, or whose body did not come at once."""
        notes = notes_of(scope)
        hold = self._intake.hold()
        try:
            content = await self._intake.read(scope, receive, hold)
            self._engine.turn_away(serving, asked.reasons, notes)
            hold.reach(len(content))
            if serving.detector.modality.name == "image":
                return Answered(*await self._pictures.answer(serving, asked, content, hold, notes, receive))
            return Answered(await self._answer(serving, prepared, asked, content, notes, receive))
        finally:
            hold.release()

    async def _answer(
        self, serving: Serving, prepared: Prepared, asked: Asked, content: bytes, notes: Notes, receive: Receive
    ) -> bytes:
        """What is answered for records of fields."""
        reasons = asked.reasons
        small = len(content) <= INLINE_BYTES
        form = self._form(prepared, asked, content, small)
        if form is None:
            write = prepared.writer.lines if asked.back == NDJSON else prepared.writer.write
            limit = self._max_records
            form = await self._engine.run(table_form, asked.kind, asked.back, content, prepared.schema, limit, write)
        judged = await self._engine.judge(serving, form.tables, reasons, notes, size=0, receive=receive)
        return form.write(judged) if small else await self._engine.run(form.write, judged)

    def _prepare(self, serving: Serving) -> Prepared:
        prepared = self._prepared.get(serving)
        if prepared is None:
            prepared = self._prepared[serving] = Prepared(serving)
        return prepared

    def _form(self, prepared: Prepared, asked: Asked, content: bytes, small: bool) -> Form | None:
        """A body of JSON; None for a table, which is read in a thread."""
        if asked.kind not in (JSON, NDJSON):
            return None
        read = JsonBody if asked.kind == JSON else LinesBody
        found = read(content, prepared.schema, prepared.reader, self._max_records)
        write = prepared.writer.lines if asked.back == NDJSON else prepared.writer.write
        return Form(found.short() if small else found.tables(), write)


def table_form(
    kind: str, back: str, content: bytes, schema: Schema, limit: int, write: Callable[[Sequence[Verdicts]], bytes]
) -> Form:
    """A CSV or Arrow body; what reads them takes its time to be imported, and is only where it is needed."""
    if kind != CSV:
        from kilter.service.bodies.arrow_body import ArrowBody

        return Form(ArrowBody(content, schema, limit, stream=kind == ARROW_STREAM).tables(), write)
    from kilter.service.bodies.csv_body import CsvBody

    read = CsvBody(content, schema, limit)
    if back == CSV:
        read.check_free()
        write = read.answer
    return Form(read.tables(), write)


def told(detector: Detector) -> list[tuple[bytes, bytes]]:
    """What JSON tells before the results, as headers of an answer that has none but results."""
    calibration = detector.calibration
    values = {
        "model": detector.name,
        "version": detector.version,
        "threshold": calibration.threshold,
        "target-fpr": calibration.target_fpr,
    }
    return [(f"kilter-{name}".encode(), str(value).encode()) for name, value in values.items()]


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
