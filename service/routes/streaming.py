"""The route that answers a long table while it is sent, `POST /v1/models/{name}/score/stream`.

What comes back are the bytes that `kilter score` writes. Nothing is sent before the first block is judged, so that what
is wrong from the beginning gets a status of its own. What goes wrong later cuts the answer off.
"""

import asyncio
import re
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Literal

from starlette import types
from starlette.requests import ClientDisconnect

from kilter.service import problems
from kilter.service.detector import Detector, KilterError
from kilter.service.detector.errors import ColumnsError
from kilter.service.detector.modalities.base import Modality
from kilter.service.formats import Format, encodings, format_named, format_of_media_type
from kilter.service.formats.bodies import hints_of
from kilter.service.judging.batch import Wanted, out_of_time
from kilter.service.judging.pipes import Pipe, StreamEnded
from kilter.service.judging.streams import StreamQuery, Streams
from kilter.service.models.registry import Serving
from kilter.service.problems import (
    BAD_BODY,
    BAD_PARAMETER,
    BAD_RECORDS,
    NOT_READY,
    OUT_OF_TIME,
    SLOW_BODY,
    WRONG_TYPE,
    RequestError,
)
from kilter.service.request import TRANSPORT, header_of, headers_of, notes_of
from kilter.service.routes.context import Context, find
from kilter.service.routes.scoring import (
    MAX_REASONS,
    PROBLEMS,
    SCORE,
    Headers,
    body_format,
    fields_kept,
    model_headers,
    parameters_of,
)
from kilter.service.routes.streaming_document import describe_long_bodies, describe_stream, describe_stream_parameters
from kilter.service.routing import Route, Scope

STREAM = f"{SCORE}/stream"
STREAMED = ("csv", "ndjson", "arrow-stream")
"""Formats whose records come one after the other, with nothing behind them that is needed first."""
PARAMETERS = ("reasons", "only_anomalies", "columns", "tail", "nearest_normal", "keep")
SLICE = 1 << 16  # bytes that are sent at a time: a client that reads on takes them in the time that it may stand still
LEAVING_SECONDS = 1.0  # that the end of a connection may take before it is broken off


