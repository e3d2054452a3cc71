"""The route that judges records, `POST /v1/models/{name}/score`.

Its endpoint is a plain ASGI application: a framework's handling of a body and an answer takes longer than the verdict.
"""

import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import parse_qs
from weakref import WeakKeyDictionary

from starlette import types
from starlette.requests import ClientDisconnect

from kilter.service import problems
from kilter.service.detector import Detector, KilterError, Verdicts
from kilter.service.detector.modalities.base import Modality
from kilter.service.formats import JSON, NDJSON, PNG, Format, encodings, format_named, format_of_media_type, formats_of
from kilter.service.formats.bodies import CHUNK, Call
from kilter.service.formats.json_body import JsonBody, RowReader
from kilter.service.judging.admission import Hold
from kilter.service.judging.batch import Wanted
from kilter.service.judging.engine import Engine
from kilter.service.judging.intake import Intake
from kilter.service.judging.verdicts import PLAIN, AnswerWriter, RecordFacts
from kilter.service.models.registry import Serving
from kilter.service.problems import BAD_PARAMETER, BAD_RECORDS, NOT_READY, OUT_OF_TIME, WRONG_TYPE, RequestError
from kilter.service.request import header_of, headers_of, notes_of
from kilter.service.routes.context import MODEL, Context, find
from kilter.service.routes.scoring_document import describe_answers, describe_bodies, describe_parameters
from kilter.service.routing import Route, Scope

SCORE = f"{MODEL}/score"
PROBLEMS = (problems.BAD_BODY, problems.SLOW_BODY, problems.TOO_LARGE, WRONG_TYPE, NOT_READY, problems.OVERLOADED)
"""Of every route that judges."""
INLINE_BYTES = 128 * 1024
"""Bodies up to this size are worked on at once: that takes less than a few milliseconds, and a thread costs its own."""
INLINE_RESULTS = 16
"""Answers about so many decoded records are written at once; to find their regions takes longer than to write them."""
DEFAULT_REASONS = 5
MAX_REASONS = 1000
PARAMETERS = ("reasons", "nearest_normal", "keep", "heatmap", "ignore_unknown")
FORM = "application/x-www-form-urlencoded"  # what curl says of a body that it is told nothing about
Headers = list[tuple[bytes, bytes]]
Judge = Callable[..., Awaitable[list[Verdicts]]]
"""Judges tables with what is wanted, for one request."""
_JSON_FORMAT = format_named("json")


class ScoreQuery(NamedTuple):
    """The headers and query of a request, as they were understood."""

    form: Format
    """Of its body."""
    content_type: str
    """As the request states it, with parameters."""
    answer: str
    """The media type of its answer."""
    wanted: Wanted
    ignore_unknown: bool = False
    """Whether records may have fields that the model does not know."""


_ALONE = Wanted()  # verdicts, and nothing else
_PLAIN = ScoreQuery(_JSON_FORMAT, JSON, JSON, _ALONE)  # that of most requests


class ModelTools:
    """What is made once for a version that serves: the reader of its records, and the writer of its answers."""

    def __init__(self, serving: Serving, limit: int) -> None:
        """`limit` is the number of ordinary records that a request may have."""
        detector = serving.detector
        self.detector = detector
        self.name, self.version, self.modality = detector.name, detector.version, detector.modality
        self.limit = detector.modality.most_records(limit)
        self.few = min(self.limit, CHUNK)
        self.reader = RowReader(detector.schema)
        self.writer = AnswerWriter(detector)

    def check_kept(self, keep: Sequence[str]) -> None:
        """Raise RequestError if nearest normals with these fields kept cannot be given."""
        try:
            self.detector.normals.kept(keep)
        except KilterError as error:
            raise RequestError(BAD_PARAMETER, str(error)) from None

    def call(self, content: bytes, query: ScoreQuery) -> Call:
        """The body of a request, to be read."""
        return Call(content, query.form, self.reader, self.limit, query.content_type, None, query.ignore_unknown)

    def write(self, query: ScoreQuery, records: RecordFacts, judged: Sequence[Verdicts]) -> bytes:
        """The answer in JSON, or in lines of it."""
        write = self.writer.lines if query.answer == NDJSON else self.writer.write
        return write(judged, records, query.wanted.reasons)


class RecordsEndpoint:
    """What takes in records for a model: its bounds, and the tools of each model that serves."""

    def __init__(self, context: Context) -> None:
        self._registry = context.registry
        self._engine = context.engine
        self._decoder = context.decoder
        self._intake = Intake(context.engine, context.settings.max_body_bytes)
        self._max_records = context.settings.max_records
        self._tools: WeakKeyDictionary[Serving, ModelTools] = WeakKeyDictionary()


