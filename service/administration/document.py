"""What the OpenAPI document says of the administration; of a service without a token for it, nothing."""

from typing import Any

import msgspec
from pydantic import BaseModel

from kilter.service import problems
from kilter.service.administration.repository import INDEX, IndexEntry, IndexRequest, RepositoryRequest
from kilter.service.administration.repository import LOAD as REPOSITORY_LOAD
from kilter.service.administration.repository import UNLOAD as REPOSITORY_UNLOAD
from kilter.service.administration.requests import Candidate, TargetRate, WhichVersion
from kilter.service.administration.routes import LOAD, SHADOW, THRESHOLD, UNLOAD, Unloaded
from kilter.service.bodies.body import JSON
from kilter.service.models import shadow as evidence
from kilter.service.models.registry import Registry
from kilter.service.web import info
from kilter.service.web.openapi_parts import COMPONENT, Json, model_name, problem

BEARER: Json = {"type": "http", "scheme": "bearer"}


def schemas() -> Json:
    """The schemas of requests and answers."""
    found: Json = msgspec.json.schema_components(
        (WhichVersion, TargetRate, Candidate, IndexRequest, RepositoryRequest, IndexEntry), ref_template=COMPONENT
    )[1]
    for model in (info.ModelDetails, Unloaded, evidence.ShadowInfo):
        schema = model.model_json_schema(mode="serialization", ref_template=COMPONENT.replace("{name}", "{model}"))
        found |= schema.pop("$defs", {}) | {model.__name__: schema}
    return found


def paths(registry: Registry) -> Json:
    """The operations, by path."""
    rate = {"target_fpr": registry.detectors[0].calibration.target_fpr} if registry.names else {"target_fpr": 0.05}
    models: Json = {
        LOAD: {
            "post": _operation(
                "Load a version from the folder",
                "Without a version, that of the folder which is to serve, the pinned or else the highest: it is read, "
                "verified, and takes the place of the one that serves, while requests that have begun end with the "
                "one that they began with. Another version is loaded beside it, to be asked for by its number.",
                info.ModelDetails,
                WhichVersion,
                {},
                problems.LOAD_FAILED,
            )
        },
        UNLOAD: {
            "post": _operation(
                "Unload a model",
                "With a version, only that one beside the one that serves. The watch does not load it again.",
                Unloaded,
                WhichVersion,
                None,
                problems.REFUSED,
            )
        },
        THRESHOLD: {
            "put": _operation(
                "Judge at another target false-positive rate",
                "Every threshold of the model is set anew by its own calibration scores, those of groups included; a "
                "group that has too few has the common one. It holds for versions that are loaded later as well, as "
                "far as they can support it, until it is taken back or the process ends.",
                info.ModelDetails,
                TargetRate,
                rate,
                problems.UNSUPPORTED_RATE,
            ),
            "delete": _operation("Judge at the artifact's own rate again", None, info.ModelDetails, None, None),
        },
        SHADOW: {
            "get": _operation("How the version in the shadow compares", None, evidence.ShadowInfo, None, None),
            "put": _operation(
                "Put a version in the shadow",
                "It judges what the serving version judges, beside the requests, and nobody is answered from it. "
                "p-values are compared, not scores.",
                evidence.ShadowInfo,
                Candidate,
                None,
                problems.LOAD_FAILED,
            ),
            "delete": _operation("End the shadow", "Its last comparison.", evidence.ShadowInfo, None, None),
        },
    }
    for operations in models.values():
        for operation in operations.values():
            operation["parameters"] = [model_name(registry)]
    return models | _repository(registry)


def _operation(
    summary: str,
    description: str | None,
    answer: type[BaseModel],
    body: type[msgspec.Struct] | None,
    example: Json | None,
    refused: problems.Kind | None = None,
) -> Json:
    responses = {
        "200": _json("So it is now.", {"$ref": COMPONENT.format(name=answer.__name__)}),
        "401": problem("A token is needed.", problems.UNAUTHORIZED),
        "403": problem("The token lacks the scope admin.", problems.FORBIDDEN),
        "404": problem("There is no such model or version.", problems.UNKNOWN_MODEL),
    }
    found: Json = {"tags": ["administration"], "summary": summary, "security": [{"bearer": []}], "responses": responses}
    if description is not None:
        found["description"] = description
    if body is not None:
        content: Json = {"schema": {"$ref": COMPONENT.format(name=body.__name__)}}
        if example is not None:
            content["examples"] = {"example": {"value": example}}
        found["requestBody"] = {"required": body is not WhichVersion, "content": {JSON: content}}
        responses["400"] = problem("The body cannot be read.", problems.BAD_BODY)
        responses["409"] = problem("It is not possible as things stand.", problems.REFUSED)
        responses["413"] = problem("The body is too long.", problems.TOO_LARGE)
        responses["415"] = problem("The content type is not supported.", problems.WRONG_TYPE)
        responses["422"] = problem("The body does not say what is needed.", problems.BAD_PARAMETER)
    if refused is not None:
        responses[str(refused.status)] = problem(f"{refused.title}.", refused)
    return found


def _repository(registry: Registry) -> Json:
    found: Json = {}
    entries = {"type": "array", "items": {"$ref": COMPONENT.format(name="IndexEntry")}}
    for path, summary, body, schema in (
        (INDEX, "Triton's list of what there is", "IndexRequest", entries),
        (REPOSITORY_LOAD, "Triton's call to load a model", "RepositoryRequest", {"type": "object"}),
        (REPOSITORY_UNLOAD, "Triton's call to unload a model", "RepositoryRequest", {"type": "object"}),
    ):
        content = {"schema": {"$ref": COMPONENT.format(name=body)}, "examples": {"example": {"value": {}}}}
        codes = {
            "400": "The body cannot be read, or does not say what is needed.",
            "401": "A token is needed.",
            "403": "The token lacks the scope admin.",
            "404": "There is no such model.",
            "409": "It is not possible, or the version cannot be loaded.",
            "413": "The body is too long.",
            "415": "The content type is not supported.",
        }
        error = {"$ref": COMPONENT.format(name="ProtocolError")}
        found[path] = {
            "post": {
                "tags": ["administration"],
                "summary": summary,
                "security": [{"bearer": []}],
                "requestBody": {"required": False, "content": {JSON: content}},
                "responses": {"200": _json("So it is now.", schema)}
                | {code: _json(text, error) for code, text in codes.items()},
            }
        }
        if path != INDEX:
            found[path]["post"]["parameters"] = [model_name(registry)]
    return found


def _json(description: str, schema: Any) -> Json:
    return {"description": description, "content": {JSON: {"schema": schema}}}
