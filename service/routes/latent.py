"""The routes of the latent space: `POST /v1/models/{name}/encode`, `/decode` and `/reconstruct`."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, ClassVar, NamedTuple

import msgspec
import numpy as np
from starlette import types
from starlette.requests import ClientDisconnect

from kilter.service.detector import Detector, KilterError, Problem
from kilter.service.detector.arrays import Floats
from kilter.service.detector.inputs import Table, cut, join
from kilter.service.detector.latent import FARTHEST, between, generator_of
from kilter.service.detector.pictures.column import png_of, strip_of
from kilter.service.formats import CSV, JSON, NDJSON, PNG, Format, format_named
from kilter.service.formats.bodies import too_many
from kilter.service.formats.json_body import decode_json
from kilter.service.judging.admission import Hold
from kilter.service.judging.batch import moved, out_of_time, refusal
from kilter.service.judging.verdicts import ModelName
from kilter.service.models.registry import Registry
from kilter.service.problems import BAD_PARAMETER, BAD_RECORDS, OUT_OF_TIME, REFUSED, WRONG_TYPE, RequestError
from kilter.service.request import notes_of
from kilter.service.routes.context import MODEL, Context, find
from kilter.service.routes.latent_document import (
    USUAL_STEPS,
    CodesAnswer,
    LatentAnswer,
    RecordsAnswer,
    SimilarAnswer,
    describe_codes,
    describe_latent_answers,
    describe_latent_parameters,
    describe_pairs,
)
from kilter.service.routes.latent_query import SEED, STEPS, UNKNOWN, LatentQuery, read_latent_query
from kilter.service.routes.scoring import (
    PROBLEMS,
    Headers,
    ModelTools,
    RecordsEndpoint,
    body_format,
    model_headers,
    send_answer,
)
from kilter.service.routes.scoring_document import describe_bodies
from kilter.service.routing import Content, Route, Scope

PIECE = 1024  # records that are worked on between two looks at the clock
SHAPE = 'the body is {"codes": [[...], ...]}, a list of numbers for each'


class LatentEndpoint(RecordsEndpoint):
    """What the endpoints have in common: what is taken in, within which bounds, and how it is answered."""

    parameters: ClassVar[tuple[str, ...]]
    gives: ClassVar[type[LatentAnswer]] = RecordsAnswer
    """The answer in JSON."""

    @staticmethod
    def describe(registry: Registry, max_records: int) -> Content:
        """Describe the bodies, of so many records at most."""
        return describe_bodies(registry, max_records)

    async def __call__(self, scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        serving = find(self._registry, **scope["path_params"])
        tools = self._tools.get(serving)
        if tools is None:
            tools = self._tools[serving] = ModelTools(serving, self._max_records)
        notes = notes_of(scope)
        notes.model, notes.version = tools.name, tools.version
        query = self.query(scope, tools)
        self.check(tools.detector, query)
        hold = self._intake.hold()
        try:
            content = await self._intake.read(scope, receive, hold)
            hold.reach(len(content))
            deadline = notes.deadline or time.monotonic() + self._engine.seconds
            tables = await self.tables(tools, query, content, hold, deadline)
            notes.records = sum(table.rows for table in tables)
            hold.add(notes.records, 0)
            answer = await self._engine.run(self.answer, tools.detector, query, tables, deadline)
        except ClientDisconnect:
            return
        finally:
            hold.release()
        headers: Headers = [(b"content-type", query.body.answer.encode())]
        if query.body.answer != JSON:
            headers += model_headers(tools.detector)
        codings = () if query.body.answer == PNG else ("zstd", "gzip")
        await send_answer(scope, send, self._engine, answer, headers, codings)

    def query(self, scope: types.Scope, tools: ModelTools) -> LatentQuery:
        """Read the headers and query of a request. Raises RequestError."""
        decodes = tools.modality.decodes
        return read_latent_query(
            scope,
            self.parameters,
            lambda content_type: self.form(content_type, tools),
            pictures=decodes and self.gives is RecordsAnswer,
            tables=not decodes and self.gives is not SimilarAnswer,
        )

    def check(self, detector: Detector, query: LatentQuery) -> None:
        """Raise RequestError if the model does not encode and decode, or cannot draw values where it is to."""
        try:
            detector.latent.check()
            if query.seed is not None:
                detector.latent.check_draws()
        except KilterError as error:
            raise RequestError(REFUSED, str(error)) from None

    def form(self, content_type: str, tools: ModelTools) -> Format:
        """The format of the body. Raises RequestError."""
        return body_format(content_type, tools.modality)

    async def tables(
        self, tools: ModelTools, query: LatentQuery, content: bytes, hold: Hold, deadline: float
    ) -> Sequence[Any]:
        """The records of a body, in parts. Raises RequestError that lists every problem."""
        call = tools.call(content, query.body)
        if tools.modality.decodes:
            tables, _ = await self._decoder.read(call, hold, deadline)
        else:
            tables = await self._engine.run(lambda: list(call.form.body_reader()(call).tables()))
        listed: list[Problem] = []
        rows = 0
        for table in tables:
            listed += moved(table.problems, rows)
            rows += table.rows
        if listed:
            raise refusal(listed)
        if not rows:
            raise RequestError(BAD_RECORDS, "there are no records: send at least one")
        return tables

    def answer(self, detector: Detector, query: LatentQuery, tables: Sequence[Any], deadline: float) -> bytes:
        """The answer for the parts of a body. Raises RequestError."""
        raise NotImplementedError


class EncodeEndpoint(LatentEndpoint):
    """Encode records.

    A code is a record's place in the latent space of the model: a list of numbers. Records that are alike for it have
    codes that are close to one another. Bodies are those of the score route; either every record is encoded, or none is
    and every problem is listed.
    """

    parameters = (UNKNOWN,)
    gives = CodesAnswer

    def answer(self, detector: Detector, query: LatentQuery, tables: Sequence[Any], deadline: float) -> bytes:
        codes = np.concatenate([detector.latent.encode(piece) for piece in in_time(tables, deadline)])
        if query.body.answer == CSV:
            from kilter.service.formats.codes import code_frame
            from kilter.service.formats.frames import csv_bytes

            return csv_bytes(code_frame(codes, [None] * len(codes), None), ".")
        if query.body.answer == NDJSON:
            return msgspec.json.Encoder().encode_lines(codes.tolist())
        return msgspec.json.encode(CodesAnswer(_model(detector), codes.tolist()))


class ReconstructEndpoint(LatentEndpoint):
    """Show records as the model sees them.

    Each is encoded and decoded again: what differs is what the code has no room for, and with a strange record that is
    much. Bodies are those of the score route.
    """

    parameters = (SEED, UNKNOWN)

    def answer(self, detector: Detector, query: LatentQuery, tables: Sequence[Any], deadline: float) -> bytes:
        rng = generator_of(query.seed)
        made = [detector.latent.reconstruct(piece, rng) for piece in in_time(tables, deadline)]
        return bytes_of_records(detector, query, made)


class InterpolateEndpoint(LatentEndpoint):
    """Show what lies between two records.

    The body has two records, in a form of the score route. The answer has so many on the straight line between their
    codes, both ends included, as the model sees them; as a PNG, pictures stand side by side.
    """

    parameters = (STEPS, SEED, UNKNOWN)

    @staticmethod
    def describe(registry: Registry, max_records: int) -> Content:
        return describe_pairs(registry, max_records)

    async def tables(
        self, tools: ModelTools, query: LatentQuery, content: bytes, hold: Hold, deadline: float
    ) -> Sequence[Any]:
        if steps_of(query) > tools.limit:
            raise RequestError(BAD_PARAMETER, f"steps is at most {tools.limit:,}, the records that a request may have")
        tables = await super().tables(tools, query, content, hold, deadline)
        rows = sum(table.rows for table in tables)
        if rows != 2:
            raise RequestError(BAD_RECORDS, f"the way is from one record to another: send two, not {rows:,}")
        hold.add(steps_of(query), 0)
        return tables

    def answer(self, detector: Detector, query: LatentQuery, tables: Sequence[Any], deadline: float) -> bytes:
        check_time(deadline)
        first, last = np.concatenate([detector.latent.encode(table) for table in tables])
        made = detector.latent.decode(between(first, last, steps_of(query)), generator_of(query.seed))
        if query.body.answer == PNG:
            return png_of(strip_of(detector.modality.given(made)))
        return bytes_of_records(detector, query, [made])


class DecodeEndpoint(LatentEndpoint):
    """Decode codes to records.

    The records have the fields of the model, with values in the range and in the notation of the fitting rows. A code
    is what the encode route gives, or lies between such codes.
    """

    parameters = (SEED,)

    @staticmethod
    def describe(registry: Registry, max_records: int) -> Content:
        return describe_codes(registry, max_records)

    def form(self, content_type: str, tools: ModelTools) -> Format:
        return json_form(content_type, "codes come")

    async def tables(
        self, tools: ModelTools, query: LatentQuery, content: bytes, hold: Hold, deadline: float
    ) -> Sequence[Any]:
        codes = await self._engine.run(codes_in_body, content, tools.detector.latent.size, tools.limit)
        return [Codes(codes[start : start + PIECE]) for start in range(0, len(codes), PIECE)]

    def answer(self, detector: Detector, query: LatentQuery, tables: Sequence[Any], deadline: float) -> bytes:
        rng = generator_of(query.seed)
        made = []
        for part in tables:
            check_time(deadline)
            made.append(detector.latent.decode(part.codes, rng))
        return bytes_of_records(detector, query, made)


def steps_of(query: LatentQuery) -> int:
    """Records on the way from one to another, both included."""
    return query.steps or USUAL_STEPS


def json_form(content_type: str, what: str) -> Format:
    """JSON, as which alone something comes. Raises RequestError for another content type."""
    if content_type.partition(";")[0].strip().lower() not in ("", JSON):
        text = f"the content type is {content_type[:100]!r}: {what} as {JSON}"
        raise RequestError(WRONG_TYPE, text, headers={"Accept-Post": JSON})
    return format_named("json")


class Codes(NamedTuple):
    """Some of the codes of a body."""

    codes: Floats

    @property
    def rows(self) -> int:
        return len(self.codes)


def codes_in_body(content: bytes, size: int, limit: int) -> Floats:
    """The codes in a body, (n, size). Raises RequestError that lists every one that is none."""
    value = decode_json(content, limit)
    codes = value.get("codes") if isinstance(value, dict) else None
    if not isinstance(codes, list) or not codes or len(value) > 1:
        raise RequestError(BAD_RECORDS, SHAPE)
    if len(codes) > limit:
        raise too_many(limit)
    wrong = [Problem(row, None, why) for row, code in enumerate(codes) if (why := _why_no_code(code, size))]
    if wrong:
        raise RequestError(BAD_RECORDS, "some codes are none of this model; none was decoded", wrong)
    return np.array(codes, np.float64)


def _why_no_code(code: Any, size: int) -> str:
    """What is wrong with a code; nothing if it is one."""
    if not isinstance(code, list) or len(code) != size:
        count = f"one of {len(code):,}" if isinstance(code, list) else "none"
        return f"a code is a list of {size} numbers, and this is {count}"
    if not all(type(number) in (int, float) and abs(number) <= FARTHEST for number in code):
        return f"a code is made of numbers up to {FARTHEST:,.0f}"
    return ""


def check_time(deadline: float) -> None:
    """Raise RequestError when there is no time left."""
    if time.monotonic() >= deadline:
        raise out_of_time()


def in_time(tables: Sequence[Table], deadline: float) -> Iterator[Table]:
    """Tables in pieces, while there is time. Raises RequestError."""
    for table in tables:
        for start in range(0, table.rows, PIECE):
            check_time(deadline)
            yield cut(table, start, start + PIECE)


def _model(detector: Detector) -> ModelName:
    return ModelName(detector.name, detector.version)


def bytes_of_records(detector: Detector, query: LatentQuery, made: Sequence[Table]) -> bytes:
    """The answer with the records of tables. Raises RequestError."""
    if query.body.answer == PNG:
        if sum(table.rows for table in made) > 1:
            raise RequestError(BAD_PARAMETER, "an answer of image/png is one picture: send one, or accept JSON")
        return png_of(detector.modality.given(made[0])[0])
    if query.body.answer == CSV:
        from kilter.service.formats.frames import csv_bytes, record_frame

        schema = detector.schema
        return csv_bytes(record_frame(schema, join(made), text=True), schema.decimal)
    records = [record for table in made for record in detector.modality.records(table)]
    if query.body.answer == NDJSON:
        return msgspec.json.Encoder().encode_lines(records)
    return msgspec.json.encode(RecordsAnswer(_model(detector), records))


ENDPOINTS: dict[str, type[LatentEndpoint]] = {
    "encode": EncodeEndpoint,
    "decode": DecodeEndpoint,
    "reconstruct": ReconstructEndpoint,
    "interpolate": InterpolateEndpoint,
}
"""By the last part of the path."""


def prepare_route(context: Context, kind: type[LatentEndpoint], answer: str) -> Callable[..., Route]:
    """What makes the routes of a kind of endpoint, by their paths; `answer` says what comes back."""
    return partial(
        Route,
        "POST",
        scope=Scope.SCORE,
        request=partial(kind.describe, context.registry, context.settings.max_records),
        response=partial(describe_latent_answers, context.registry, kind.gives),
        endpoint=kind(context),
        tag="latent space",
        answer=answer,
        parameters=partial(describe_latent_parameters, kind.parameters, context.settings.max_records),
        problems=(*PROBLEMS, BAD_RECORDS, BAD_PARAMETER, OUT_OF_TIME, REFUSED),
        direct=True,
    )


def latent_routes(context: Context) -> list[Route]:
    """The routes that encode and decode, by the version of a model that serves or by another."""
    made = []
    for name, kind in ENDPOINTS.items():
        route = prepare_route(context, kind, "The codes or records, in the order of the body.")
        by_version = f"{name.capitalize()} by a version"
        made += [route(f"{MODEL}/{name}"), route(f"{MODEL}/versions/{{version}}/{name}", summary=by_version)]
    return made
