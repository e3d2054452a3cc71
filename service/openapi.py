"""The OpenAPI document, made for the models that serve: FastAPI's own for the routes that it handles, and the rest."""

import csv
from io import StringIO

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from service import admin_document, info, problems, scoring
from service.body import CSV, JSON
from service.detector import Detector, Schema
from service.detector.inputs import FLOAT32_MAX
from service.detector.schema import BooleanColumn, CategoricalColumn, Column, NumericColumn, TimestampColumn
from service.oip import document as oip
from service.openapi_parts import COMPONENT, Json, model_name, model_version, problem
from service.registry import Registry
from service.verdicts import Answer, answer_of

SCORE_PATH = "/v1/models/{name}/score"
SCORE_VERSION_PATH = "/v1/models/{name}/versions/{version}/score"
DESCRIPTION = "Calibrated verdicts on records: a score, a p-value, a flag, and which fields are off."


def document(app: FastAPI, registry: Registry, max_records: int, *, admin: bool = False) -> Json:
    """The document, with the models' own schemas, and examples that work as they stand.

    It tells of the administration only where there is one, `admin`.
    """
    found = get_openapi(title=app.title, version=app.version, description=DESCRIPTION, routes=app.routes)
    schemas: Json = found.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas |= msgspec.json.schema_components((Answer, problems.Details), ref_template=COMPONENT)[1]
    schemas |= {f"record.{d.name}": record_schema(d.schema) for d in registry.detectors}
    for path, operations in found["paths"].items():
        _finish(path, operations["get"], registry)
    score = _score_operation(registry, max_records)
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


def _score_operation(registry: Registry, max_records: int) -> Json:
    reasons = {"anyOf": [{"type": "boolean"}, {"type": "integer", "minimum": 0, "maximum": scoring.MAX_REASONS}]}
    answer: Json = {"schema": {"$ref": COMPONENT.format(name="Answer")}}
    for detector in registry.detectors[:1]:
        verdicts = detector.score(detector.probes.records[:1], reasons=scoring.DEFAULT_REASONS)
        answer["example"] = msgspec.to_builtins(answer_of(detector, [verdicts]))
    return {
        "tags": ["scoring"],
        "summary": "Judge records",
        "description": "Every record of the request is judged, or none and every problem is listed. A record has every "
        "field of the model; null stands for an unknown value.",
        "operationId": "score",
        "parameters": [
            model_name(registry),
            {
                "name": "reasons",
                "in": "query",
                "required": False,
                "schema": reasons,
                "description": f"reasons for each record: how many at most, or true for {scoring.DEFAULT_REASONS}",
            },
        ],
        "requestBody": {
            "required": True,
            "content": {JSON: _json_body(registry, max_records), CSV: _csv_body(registry)},
        },
        "responses": {
            "200": {
                "description": "The verdicts, in the order of the records.",
                "content": {JSON: answer, CSV: _csv_answer()},
            },
            "400": problem("The body cannot be read.", problems.BAD_BODY),
            "404": problem("There is no such model.", problems.UNKNOWN_MODEL),
            "413": problem("The body is too long, or has too many records.", problems.TOO_LARGE),
            "415": problem("The content type is not supported.", problems.WRONG_TYPE),
            "422": problem("Records do not fit the model.", problems.BAD_RECORDS),
            "503": problem("No model is loaded.", problems.NOT_READY),
        },
    }


def _json_body(registry: Registry, max_records: int) -> Json:
    records: list[Json] = [{"$ref": COMPONENT.format(name=f"record.{name}")} for name in registry.names]
    one: Json = {"anyOf": records} if len(records) > 1 else records[0] if records else {"type": "object"}
    many: Json = {
        "type": "object",
        "properties": {
            "records": {"type": "array", "items": one, "minItems": 1, "description": f"at most {max_records}"}
        },
        "required": ["records"],
        "additionalProperties": False,
    }
    examples = {d.name: {"summary": f"for {d.name}", "value": info.example(d)} for d in registry.detectors}
    return {"schema": {"anyOf": [many, one]}} | ({"examples": examples} if examples else {})


def _csv_body(registry: Registry) -> Json:
    body: Json = {
        "schema": {
            "type": "string",
            "format": "csv",
            "description": "A header with every field of the model, in any order, and a line per record; an empty cell "
            "stands for an unknown value. Delimiter, quoting and encoding are found out.",
        }
    }
    examples = {d.name: {"summary": f"for {d.name}", "value": _csv_example(d)} for d in registry.detectors}
    return body | ({"examples": examples} if examples else {})


def _csv_answer() -> Json:
    text = "Where CSV was sent and Accept names text/csv: the same table with kilter_score and the others appended."
    return {"schema": {"type": "string", "format": "csv", "description": text}}


def _csv_example(detector: Detector) -> str:
    record = detector.probes.records[0]
    text = StringIO()
    writer = csv.DictWriter(text, list(record), lineterminator="\n")
    writer.writeheader()
    writer.writerow({name: str(value).lower() if isinstance(value, bool) else value for name, value in record.items()})
    return text.getvalue()


def record_schema(schema: Schema) -> Json:
    """What a record in JSON must be, as JSON Schema: exactly what `service.detector.inputs` takes."""
    properties = {column.name: _cell(column) for column in schema.fields}
    ignored: Json = {column.name: {"description": f"not looked at: {column.reason}"} for column in schema.left_out}
    return {
        "type": "object",
        "properties": properties | ignored,
        "required": list(schema.names),
        "additionalProperties": False,
    }


def _cell(column: Column) -> Json:
    match column:
        case NumericColumn():
            seen = f"{column.minimum:g} to {column.maximum:g} in the fitting rows"
            return {"type": ["number", "null"], "minimum": -FLOAT32_MAX, "maximum": FLOAT32_MAX, "description": seen}
        case BooleanColumn():
            return {"enum": [True, False, None, 0, 1], "description": "a flag"}
        case CategoricalColumn():
            levels = ", ".join(column.levels[:10]) + (", ..." if len(column.levels) > 10 else "")
            return {"type": ["string", "null"], "description": f"levels in the fitting rows: {levels}"}
        case TimestampColumn(format="iso"):
            return {"type": ["string", "null"], "format": "date-time", "description": "a time by ISO 8601"}
        case TimestampColumn(format="unix_s" | "unix_ms"):
            unit = {"unix_s": "seconds", "unix_ms": "milliseconds"}[column.format]
            return {"type": ["number", "null"], "description": f"a Unix time in {unit}"}
        case TimestampColumn():
            return {"type": ["string", "null"], "description": f"a time of the form {column.format}"}
