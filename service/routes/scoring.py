"""The route that judges records, `POST /v1/models/{name}/score`.

Its endpoint is a plain ASGI application: a framework's handling of a body and an answer takes longer than the verdict.
"""

import re
import time
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import parse_qs
from weakref import WeakKeyDictionary

from starlette import types
from starlette.requests import ClientDisconnect

from kilter.service.detector import Detector, Verdicts
from kilter.service.detector.modalities.base import Modality
from kilter.service.formats import (
    JSON,
    NDJSON,
    PNG,
    Format,
    encodings,
    format_named,
    format_of_media_type,
    formats_of,
)
from kilter.service.formats.bodies import Call
from kilter.service.formats.json_body import JsonBody, RowReader
from kilter.service.judging.intake import Intake
from kilter.service.judging.verdicts import PLAIN, AnswerWriter, RecordFacts
from kilter.service.models.registry import Serving
from kilter.service.problems import (
    BAD_BODY,
    BAD_PARAMETER,
    BAD_RECORDS,
    NOT_READY,
    OUT_OF_TIME,
    OVERLOADED,
    SLOW_BODY,
    TOO_LARGE,
    WRONG_TYPE,
    RequestError,
)
from kilter.service.request import Notes, header_of, headers_of, notes_of
from kilter.service.routes.context import Context, find
from kilter.service.routes.scoring_document import ScoringDocument
from kilter.service.routing import Route, Scope

MODEL = "/v1/models/{name}"
SCORE = f"{MODEL}/score"
SCORE_VERSION = f"{MODEL}/versions/{{version}}/score"
INLINE_BYTES = 128 * 1024
"""Bodies up to this size are worked on at once: that takes less than a few milliseconds, and a thread costs its own."""
INLINE_RESULTS = 16
"""Answers about so many decoded records are written at once; to find their regions takes longer than to write them."""
DEFAULT_REASONS = 5
MAX_REASONS = 1000
PARAMETERS = ("reasons", "heatmap")
_JSON_FORMAT = format_named("json")


class ScoreQuery(NamedTuple):
    """What a request wants, by its headers and query."""

    form: Format
    """Of its body."""
    content_type: str
    """As it was stated, with its parameters."""
    answer: str
    """The media type of its answer."""
    reasons: int
    """How many for each record at most."""


_PLAIN = ScoreQuery(_JSON_FORMAT, JSON, JSON, 0)
"""What most requests want."""


class ModelTools:
    """What is made once for a version that serves: the reader of its records, and the writer of its answers."""

    def __init__(self, serving: Serving, limit: int) -> None:
        detector = serving.detector
        self.detector = detector
        self.name, self.version, self.modality = detector.name, detector.version, detector.modality
        self.limit = detector.modality.most_records(limit)
        """Records that a request may have."""
        self.reader = RowReader(detector.schema)
        self.writer = AnswerWriter(detector)


