"""The OpenAPI document, made for the models that serve: FastAPI's own for the routes that it handles, and the rest."""

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from kilter.service import problems
from kilter.service.administration import document as admin_document
from kilter.service.bodies import forms_document, picture_document
from kilter.service.bodies.body import JSON
from kilter.service.detector.pictures.decoding import PIXELS
from kilter.service.detector.pictures.pixels import size_of
from kilter.service.judging import asked
from kilter.service.judging.picture_verdicts import PictureAnswer, Sent, picture_answer
from kilter.service.judging.verdicts import Answer, answer_of
from kilter.service.models.registry import Registry
from kilter.service.oip import document as oip
from kilter.service.web import info
from kilter.service.web.openapi_parts import COMPONENT, Json, model_name, model_version, problem

SCORE_PATH = "/v1/models/{name}/score"
SCORE_VERSION_PATH = "/v1/models/{name}/versions/{version}/score"
DESCRIPTION = "Calibrated verdicts on records: a score, a p-value, a flag, and which fields are off."


def document(
    app: FastAPI, registry: Registry, max_records: int, max_pixels: int = PIXELS, *, admin: bool = False
) -> Json:
    """The document, with the models' own schemas, and examples that work as they stand.

    It tells of the administration only where there is one, `admin`.
    """
    found = get_openapi(title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes)
    schemas: Json = found.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    answers = (Answer, problems.Details, *([PictureAnswer] if forms_document.has_pictures(registry) else []))
    schemas |= msgspec.json.schema_components(answers, ref_template=COMPONENT)[1]
    schemas |= {f"record.{d.name}": forms_document.record_schema(d.schema) for d in registry.detectors}
    for path, operations in found["paths"].items():
        _finish(path, operations["get"], registry)
    score = _score_operation(registry, max_records, max_pixels)
    found["paths"][SCORE_PATH] = {"post": score}
    found["paths"][SCORE_VERSION_PATH] = {"post": _score_version(score, registry)}
    if admin:
        found["paths"] |= admin_document.paths(registry)
        schemas |= admin_document.schemas()
        found["components"].setdefault("securitySchemes", {})["bearer"] = admin_document.BEARER
    found["paths"] |= oip.paths(registry)
    schemas |= oip.schemas()
    found["paths"] = dict(sorted(found["paths"].items()))
    return found


def _finish(path: str, operation: Json, registry: Registry) -> None:
    """Say of one of FastAPI's routes what it cannot know: examples, media types, problems."""
    responses: Json = operation["responses"]
    responses.pop("422", None)
    if path == "/metrics":
        text = {"schema": {"type": "string"}}
        responses["200"]["content"] = {"text/plain": text, "application/openmetrics-text": text}
    if path == "/readyz":
        responses["503"] = problem("No model is loaded.", problems.NOT_READY)
    if "{name}" in path:
        operation["parameters"] = [model_name(registry), *([model_version(registry)] if "{version}" in path else [])]
        responses["404"] = problem("There is no such model.", problems.UNKNOWN_MODEL)
        responses["503"] = problem("No model is loaded.", problems.NOT_READY)
        for serving in registry.all[:1]:
            shown = info.details(serving, [serving.detector.version]).model_dump(by_alias=True, mode="json")
            responses["200"]["content"][JSON]["example"] = shown


def _score_version(score: Json, registry: Registry) -> Json:
    """The operation that judges by a version of a model, from the one that judges by the version that serves."""
    return score | {
        "summary": "Judge records by a version",
        "operationId": "score_version",
        "parameters": [*score["parameters"], model_version(registry)],
    }


def _answers(registry: Registry) -> Json:
    """What the score route answers in JSON, with the first model's verdict on its example."""
    pictures = forms_document.has_pictures(registry)
    tables = not registry.detectors or any(d.modality.name == "table" for d in registry.detectors)
    names = [*(["Answer"] if tables else []), *(["PictureAnswer"] if pictures else [])]
    references = [{"$ref": COMPONENT.format(name=name)} for name in names]
    answer: Json = {"schema": references[0] if len(references) == 1 else {"anyOf": references}}
    for detector in registry.detectors[:1]:
        records = info.example(detector)["records"]
        verdicts = detector.score(records, reasons=asked.DEFAULT_REASONS)
        if detector.modality.name == "table":
            answer["example"] = msgspec.to_builtins(answer_of(detector, [verdicts]))
        else:
            sent = Sent([size_of(record[detector.schema.names[0]]) for record in records])
            found = picture_answer(detector, [verdicts], sent, asked.DEFAULT_REASONS)
            answer["example"] = msgspec.to_builtins(found)
    return answer


def _score_operation(registry: Registry, max_records: int, max_pixels: int) -> Json:
    reasons = {"anyOf": [{"type": "boolean"}, {"type": "integer", "minimum": 0, "maximum": asked.MAX_REASONS}]}
    pictures = forms_document.has_pictures(registry)
    return {
        "tags": ["scoring"],
        "summary": "Judge records",
        "description": "Every record of the request is judged, or none and every problem is listed. A record has every "
        "field of the model; null stands for an unknown value. Bodies may be compressed, with Content-Encoding gzip or "
        "zstd, and so are long answers where Accept-Encoding names these.",
        "operationId": "score",
        "parameters": [
            model_name(registry),
            {
                "name": "reasons",
                "in": "query",
                "required": False,
                "schema": reasons,
                "description": f"reasons for each record: how many at most, or true for {asked.DEFAULT_REASONS}",
            },
            *([picture_document.HEATMAP] if pictures else []),
            forms_document.TIMEOUT,
        ],
        "requestBody": {
            "required": True,
            "content": forms_document.bodies(registry, max_records, max_pixels),
        },
        "responses": {
            "200": {
                "description": "The verdicts, in the order of the records.",
                "headers": forms_document.HEADERS | (picture_document.HEADERS if pictures else {}),
                "content": {JSON: _answers(registry)}
                | forms_document.ANSWERS
                | (picture_document.ANSWERS if pictures else {}),
            },
            "400": problem("The body cannot be read.", problems.BAD_BODY),
            "404": problem("There is no such model.", problems.UNKNOWN_MODEL),
            "408": problem("The body did not arrive in time.", problems.SLOW_BODY),
            "413": problem("The body is too long, or has too many records.", problems.TOO_LARGE),
            "415": problem("The content type is not supported.", problems.WRONG_TYPE),
            "422": problem("Records do not fit the model.", problems.BAD_RECORDS),
            "503": problem("No model is loaded, too much is in flight, or the time is over.", problems.OVERLOADED),
        },
    }
