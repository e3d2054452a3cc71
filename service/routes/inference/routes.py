"""The routes of the Open Inference Protocol: about the server and its models, and `POST /v2/models/{name}/infer`."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

import msgspec
from starlette import types
from starlette.requests import ClientDisconnect, Request

from kilter import __version__
from kilter.service.detector import Detector
from kilter.service.detector.inputs import Table
from kilter.service.formats import JSON, encodings
from kilter.service.judging.intake import Intake
from kilter.service.problems import (
    BAD_BODY,
    NOT_READY,
    OVERLOADED,
    SLOW_BODY,
    TOO_LARGE,
    WRONG_TYPE,
    RequestError,
)
from kilter.service.request import header_of, notes_of
from kilter.service.routes.context import Context, find
from kilter.service.routes.inference import answers, requests, tensors
from kilter.service.routes.inference.answers import CONTRIBUTION, OutputSelection, outputs_of, write_answer
from kilter.service.routes.inference.records import datatypes, matrix_name, read_tensors, takes_matrix
from kilter.service.routes.inference.requests import HEADER, parse_inference
from kilter.service.routes.scoring import INLINE_BYTES
from kilter.service.routing import COMPONENT, Content, Json, Route, Scope

OCTETS = "application/octet-stream"
CODINGS = ("gzip", "deflate", "zstd")
"""Of an answer, the first that the client takes: its libraries may ask for zstd in its name, which it cannot undo."""
ANY = -1
"""In a shape: as many as there are records."""


class ServerLive(msgspec.Struct, frozen=True):
    """The process answers."""

    live: bool = True


class ServerReady(msgspec.Struct, frozen=True):
    """Whether requests can be answered."""

    ready: bool = True


class ModelReady(msgspec.Struct, frozen=True):
    """A model that serves."""

    name: str
    ready: bool = True


class ServerMetadata(msgspec.Struct, frozen=True):
    """The server, its version, and what it has beyond the protocol itself."""

    name: str = "kilter"
    version: str = __version__
    extensions: tuple[str, ...] = ("binary_tensor_data",)


class TensorMetadata(msgspec.Struct, frozen=True):
    """An input or output; -1 in its shape stands for the number of records."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(msgspec.Struct, frozen=True):
    """A model: its versions, its inputs, of which a request sends the matrix or else all the columns, its outputs."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


def describe_model(detector: Detector, versions: Sequence[int]) -> ModelMetadata:
    """All about a model: the matrix first if its columns are all numbers and flags, then the columns."""
    schema = detector.schema
    width = len(schema.names)
    matrix = [TensorMetadata(matrix_name(schema), "FP32", [ANY, width])] if takes_matrix(schema) else []
    each = [ANY, *schema.columns[0].shape]
    return ModelMetadata(
        detector.name,
        [str(version) for version in versions],
        f"kilter_{detector.manifest.network.kind}",
        matrix + [TensorMetadata(column.name, datatypes(column)[0], each) for column in schema.fields],
        [
            TensorMetadata(name, datatype, [ANY, width] if name == CONTRIBUTION else [ANY])
            for name, datatype in outputs_of(schema).items()
        ],
    )


class Work(NamedTuple):
    """A request that has been read: its records, and what is wanted of them."""

    tables: Iterable[Table]
    outputs: OutputSelection
    reasons: int


class InferEndpoint:
    """Judge records by the Open Inference Protocol.

    Every record of the request is judged, or none. The inputs are a tensor per column, of shape [n] or [n, 1], or, for
    a model of numbers and flags alone, one matrix of shape [n, columns], whatever its name; for a model of pictures one
    tensor of shape [n, height, width, channels], of any height and width. NaN and null stand for an unknown value, and
    so does a BYTES element that is empty or reads NA, None, nan or the like. Binary data follow the JSON, and the
    header Inference-Header-Content-Length says where. The output feature_contribution, the share of each column in
    what speaks against a record, is given only where it is asked for.
    """

    def __init__(self, context: Context) -> None:
        self._registry = context.registry
        self._engine = context.engine
        self._intake = Intake(context.engine, context.settings.max_body_bytes)
        self._max_records = context.settings.max_records

    async def __call__(self, scope: types.Scope, receive: types.Receive, send: types.Send) -> None:
        serving = find(self._registry, **scope["path_params"])
        detector = serving.detector
        notes = notes_of(scope)
        notes.model, notes.version = detector.name, detector.version
        check_type(scope)
        stated = header_of(scope, HEADER.lower().encode())
        hold = self._intake.hold()
        try:
            content = await self._intake.read(scope, receive, hold)
            hold.reach(len(content))
            small = len(content) <= INLINE_BYTES
            if detector.modality.decodes:  # a few bytes may be many small pictures, each to be enlarged
                work = await self._engine.run(self._whole, detector, content, stated)
            elif small:
                work = self._whole(detector, content, stated)
            else:
                work = await self._engine.run(self._read, detector, content, stated)
            judged = await self._engine.judge(serving, work.tables, work.reasons, notes, receive=receive)
            made: tuple[bytes, int | None]
            if small:
                made = write_answer(detector, judged, work.outputs)
            else:
                made = await self._engine.run(write_answer, detector, judged, work.outputs)
            content, json_length = made
            coding = ""
            if len(content) >= encodings.PAYS:
                coding = encodings.chosen(header_of(scope, b"accept-encoding"), CODINGS)
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
        request, inputs = parse_inference(content, stated, self._max_records)
        outputs = OutputSelection(request, detector.schema)
        records = read_tensors(detector.modality, inputs, self._max_records)
        return Work(records, outputs, outputs.reasons(detector))


def check_type(scope: types.Scope) -> None:
    """Raise RequestError for a content type that no client of the protocol sends; it may be left out."""
    stated = header_of(scope, b"content-type")
    kind = stated.partition(";")[0].strip().lower()
    if kind not in ("", JSON, OCTETS):
        raise RequestError(
            WRONG_TYPE,
            f"the content type is {stated[:100]!r}: send {JSON}, or {OCTETS} where binary data follow the JSON",
            headers={"Accept-Post": f"{JSON}, {OCTETS}"},
        )


async def _send(send: types.Send, content: bytes, json_length: int | None, coding: str) -> None:
    kind = JSON if json_length is None else OCTETS
    headers = [(b"content-type", kind.encode()), (b"content-length", b"%d" % len(content))]
    if json_length is not None:
        headers.append((HEADER.lower().encode(), b"%d" % json_length))
    if coding:
        headers += [(b"content-encoding", coding.encode()), (b"vary", b"accept-encoding")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": content})


class ProtocolRoutes:
    """The endpoints that tell about the server and its models."""

    def __init__(self, context: Context) -> None:
        self._registry = context.registry

    async def server(self, _: Request) -> ServerMetadata:
        """About the server."""
        return ServerMetadata()

    async def live(self, _: Request) -> ServerLive:
        """Whether the process answers."""
        return ServerLive()

    async def ready(self, _: Request) -> ServerReady:
        """Whether a model serves."""
        if self._registry.why_not_ready is not None:
            raise RequestError(NOT_READY, self._registry.why_not_ready)
        return ServerReady()

    async def model(self, request: Request) -> ModelMetadata:
        """A model's inputs and outputs."""
        detector = find(self._registry, **request.path_params).detector
        return describe_model(detector, self._registry.versions(detector.name))

    async def model_ready(self, request: Request) -> ModelReady:
        """Whether a model serves, or a version of it is loaded."""
        return ModelReady(find(self._registry, **request.path_params).detector.name)

    def request(self) -> Content:
        """The bodies of an inference request."""
        body: Json = {"schema": {"$ref": COMPONENT.format(name="InferRequest")}}
        examples = {
            d.name: {"summary": f"for {d.name}", "value": example_inference(d)} for d in self._registry.detectors
        }
        if examples:
            body["examples"] = examples
        schemas: Json = msgspec.json.schema_components([requests.InferRequest], ref_template=COMPONENT)[1]
        schemas["InputTensor"]["properties"]["datatype"]["enum"] = list(tensors.DATATYPES)
        schemas["RequestedOutput"]["properties"]["name"]["enum"] = list(answers.OUTPUTS)
        return Content({JSON: body, OCTETS: {"schema": {"type": "string", "format": "binary"}}}, {}, schemas)

    def response(self) -> Content:
        """The answers to one."""
        schemas = msgspec.json.schema_components([answers.InferResponse], ref_template=COMPONENT)[1]
        content: Json = {
            JSON: {"schema": {"$ref": COMPONENT.format(name="InferResponse")}},
            OCTETS: {"schema": {"type": "string", "format": "binary"}},
        }
        length = {"schema": {"type": "integer"}, "description": "Where the JSON ends, if binary data follow it."}
        return Content(content, {HEADER: length}, schemas)