class ScoreEndpoint:
    """Judge records.

    Every record of the request is judged, or none and every problem is listed. A record has every field of the model;
    null stands for an unknown value. Bodies may be compressed, with Content-Encoding gzip or zstd, and so are long
    answers where Accept-Encoding names these.
    """

    def __init__(self, context: Context) -> None:
        self._registry = context.registry
        self._engine = context.engine
        self._decoder = context.decoder
        self._intake = Intake(context.engine, context.settings.max_body_bytes)
        self._max_records = context.settings.max_records
        self._prepared: WeakKeyDictionary[Serving, ModelTools] = WeakKeyDictionary()

    async def __call__(self, scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        serving = find(self._registry, **scope["path_params"])
        prepared = self._prepare(serving)
        notes = notes_of(scope)
        notes.model, notes.version = prepared.name, prepared.version
        query = query_of(scope, prepared.modality)
        content = self._intake.at_hand(scope) if query is _PLAIN else None
        self._engine.turn_away(serving, query.reasons, notes)
        extra: Sequence[tuple[bytes, bytes]] = ()
        try:
            if content is not None and len(content) <= INLINE_BYTES:
                body = JsonBody(Call(content, _JSON_FORMAT, prepared.reader, prepared.limit))
                table = body.whole()
                tables = list(body.tables()) if table is None else [table]
                judged = await self._engine.judge(serving, tables, 0, notes, size=len(content), receive=receive)
                answer = prepared.writer.write(judged)
            else:
                answer, extra = await self._long(scope, receive, serving, prepared, query)
        except ClientDisconnect:
            return
        head = [(b"content-type", query.answer.encode()), (b"content-length", b"%d" % len(answer)), *extra]
        if query.answer in (NDJSON, PNG):
            head += described(prepared.detector)
        if len(answer) >= encodings.PAYS and query.answer != PNG:
            coding = encodings.chosen(header_of(scope, b"accept-encoding"))
            if coding:
                answer = await self._engine.run(encodings.compress, answer, coding)
                head[1] = (b"content-length", b"%d" % len(answer))
                head += [(b"content-encoding", coding.encode()), (b"vary", b"accept-encoding")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": answer})

    async def _long(
        self, scope: types.Scope, receive: types.Receive, serving: Serving, prepared: ModelTools, query: ScoreQuery
    ) -> tuple[bytes, Sequence[tuple[bytes, bytes]]]:
        """The answer to a request that is out of the ordinary, or whose body did not come at once; with headers."""
        notes = notes_of(scope)
        hold = self._intake.hold()
        try:
            content = await self._intake.read(scope, receive, hold)
            self._engine.turn_away(serving, query.reasons, notes)
            hold.reach(len(content))
            if not prepared.modality.decodes:
                return await self._answer(serving, prepared, query, content, notes, receive), ()
            deadline = time.monotonic() + self._engine.seconds if notes.deadline is None else notes.deadline
            call = Call(content, query.form, prepared.reader, prepared.limit, query.content_type)
            tables, records = await self._decoder.read(call, hold, deadline)
            if query.answer == PNG:
                return await self._drawn(serving, query, tables, records, notes, receive, deadline)
            judged = await self._engine.judge(serving, tables, query.reasons, notes, receive=receive)
            write = partial(_written, prepared, query, judged, records)
            few = len(records.sizes or ()) <= INLINE_RESULTS
            return (write() if few else await self._engine.run(write)), ()
        finally:
            hold.release()

    async def _answer(
        self,
        serving: Serving,
        prepared: ModelTools,
        query: ScoreQuery,
        content: bytes,
        notes: Notes,
        receive: types.Receive,
    ) -> bytes:
        """The answer for records that are not decoded."""
        small = len(content) <= INLINE_BYTES
        call = Call(content, query.form, prepared.reader, prepared.limit, query.content_type)
        read = query.form.body_reader()
        at_once = small and query.form.modality is None
        body = read(call) if at_once else await self._engine.run(read, call)
        if query.form.media_types[0] == query.answer and query.form.answers:
            body.check_answer()
            write = body.answer
        else:
            write = partial(_written, prepared, query, records=PLAIN)
        tables = list(body.tables()) if at_once else body.tables()
        judged = await self._engine.judge(serving, tables, query.reasons, notes, receive=receive)
        return write(judged) if small else await self._engine.run(write, judged)

    async def _drawn(
        self,
        serving: Serving,
        query: ScoreQuery,
        tables: list[Any],
        records: RecordFacts,
        notes: Notes,
        receive: types.Receive,
        deadline: float,
    ) -> tuple[bytes, Sequence[tuple[bytes, bytes]]]:
        """The one record with what speaks against it drawn over it, and its verdict as headers."""
        if sum(table.rows for table in tables) > 1:
            raise RequestError(BAD_PARAMETER, "a heat map is of one picture: send one, or ask for reasons")
        [verdicts] = await self._engine.judge(serving, tables, max(query.reasons, 1), notes, receive=receive)
        values = {
            "score": verdicts.score[0].item(),
            "p-value": verdicts.p_value[0].item(),
            "anomaly": str(bool(verdicts.anomaly[0])).lower(),
        }
        drawing = await self._decoder.draw(serving.detector, verdicts, records, deadline)
        return drawing, [(f"kilter-{name}".encode(), str(value).encode()) for name, value in values.items()]

    def _prepare(self, serving: Serving) -> ModelTools:
        prepared = self._prepared.get(serving)
        if prepared is None:
            prepared = self._prepared[serving] = ModelTools(serving, self._max_records)
        return prepared


def _written(prepared: ModelTools, query: ScoreQuery, judged: Sequence[Verdicts], records: RecordFacts) -> bytes:
    """The answer in JSON, or in lines of it."""
    write = prepared.writer.lines if query.answer == NDJSON else prepared.writer.write
    return write(judged, records, query.reasons)


def described(detector: Detector) -> list[tuple[bytes, bytes]]:
    """What JSON says before the results, as headers of an answer that has none but results."""
    calibration = detector.calibration
    values = {
        "model": detector.name,
        "version": detector.version,
        "threshold": calibration.threshold,
        "target-fpr": calibration.target_fpr,
    }
    return [(f"kilter-{name}".encode(), str(value).encode()) for name, value in values.items()]


def query_of(scope: types.Scope, modality: Modality) -> ScoreQuery:
    """What a request wants, by its headers and query. Raises RequestError."""
    query, sent = scope["query_string"], headers_of(scope)
    if (
        not query
        and sent.get(b"content-type") == b"application/json"
        and sent.get(b"accept", b"*/*") == b"*/*"
        and not modality.decodes
    ):
        return _PLAIN
    values = parse_qs(query.decode("latin-1"), keep_blank_values=True)
    check_parameters(values)
    content_type, accept = header_of(scope, b"content-type"), header_of(scope, b"accept")
    form = body_format(content_type, modality)
    answer = answer_type(form, accept)
    if (modality.draws or "heatmap" in values) and heatmap_wanted(values.get("heatmap"), accept, modality):
        answer = PNG
    return ScoreQuery(form, content_type, answer, reasons_wanted(values.get("reasons", ["false"])))


def body_format(content_type: str, modality: Modality) -> Format:
    """The format of a body by its content type; JSON where the request does not say. Raises RequestError."""
    if content_type in ("", JSON):
        return _JSON_FORMAT
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    form = format_of_media_type(media_type, modality.name)
    if form is None:
        known = [one for taken in formats_of(modality.name) for one in taken.media_types]
        raise RequestError(
            WRONG_TYPE,
            f"the content type is {content_type[:100]!r}: to this model send one of {', '.join(known)} (with curl: -H "
            f"'Content-Type: {known[0]}')",
            headers={"Accept-Post": ", ".join(known)},
        )
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        text = value.strip("\"'")
        if name == "charset" and form.modality is None and text not in ("utf-8", "utf8", "us-ascii"):
            raise RequestError(WRONG_TYPE, f"JSON is UTF-8, and the content type says charset {value[:40]!r}")
    return form


def answer_type(form: Format, accept: str) -> str:
    """The media type of an answer, by the body's format and the request's `Accept`: JSON unless it names another."""
    if accept in ("", "*/*", JSON):
        return JSON
    named = {item.partition(";")[0].strip().lower() for item in accept.split(",")}
    if form.answers and form.media_types[0] in named:
        return form.media_types[0]
    lines = format_named("ndjson")
    return NDJSON if not named.isdisjoint((*lines.media_types, *lines.aliases)) else JSON


def check_parameters(values: Iterable[str]) -> None:
    """Raise RequestError for a parameter that there is not: a mistyped one would be passed over in silence."""
    for name in values:
        if name not in PARAMETERS:
            raise RequestError(BAD_PARAMETER, f"there is no parameter {name[:40]!r}, only {' and '.join(PARAMETERS)}")


def heatmap_wanted(values: Sequence[str] | None, accept: str, modality: Modality) -> bool:
    """Whether a heat map is wanted, by `?heatmap=` or, where that is not there, by `Accept`. Raises RequestError."""
    if values is None:
        return any(item.partition(";")[0].strip().lower() == PNG for item in accept.split(","))
    if values not in (["true"], ["false"]):
        raise RequestError(BAD_PARAMETER, "heatmap is true or false, given once")
    if values == ["true"] and not modality.draws:
        raise RequestError(BAD_PARAMETER, "a heat map is drawn over a picture, and the model judges records of fields")
    return values == ["true"]


def reasons_wanted(values: Sequence[str]) -> int:
    """How many reasons `?reasons=` asks for: true, false or a number. Raises RequestError."""
    if len(values) == 1:
        if values[0] in ("true", "false"):
            return DEFAULT_REASONS if values[0] == "true" else 0
        if re.fullmatch(r"[0-9]{1,4}", values[0]) and int(values[0]) <= MAX_REASONS:
            return int(values[0])
    raise RequestError(BAD_PARAMETER, f"reasons is true, false or a number up to {MAX_REASONS}, given once")


def scoring_routes(context: Context) -> list[Route]:
    """The family."""
    document = ScoringDocument(context)
    score = partial(
        Route,
        scope=Scope.SCORE,
        request=document.request,
        response=document.response,
        endpoint=ScoreEndpoint(context),
        tag="scoring",
        answer="The verdicts, in the order of the records.",
        parameters=partial(document.parameters, DEFAULT_REASONS, MAX_REASONS),
        problems=(
            *(BAD_BODY, SLOW_BODY, TOO_LARGE, WRONG_TYPE, BAD_RECORDS, BAD_PARAMETER),
            *(NOT_READY, OVERLOADED, OUT_OF_TIME),
        ),
        direct=True,
    )
    return [score("POST", SCORE), score("POST", SCORE_VERSION, summary="Judge records by a version")]