class StreamEndpoint:
    """Judge a long table, and answer while it is sent.

    The answer is what `kilter score` writes: the records with their verdicts, in the format of the body, or in another
    of the same ones that Accept names. It comes in blocks of some thousand records, so that a client has to read while
    it sends. A record that does not fit has its error in its row. Whatever else goes wrong after the first block ends
    the connection before the answer has its end. There is no bound on the records, and Content-Encoding and
    Accept-Encoding mean what they do elsewhere.
    """

    def __init__(self, context: Context) -> None:
        settings = context.settings
        self._registry = context.registry
        self._engine = context.engine
        self._streams = Streams(settings.max_streams, settings.max_stream_bytes, context.metrics)
        self._seconds = settings.stall_seconds

    async def __call__(self, scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        serving = find(self._registry, **scope["path_params"])
        detector, notes = serving.detector, notes_of(scope)
        notes.model, notes.version = detector.name, detector.version
        query = read_stream_query(scope, detector)
        stated = headers_of(scope).get(b"content-length", b"")
        if stated.isdigit() and int(stated[:20]) > self._streams.most_bytes:
            raise self._streams.too_long()
        if self._registry.stopping:
            raise RequestError(NOT_READY, "the service is stopping: send the stream to another replica")
        self._engine.turn_away(serving, Wanted(), notes)
        with self._streams.place():
            await _Stream(self._streams, self._seconds, scope, receive, send).answer(serving, query)


class _Stream:
    """A request that is answered while its body comes."""

    def __init__(
        self, streams: Streams, seconds: float, scope: types.Scope, receive: types.Receive, send: types.Send
    ) -> None:
        """Of a client that may stand still for so many seconds."""
        self._streams, self._seconds = streams, seconds
        self._scope, self._receive, self._send = scope, receive, send
        self._body, self._out = Pipe(), Pipe()
        self._stalled = self._under_way = False

    async def answer(self, serving: Serving, query: StreamQuery) -> None:
        """Answer to the end. Raises RequestError, and ClientDisconnect; then the thread has ended, too."""
        loop, notes = asyncio.get_running_loop(), notes_of(self._scope)
        headers: Headers = [(b"content-type", query.answer.media_types[0].encode()), *model_headers(serving.detector)]
        if query.answer_coding:
            headers += [(b"content-encoding", query.answer_coding.encode()), (b"vary", b"accept-encoding")]
        left = None if notes.deadline is None else max(0.0, notes.deadline - time.monotonic())
        work = loop.run_in_executor(self._streams.loops, self._work, serving, query)
        feeding = loop.create_task(self._feed())
        try:
            async with asyncio.timeout(left):
                await self._send_all(headers)
        except BaseException as error:
            await self._end(work, feeding)
            if self._under_way and not isinstance(error, asyncio.CancelledError):
                await self._cut_off()
            raise _problem_of(error) from None
        await self._end(work, feeding)

    def _work(self, serving: Serving, query: StreamQuery) -> None:
        """Judge, in a thread, what goes in, and write what comes out."""
        from kilter.service.judging.stream_work import StreamWork  # imports polars, which takes its time

        StreamWork(self._streams, serving, query, self._body, self._out, notes_of(self._scope))()

    async def _feed(self) -> None:
        """Take in the body, and then see whether the client leaves."""
        error: Exception
        try:
            more = True
            while more:
                async with asyncio.timeout(self._seconds):
                    message = await self._receive()
                if message["type"] == "http.disconnect":
                    raise ClientDisconnect  # noqa: TRY301
                await self._body.put(message.get("body", b""))
                more = message.get("more_body", False)
            self._body.close()
            while (await self._receive())["type"] != "http.disconnect":
                pass
            error = ClientDisconnect()
        except TimeoutError:
            self._stalled = True
            text = f"nothing more of the body came for {self._seconds:g} s, and it is not complete: send it faster"
            error = RequestError(SLOW_BODY, text)
        except Exception as other:
            error = other
        self._body.close(error)
        self._out.close(error)

    async def _send_all(self, headers: Headers) -> None:
        more = True
        while more:
            content = await self._out.get()
            if not self._under_way:
                self._under_way = True
                await self._send({"type": "http.response.start", "status": 200, "headers": headers})
            more = bool(content)
            for start in range(0, len(content), SLICE):
                message = {"type": "http.response.body", "body": content[start : start + SLICE], "more_body": True}
                try:
                    async with asyncio.timeout(self._seconds):
                        await self._send(message)
                except TimeoutError:
                    self._stalled = True
                    text = f"the answer was not read for {self._seconds:g} s: read it while the body is sent"
                    raise RequestError(SLOW_BODY, text) from None
        await self._send({"type": "http.response.body", "body": b""})

    async def _end(self, work: "asyncio.Future[None]", feeding: "asyncio.Task[None]") -> None:
        """Let go of the thread and of the client."""
        self._body.close(StreamEnded())
        self._out.close(StreamEnded())
        feeding.cancel()
        await asyncio.wait([work, feeding])

    async def _cut_off(self) -> None:
        """Close the connection before the answer has its end: at once if the client has stood still."""
        transport = self._scope.get(TRANSPORT)
        if transport is None:
            return
        if not self._stalled:
            transport.close()
            with suppress(TimeoutError, RuntimeError):
                async with asyncio.timeout(LEAVING_SECONDS):
                    while (await self._receive())["type"] != "http.disconnect":
                        pass
                    return
        transport.abort()
        with suppress(TimeoutError, RuntimeError):
            async with asyncio.timeout(LEAVING_SECONDS):
                while (await self._receive())["type"] != "http.disconnect":
                    pass


def _problem_of(error: BaseException) -> BaseException:
    """An error as a client is told it."""
    if isinstance(error, ColumnsError):
        return RequestError(BAD_RECORDS, str(error))
    if isinstance(error, KilterError):
        return RequestError(BAD_BODY, str(error))
    return out_of_time() if isinstance(error, TimeoutError) else error


def read_stream_query(scope: types.Scope, detector: Detector) -> StreamQuery:
    """Read the headers and query of a request. Raises RequestError."""
    values = parameters_of(scope, PARAMETERS)
    content_type = header_of(scope, b"content-type")
    form = stream_format(content_type, detector.modality)
    reasons, most = explained(values.get("reasons", ["anomalies"]))
    keep = fields_kept(values)
    if keep is not None:
        try:
            detector.normals.kept(keep)
        except KilterError as error:
            raise RequestError(BAD_PARAMETER, str(error)) from None
    return StreamQuery(
        form,
        hints_of(content_type, detector.schema.names)._replace(stated=form),
        answer_format(form, header_of(scope, b"accept")),
        encodings.coding(header_of(scope, b"content-encoding")),
        encodings.chosen(header_of(scope, b"accept-encoding")),
        reasons,
        most,
        flag_of(values, "tail"),
        "anomalies" if flag_of(values, "only_anomalies") else "all",
        values.get("columns"),
        keep,
    )


def stream_format(content_type: str, modality: Modality) -> Format:
    """The format of a body that is streamed. Raises RequestError for one that is not."""
    if not modality.has_fields:
        raise RequestError(WRONG_TYPE, "a stream is a table, and the model judges pictures: send them to .../score")
    form = format_of_media_type(content_type.partition(";")[0].strip().lower(), modality.name)
    if form is None or form.name not in STREAMED:
        known = [format_named(name).media_types[0] for name in STREAMED]
        stated = f"the content type is {content_type[:100]!r}" if content_type else "no content type is stated"
        remedy = f"a stream is one of {', '.join(known)} (with curl: -H 'Content-Type: {known[0]}' -T FILE)"
        raise RequestError(WRONG_TYPE, f"{stated}: {remedy}", headers={"Accept-Post": ", ".join(known)})
    return body_format(content_type, modality)


def answer_format(form: Format, accept: str) -> Format:
    """The first format that `Accept` names in which a stream may be answered; that of the body if there is none."""
    for item in accept.split(","):
        named = item.partition(";")[0].strip().lower()
        for one in map(format_named, STREAMED):
            if named in (*one.media_types, *one.aliases):
                return one
    return form


def explained(values: Sequence[str]) -> tuple[Literal["anomalies", "all", "none"], int]:
    """Which records get reasons, and how many at most, as `kilter score` is told. Raises RequestError."""
    if len(values) == 1:
        match values[0]:
            case "anomalies" | "all" | "none" as which:
                return which, 5
            case number if re.fullmatch(r"[0-9]{1,4}", number) and 0 < int(number) <= MAX_REASONS:
                return "all", int(number)
    raise RequestError(
        BAD_PARAMETER, f"reasons is anomalies, all, none, or a number up to {MAX_REASONS}, which all records get"
    )


def flag_of(values: Mapping[str, Sequence[str]], name: str) -> bool:
    """A parameter that is true or false, the latter without it. Raises RequestError."""
    stated = values.get(name, ["false"])
    if stated not in (["true"], ["false"]):
        raise RequestError(BAD_PARAMETER, f"{name} is true or false, given once")
    return stated == ["true"]


def streaming_routes(context: Context) -> list[Route]:
    """The routes that answer long tables, by the version of a model that serves, or by another."""
    names = {one.media_types[0]: one for one in map(format_named, STREAMED)}
    stream: Any = partial(
        Route,
        "POST",
        scope=Scope.SCORE,
        request=partial(describe_long_bodies, context.registry, names),
        response=partial(describe_stream, names),
        endpoint=StreamEndpoint(context),
        tag="scoring",
        answer="The records with their verdicts, in their order.",
        parameters=partial(describe_stream_parameters, MAX_REASONS),
        problems=(*PROBLEMS, problems.BAD_RECORDS, BAD_PARAMETER, OUT_OF_TIME),
        direct=True,
        streams=True,
    )
    by_version = STREAM.replace("/score", "/versions/{version}/score")
    return [stream(STREAM), stream(by_version, summary="Judge a long table by a version")]
