"""The route `POST /v2/models/{name}[/versions/{version}]/infer`."""

from collections.abc import Iterable
from typing import NamedTuple

from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from kilter.service.bodies import body, encodings
from kilter.service.bodies.intake import Intake
from kilter.service.detector import Detector
from kilter.service.detector.inputs import Table
from kilter.service.judging.engine import Engine
from kilter.service.judging.scoring import INLINE_BYTES, find
from kilter.service.models.registry import Registry
from kilter.service.oip.answers import Wanted, answer
from kilter.service.oip.records import tables
from kilter.service.oip.requests import HEADER, parse
from kilter.service.problems import WRONG_TYPE, RequestError
from kilter.service.request import header, notes_of

OCTETS = "application/octet-stream"
CODINGS = ("gzip", "deflate", "zstd")
"""Of an answer, the first that the client takes: its libraries may ask for zstd in its name, which it cannot undo."""


class Work(NamedTuple):
    """A request that has been read: its records, and what is wanted of them."""

    tables: Iterable[Table]
    wanted: Wanted
    reasons: int


class InferEndpoint:
    """Answers inference requests; long ones are read and written in a thread, so that the others need not wait."""

    def __init__(self, registry: Registry, engine: Engine, max_body_bytes: int, max_records: int) -> None:
        self._registry = registry
        self._engine = engine
        self._intake = Intake(engine, max_body_bytes)
        self._max_records = max_records

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        serving = find(self._registry, **scope["path_params"])
        detector = serving.detector
        notes = notes_of(scope)
        notes.model, notes.version = detector.name, detector.version
        check_type(scope)
        stated = header(scope, HEADER.lower().encode())
        hold = self._intake.hold()
        try:
            content = await self._intake.read(scope, receive, hold)
            hold.reach(len(content))
            small = len(content) <= INLINE_BYTES
            if small and detector.modality.name == "table":
                work = self._whole(detector, content, stated)
            elif detector.modality.name == "image":  # a few bytes may be many small pictures, each to be enlarged
                work = await self._engine.run(self._whole, detector, content, stated)
            else:
                work = await self._engine.run(self._read, detector, content, stated)
            judged = await self._engine.judge(serving, work.tables, work.reasons, notes, size=0, receive=receive)
            made: tuple[bytes, int | None]
            if small:
                made = answer(detector, judged, work.wanted)
            else:
                made = await self._engine.run(answer, detector, judged, work.wanted)
            content, json_length = made
            coding = ""
            if len(content) >= encodings.PAYS:
                coding = encodings.chosen(header(scope, b"accept-encoding"), CODINGS)
                if coding:
                    content = await self._engine.run(encodings.compress, content, coding)
        except ClientDisconnect:
            return
        finally:
            hold.release()
        await _send(send, content, json_length, coding)

    def _whole(self, detector: Detector, content: bytes, stated: str) -> Work:
        work = self._read(detector, content, stated)
        return work._replace(tables=list(work.tables))

    def _read(self, detector: Detector, content: bytes, stated: str) -> Work:
        request, inputs = parse(content, stated, self._max_records)
        wanted = Wanted(request, detector.schema)
        return Work(tables(detector.schema, inputs, self._max_records), wanted, wanted.reasons(detector))


def check_type(scope: Scope) -> None:
    """Raise RequestError for a content type that no client of the protocol sends; it may be left out."""
    stated = header(scope, b"content-type")
    kind = stated.partition(";")[0].strip().lower()
    if kind not in ("", body.JSON, OCTETS):
        raise RequestError(
            WRONG_TYPE,
            f"the content type is {stated[:100]!r}: send {body.JSON}, or {OCTETS} where binary data follow the JSON",
            headers={"Accept-Post": f"{body.JSON}, {OCTETS}"},
        )


async def _send(send: Send, content: bytes, json_length: int | None, coding: str) -> None:
    kind = body.JSON if json_length is None else OCTETS
    headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(content))]
    if json_length is not None:
        headers.append((HEADER.lower().encode(), b"%d" % json_length))
    if coding:
        headers += [(b"content-encoding", coding.encode()), (b"vary", b"accept-encoding")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})
