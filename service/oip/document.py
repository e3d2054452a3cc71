"""What the OpenAPI document says of the protocol's routes."""

from typing import Any

import msgspec

from kilter.service.bodies.body import JSON
from kilter.service.detector import Detector
from kilter.service.detector.columns import ImageColumn
from kilter.service.models.registry import Registry
from kilter.service.oip import answers, metadata, requests, tensors
from kilter.service.oip.infer import OCTETS
from kilter.service.oip.records import datatypes
from kilter.service.oip.routes import INFER, LIVE, MODEL_READY, MODELS, READY, ROOT

Json = dict[str, Any]
COMPONENT = "#/components/schemas/{name}"
_TYPES = (
    requests.InferRequest,
    answers.InferResponse,
    metadata.ServerMetadata,
    metadata.ServerLive,
    metadata.ServerReady,
    metadata.ModelMetadata,
    metadata.ModelReady,
)
_REFUSED = {
    "400": "The request cannot be read, or its tensors do not fit the model.",
    "404": "There is no such model or version.",
    "413": "The body is too long, or has too many records.",
    "415": "The content type is not supported.",
    "503": "No model is loaded, or too much is in flight.",
}
_INFER = (
    "Every record of the request is judged, or none. The inputs are a tensor per column, of shape [n] or [n, 1], or, "
    "for a model of numbers and flags alone, one matrix of shape [n, columns], whatever its name; for a model of "
    "pictures one tensor of shape [n, height, width, channels], of any height and width. NaN and null stand "
    "for an unknown value, and so does a BYTES element that is empty or reads NA, None, nan or the like. Binary data "
    f"follow the JSON, and the header {requests.HEADER} says where. The output {answers.CONTRIBUTION}, the share of "
    "each column in what speaks against a record, is given only where it is asked for."
)


def schemas() -> Json:
    """The schemas of requests and answers."""
    found: Json = msgspec.json.schema_components(_TYPES, ref_template=COMPONENT)[1]
    found["InputTensor"]["properties"]["datatype"]["enum"] = list(tensors.DATATYPES)
    found["RequestedOutput"]["properties"]["name"]["enum"] = list(answers.OUTPUTS)
    error = {"type": "object", "properties": {"error": {"type": "string"}}, "required": ["error"]}
    return found | {"ProtocolError": error | {"description": "Why a request was not answered."}}


def paths(registry: Registry) -> Json:
    """The operations, by path."""
    found: Json = {
        ROOT: {"get": _get("About the server", "ServerMetadata")},
        LIVE: {"get": _get("Whether the process answers", "ServerLive")},
        READY: {"get": _get("Whether a model serves", "ServerReady", "503")},
    }
    for path in MODELS:
        parameters = _parameters(registry, path)
        about = _get("A model's inputs and outputs", "ModelMetadata", "404", "503")
        ready = _get("Whether a model serves", "ModelReady", "404", "503")
        found[path] = {"get": about | {"parameters": parameters}}
        found[path + MODEL_READY] = {"get": ready | {"parameters": parameters}}
        found[path + INFER] = {"post": _infer(registry, parameters)}
    return found


def _get(summary: str, schema: str, *refused: str) -> Json:
    content = {JSON: {"schema": {"$ref": COMPONENT.format(name=schema)}}}
    return {
        "tags": ["open inference protocol"],
        "summary": summary,
        "responses": {"200": {"description": "It does.", "content": content}, **_refusals(*refused)},
    }


def _infer(registry: Registry, parameters: list[Json]) -> Json:
    header = {
        "name": requests.HEADER,
        "in": "header",
        "required": False,
        "schema": {"type": "integer", "minimum": 1},
        "description": "length of the JSON with which a body begins that has binary data after it",
    }
    octets = {"schema": {"type": "string", "format": "binary"}}
    body: Json = {"schema": {"$ref": COMPONENT.format(name="InferRequest")}}
    examples = {d.name: {"summary": f"for {d.name}", "value": example(d)} for d in registry.detectors}
    if examples:
        body["examples"] = examples
    answer = {"schema": {"$ref": COMPONENT.format(name="InferResponse")}}
    return {
        "tags": ["open inference protocol"],
        "summary": "Judge records",
        "description": _INFER,
        "parameters": [*parameters, header],
        "requestBody": {"required": True, "content": {JSON: body, OCTETS: octets}},
        "responses": {
            "200": {
                "description": "The verdicts, in the order of the records.",
                "headers": {requests.HEADER: {"schema": {"type": "integer"}, "description": "where the JSON ends"}},
                "content": {JSON: answer, OCTETS: octets},
            },
            **_refusals(*_REFUSED),
        },
    }


def _refusals(*statuses: str) -> Json:
    content = {JSON: {"schema": {"$ref": COMPONENT.format(name="ProtocolError")}}}
    return {status: {"description": _REFUSED[status], "content": content} for status in statuses}


def _parameters(registry: Registry, path: str) -> list[Json]:
    """The parameters of a path, with what they may be just now."""
    known: dict[str, list[str]] = {"name": registry.names}
    if "{version}" in path:
        known["version"] = [
            str(version) for version in sorted({v for name in registry.names for v in registry.versions(name)})
        ]
    found = []
    for name, values in known.items():
        parameter: Json = {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        if values:
            parameter |= {"schema": {"type": "string", "enum": values}, "example": values[0]}
        found.append(parameter)
    return found


def example(detector: Detector) -> Json:
    """A synthetic request that the model answers: one record, a tensor per column."""
    record = detector.probes.records[0]
    column = detector.schema.columns[0]
    if isinstance(column, ImageColumn):
        [datatype, *_], shape = datatypes(column), [1, 8, 8, column.channels]
        shades = [column.low + (column.high - column.low) * i // 64 for i in range(64) for _ in range(column.channels)]
        return {"id": "1", "inputs": [{"name": column.name, "shape": shape, "datatype": datatype, "data": shades}]}
    inputs = [
        {"name": column.name, "shape": [1], "datatype": datatypes(column)[0], "data": [record[column.name]]}
        for column in detector.schema.fields
    ]
    return {"id": "1", "inputs": inputs}