class ScoreEndpoint(RecordsEndpoint):
    """Judge records.

    Either every record of the request is judged, or none is and every problem is listed. A record has every field of
    the model; null stands for an unknown value. Bodies may be compressed, with Content-Encoding gzip, zstd or deflate.
    Long answers are compressed with gzip or zstd where Accept-Encoding names one.
    """

    async def __call__(self, scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        serving = find(self._registry, **scope["path_params"])
        tools = self._tools.get(serving)
        if tools is None:
            tools = self._tools[serving] = ModelTools(serving, self._max_records)
        notes = notes_of(scope)
        notes.model, notes.version = tools.name, tools.version
        query = query_of(scope, tools.modality)
        if query.wanted.keep is not None:
            tools.check_kept(query.wanted.keep)
        content = self._intake.at_hand(scope) if query is _PLAIN else None
        self._engine.turn_away(serving, query.wanted, notes)
        extra: Headers = []
        try:
            if content is not None and len(content) <= INLINE_BYTES:
                records = tools.reader.records(content)
                table = tools.reader.table(records) if records is not None and len(records) <= tools.few else None
                tables = [table] if table is not None else list(JsonBody(tools.call(content, query), records).tables())
                judged = await self._engine.judge(serving, tables, _ALONE, notes, size=len(content), receive=receive)
                answer = tools.writer.write(judged)
            else:
                hold = self._intake.hold()
                try:
                    content = await self._intake.read(scope, receive, hold)
                    self._engine.turn_away(serving, query.wanted, notes)
                    hold.reach(len(content))
                    judge = partial(self._engine.judge, serving, notes=notes, receive=receive)
                    if tools.modality.decodes:
                        deadline = notes.deadline or time.monotonic() + self._engine.seconds
                        answer, extra = await self._decoded(tools, query, content, judge, hold, deadline)
                    else:
                        answer = await self._answer(tools, query, content, judge)
                finally:
                    hold.release()
        except ClientDisconnect:
            return
        headers = [(b"content-type", query.answer.encode()), *extra]
        if query.answer in (NDJSON, PNG):
            headers += model_headers(tools.detector)
        codings = () if query.answer == PNG else ("zstd", "gzip")
        await send_answer(scope, send, self._engine, answer, headers, codings)

    async def _answer(self, tools: ModelTools, query: ScoreQuery, content: bytes, judge: Judge) -> bytes:
        """The answer for records that are not decoded."""
        small, call = len(content) <= INLINE_BYTES, tools.call(content, query)
        read = query.form.body_reader()
        at_once = small and query.form.modality is None
        body = read(call) if at_once else await self._engine.run(read, call)
        write: Callable[[Sequence[Verdicts]], bytes] = partial(
            tools.write, query, RecordFacts(ids=body.ids) if query.ignore_unknown else PLAIN
        )
        if query.form.media_types[0] == query.answer and query.form.answers:
            body.check_answer()
            write = body.answer
        judged = await judge(list(body.tables()) if at_once else body.tables(), query.wanted)
        return write(judged) if small else await self._engine.run(write, judged)

    async def _decoded(
        self, tools: ModelTools, query: ScoreQuery, content: bytes, judge: Judge, hold: Hold, deadline: float
    ) -> tuple[bytes, Headers]:
        """The answer for records that are decoded; for a heat map, also headers with the verdict."""
        tables, records = await self._decoder.read(tools.call(content, query), hold, deadline)
        if query.answer != PNG:
            write = partial(tools.write, query, records, await judge(tables, query.wanted))
            few = len(records.sizes or ()) <= INLINE_RESULTS
            return (write() if few else await self._engine.run(write)), []
        if sum(table.rows for table in tables) > 1:
            raise RequestError(BAD_PARAMETER, "a heat map is of one picture: send one, or ask for reasons")
        [verdicts] = await judge(tables, Wanted(max(query.wanted.reasons, 1)))
        drawing = await self._decoder.draw(tools.detector, verdicts, records, deadline)
        verdict = {"score": verdicts.score[0].item(), "p-value": verdicts.p_value[0].item()}
        return drawing, _headers(verdict | {"anomaly": str(bool(verdicts.anomaly[0])).lower()})


async def send_answer(
    scope: types.Scope, send: types.Send, engine: Engine, content: bytes, headers: Headers, codings: Sequence[str]
) -> None:
    """Send a 200, compressed in the first of the codings that the client takes if the content is long."""
    if len(content) >= encodings.PAYS:
        coding = encodings.chosen(header_of(scope, b"accept-encoding"), codings)
        if coding:
            content = await engine.run(encodings.compress, content, coding)
            headers += [(b"content-encoding", coding.encode()), (b"vary", b"accept-encoding")]
    headers.append((b"content-length", b"%d" % len(content)))
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


def model_headers(detector: Detector) -> Headers:
    """The headers of an answer that has no place for model and threshold in its body."""
    model = {"model": detector.name, "version": detector.version}
    calibration = detector.calibration
    return _headers(model | {"threshold": calibration.threshold, "target-fpr": calibration.target_fpr})


def _headers(values: Mapping[str, Any]) -> Headers:
    return [(f"kilter-{name}".encode(), str(value).encode()) for name, value in values.items()]


def query_of(scope: types.Scope, modality: Modality) -> ScoreQuery:
    """Read the headers and query of a request. Raises RequestError."""
    query, sent = scope["query_string"], headers_of(scope)
    if (
        not query
        and sent.get(b"content-type") == b"application/json"
        and sent.get(b"accept", b"*/*") == b"*/*"
        and not modality.decodes
    ):
        return _PLAIN
    values = parameters_of(scope, PARAMETERS)
    content_type, accept = header_of(scope, b"content-type"), header_of(scope, b"accept")
    form = body_format(content_type, modality)
    answer = answer_type(form, accept)
    if (modality.draws or "heatmap" in values) and heatmap_wanted(values.get("heatmap"), accept, modality):
        answer = PNG
    wanted = Wanted(reasons_wanted(values.get("reasons", ["false"])), fields_kept(values))
    return ScoreQuery(form, content_type, answer, wanted, ignores_unknown(values))


def parameters_of(scope: types.Scope, known: Sequence[str]) -> dict[str, list[str]]:
    """The parameters of a query, each with its values. Raises RequestError if one is not known."""
    values = parse_qs(scope["query_string"].decode("latin-1"), keep_blank_values=True)
    for name in values:  # a mistyped one would be passed over in silence
        if name not in known:
            listed = " and ".join(filter(None, (", ".join(known[:-1]), known[-1])))
            raise RequestError(BAD_PARAMETER, f"there is no parameter {name[:40]!r}, only {listed}")
    return values


def ignores_unknown(values: Mapping[str, list[str]]) -> bool:
    """Whether records may have fields that the model does not know. Raises RequestError."""
    ignored = values.get("ignore_unknown", ["false"])
    if ignored not in (["true"], ["false"]):
        raise RequestError(BAD_PARAMETER, "ignore_unknown is true or false, given once")
    return ignored == ["true"]


def fields_kept(values: Mapping[str, list[str]]) -> tuple[str, ...] | None:
    """The fields that are not to change in nearest normals; None if these are not asked for. Raises RequestError."""
    stated, keep = values.get("nearest_normal", ["false"]), values.get("keep", [])
    if stated not in (["true"], ["false"]):
        raise RequestError(BAD_PARAMETER, "nearest_normal is true or false, given once")
    if stated == ["true"]:
        return tuple(keep)
    if keep:
        raise RequestError(BAD_PARAMETER, "keep names fields for nearest_normal=true: ask for that, or leave keep out")
    return None


def body_format(content_type: str, modality: Modality) -> Format:
    """The format of a body by its content type; JSON if there is none. Raises RequestError."""
    if content_type in ("", JSON):
        return _JSON_FORMAT
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    form = format_of_media_type(media_type, modality.name)
    if form is None:
        known = [media_type for form in formats_of(modality.name) for media_type in form.media_types]
        remedy = f"to this model send one of {', '.join(known)} (with curl: -H 'Content-Type: {known[0]}')"
        text = f"the content type is {content_type[:100]!r}: {remedy}"
        if content_type.startswith(FORM):
            text += "; a file is sent with --data-binary @FILE, as -d takes away its line ends"
        raise RequestError(WRONG_TYPE, text, headers={"Accept-Post": ", ".join(known)})
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        text = value.strip("\"'")
        if name == "charset" and form.modality is None and text not in ("utf-8", "utf8", "us-ascii"):
            raise RequestError(WRONG_TYPE, f"JSON is UTF-8, and the content type says charset {value[:40]!r}")
    return form


def media_types_of(accept: str) -> set[str]:
    """The media types that an `Accept` names."""
    return {item.partition(";")[0].strip().lower() for item in accept.split(",")}


def answer_type(form: Format, accept: str) -> str:
    """The media type of an answer, by the body's format and the request's `Accept`: JSON unless it names another."""
    if accept in ("", "*/*", JSON):
        return JSON
    named = media_types_of(accept)
    if form.answers and form.media_types[0] in named:
        return form.media_types[0]
    lines = format_named("ndjson")
    return NDJSON if not named.isdisjoint((*lines.media_types, *lines.aliases)) else JSON


def heatmap_wanted(values: Sequence[str] | None, accept: str, modality: Modality) -> bool:
    """Whether `?heatmap=` or, without it, `Accept` asks for a heat map. Raises RequestError."""
    if values is None:
        return PNG in media_types_of(accept)
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
    """The routes that judge records by the version of a model that serves, or by another."""
    registry = context.registry
    score = partial(
        Route,
        "POST",
        scope=Scope.SCORE,
        request=partial(describe_bodies, registry, context.settings.max_records),
        response=partial(describe_answers, registry),
        endpoint=ScoreEndpoint(context),
        tag="scoring",
        answer="The verdicts, in the order of the records.",
        parameters=partial(describe_parameters, registry, DEFAULT_REASONS, MAX_REASONS),
        problems=(*PROBLEMS, BAD_RECORDS, BAD_PARAMETER, OUT_OF_TIME),
        direct=True,
    )
    return [score(SCORE), score(f"{MODEL}/versions/{{version}}/score", summary="Judge records by a version")]