def example_inference(detector: Detector) -> Json:
    """A synthetic request that the model answers, of one record."""
    columns = {column.name: column for column in detector.schema.fields}
    inputs = [
        {"name": name, "shape": shape, "datatype": columns[name].datatype, "data": data}
        for name, shape, data in detector.modality.example_tensors(detector.probes.records[0])
    ]
    return {"id": "1", "inputs": inputs}


def inference_parameters() -> list[Json]:
    """The headers of an inference request."""
    schema, text = {"type": "integer", "minimum": 1}, "Length of the JSON with which a body begins that has binary data"
    return [{"name": HEADER, "in": "header", "required": False, "schema": schema, "description": f"{text} after it."}]


def inference_routes(context: Context) -> list[Route]:
    """The family."""
    own, infer, score, missing = ProtocolRoutes(context), InferEndpoint(context), Scope.SCORE, (NOT_READY,)
    listed = [
        Route("GET", "/v2", score, None, ServerMetadata, own.server),
        Route("GET", "/v2/health/live", None, None, ServerLive, own.live),
        Route("GET", "/v2/health/ready", None, None, ServerReady, own.ready, problems=missing),
    ]
    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        listed += [
            Route("GET", path, score, None, ModelMetadata, own.model, problems=missing),
            Route("GET", f"{path}/ready", score, None, ModelReady, own.model_ready, problems=missing),
            Route(
                *("POST", f"{path}/infer", score, own.request, own.response, infer),
                answer="The verdicts, in the order of the records.",
                parameters=inference_parameters,
                problems=(BAD_BODY, SLOW_BODY, TOO_LARGE, WRONG_TYPE, NOT_READY, OVERLOADED),
                direct=True,
            ),
        ]
    return [replace(route, tag="open inference protocol") for route in listed]
