"""The routes of the Open Inference Protocol: about the server and its models, and `POST /v2/models/{name}/infer`."""

from collections.abc import Iterable, Sequence
from functools import partial

import msgspec
from starlette import types
from starlette.requests import ClientDisconnect, Request

from kilter import __version__
from kilter.service.detector import Detector
from kilter.service.detector.inputs import Table
from kilter.service.formats import JSON
from kilter.service.judging.batch import Wanted
from kilter.service.judging.intake import Intake
from kilter.service.models.registry import Registry
from kilter.service.problems import NOT_READY, WRONG_TYPE, RequestError
from kilter.service.request import header_of, headers_of, notes_of
from kilter.service.routes.context import Context, find
from kilter.service.routes.inference import messages, tensors
from kilter.service.routes.inference.messages import CONTRIBUTION, HEADER, OutputSelection, outputs_of, write_answer
from kilter.service.routes.inference.tensors import datatypes, matrix_name, read_tensors, takes_matrix
from kilter.service.routes.scoring import INLINE_BYTES, PROBLEMS, send_answer
from kilter.service.routing import COMPONENT, Content, Json, Route, Scope

OCTETS = "application/octet-stream"
CODINGS = ("gzip", "deflate", "zstd")
"""Of an answer, the first that the client takes: its libraries may ask for zstd in its name, which it cannot undo."""
_HEADER = HEADER.lower().encode()
ANY = -1  # in a shape: as many as there are records


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
    """The server, its version, and the extensions of the protocol that it supports."""

    name: str = "kilter"
    version: str = __version__
    extensions: tuple[str, ...] = ("binary_tensor_data",)


class TensorMetadata(msgspec.Struct, frozen=True):
    """An input or output; -1 in its shape stands for the number of records."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(msgspec.Struct, frozen=True):
    """A model: its versions, inputs and outputs. A request sends the input that is a matrix, or else all the others."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


def describe_model(detector: Detector, versions: Sequence[int]) -> ModelMetadata:
    """A model's metadata: the matrix first if its columns are all numbers and flags, then the columns."""
    schema = detector.schema
    width = len(schema.names)
    shape = [ANY, *schema.columns[0].shape]
    inputs = [TensorMetadata(column.name, datatypes(column)[0], shape) for column in schema.fields]
    if takes_matrix(schema):
        inputs.insert(0, TensorMetadata(matrix_name(schema), "FP32", [ANY, width]))
    outputs = [
        TensorMetadata(name, datatype, [ANY, width] if name == CONTRIBUTION else [ANY])
        for name, datatype in outputs_of(schema).items()
    ]
    platform = f"kilter_{detector.manifest.network.kind}"
    return ModelMetadata(detector.name, list(map(str, versions)), platform, inputs, outputs)


class InferEndpoint:
    """Judge records by the Open Inference Protocol.

    Every record of the request is judged, or none. The inputs are one tensor for each column, of shape [n] or [n, 1].
    A model of numbers and flags alone also takes one matrix of shape [n, columns], whatever its name. A model of
    pictures takes one tensor of shape [n, height, width, channels], of any height and width. NaN and null stand for an
    unknown value, and so does a BYTES element that is empty or reads NA, None, nan or the like. Binary data follow the
    JSON, and the header Inference-Header-Content-Length says where. The output feature_contribution, the share of each
    column in what speaks against a record, is given only where the request names it.
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
        _check_type(header_of(scope, b"content-type"))
        hold = self._intake.hold()
        try:
            content = await self._intake.read(scope, receive, hold)
            hold.reach(len(content))
            small, decodes = len(content) <= INLINE_BYTES, detector.modality.decodes
            read = partial(self._read, detector, content, headers_of(scope).get(_HEADER))
            if small and not decodes:
                tables, outputs = read(whole=True)
            else:  # a few bytes may be many small pictures, each to be enlarged
                tables, outputs = await self._engine.run(read, whole=decodes)
            judged = await self._engine.judge(serving, tables, Wanted(outputs.reasons), notes, receive=receive)
            write = partial(write_answer, detector, judged, outputs)
            content, json_length = write() if small else await self._engine.run(write)
        except ClientDisconnect:
            return
        finally:
            hold.release()
        headers = [(b"content-type", JSON.encode() if json_length is None else OCTETS.encode())]
        if json_length is not None:
            headers.append((_HEADER, b"%d" % json_length))
        await send_answer(scope, send, self._engine, content, headers, CODINGS)

    def _read(
        self, detector: Detector, content: bytes, stated: bytes | None, *, whole: bool
    ) -> tuple[Iterable[Table], OutputSelection]:
        """The records of a request, all at once if `whole`, and the outputs that it names."""
        request, inputs = messages.parse_inference(content, stated, self._max_records)
        outputs = OutputSelection(request, detector.schema)
        tables = read_tensors(detector.modality, inputs, self._max_records)
        return list(tables) if whole else tables, outputs


def _check_type(stated: str) -> None:
    """Raise RequestError for a content type that no client of the protocol sends; it may be left out."""
    if stated.partition(";")[0].strip().lower() not in ("", JSON, OCTETS):
        raise RequestError(
            WRONG_TYPE,
            f"the content type is {stated[:100]!r}: send {JSON}, or {OCTETS} where binary data follow the JSON",
            headers={"Accept-Post": f"{JSON}, {OCTETS}"},
        )


def describe_request(registry: Registry) -> Content:
    """Describe the bodies of an inference request."""
    examples = {d.name: {"summary": f"for {d.name}", "value": example_inference(d)} for d in registry.detectors}
    schemas: Json = msgspec.json.schema_components([messages.InferRequest], ref_template=COMPONENT)[1]
    schemas["InputTensor"]["properties"]["datatype"]["enum"] = list(tensors.DATATYPES)
    schemas["RequestedOutput"]["properties"]["name"]["enum"] = list(messages.OUTPUTS)
    return Content(_content("InferRequest", {"examples": examples} if examples else {}), {}, schemas)


def describe_response() -> Content:
    """Describe the answers to an inference request."""
    schemas = msgspec.json.schema_components([messages.InferResponse], ref_template=COMPONENT)[1]
    length = {"schema": {"type": "integer"}, "description": "Where the JSON ends, if binary data follow it."}
    return Content(_content("InferResponse", {}), {HEADER: length}, schemas)


def _content(schema: str, examples: Json) -> Json:
    """A body by media type: in JSON, or with binary data."""
    body = {"schema": {"$ref": COMPONENT.format(name=schema)}, **examples}
    return {JSON: body, OCTETS: {"schema": {"type": "string", "format": "binary"}}}


def example_inference(detector: Detector) -> Json:
    """A synthetic request of one record, which the model answers."""
    columns = {column.name: column for column in detector.schema.fields}
    inputs = [
        {"name": name, "shape": shape, "datatype": columns[name].datatype, "data": data}
        for name, shape, data in detector.modality.example_tensors(detector.probes.records[0])
    ]
    return {"id": "1", "inputs": inputs}


def describe_header() -> list[Json]:
    """Describe the header of an inference request, as a list of one."""
    text = "The length of the JSON with which the body begins, if binary data follow it."
    schema = {"type": "integer", "minimum": 1}
    return [{"name": HEADER, "in": "header", "required": False, "schema": schema, "description": text}]


def inference_routes(context: Context) -> list[Route]:
    """The routes of the protocol."""
    registry = context.registry

    async def server(_: Request) -> ServerMetadata:
        """About the server."""
        return ServerMetadata()

    async def live(_: Request) -> ServerLive:
        """Whether the process answers."""
        return ServerLive()

    async def ready(_: Request) -> ServerReady:
        """Whether a model serves."""
        if registry.why_not_ready is not None:
            raise RequestError(NOT_READY, registry.why_not_ready)
        return ServerReady()

    async def model(request: Request) -> ModelMetadata:
        """A model's inputs and outputs."""
        detector = find(registry, **request.path_params).detector
        return describe_model(detector, registry.versions(detector.name))

    async def model_ready(request: Request) -> ModelReady:
        """Whether a model serves, or a version of it is loaded."""
        return ModelReady(find(registry, **request.path_params).detector.name)

    route = partial(Route, scope=Scope.SCORE, request=None, problems=(NOT_READY,), tag="open inference protocol")
    infer = partial(
        route,
        request=partial(describe_request, registry),
        response=describe_response,
        endpoint=InferEndpoint(context),
        answer="The verdicts, in the order of the records.",
        parameters=describe_header,
        problems=PROBLEMS,
        direct=True,
    )
    listed = [
        route("GET", "/v2", response=ServerMetadata, endpoint=server, problems=()),
        route("GET", "/v2/health/live", scope=None, response=ServerLive, endpoint=live, problems=()),
        route("GET", "/v2/health/ready", scope=None, response=ServerReady, endpoint=ready),
    ]
    for path in ("/v2/models/{name}", "/v2/models/{name}/versions/{version}"):
        listed += [
            route("GET", path, response=ModelMetadata, endpoint=model),
            route("GET", f"{path}/ready", response=ModelReady, endpoint=model_ready),
            infer("POST", f"{path}/infer"),
        ]
    return listed
