"""What the OpenAPI document says of the forms that records are sent in, and of those of the answers."""

import csv
import json
from collections.abc import Sequence
from io import StringIO

from kilter.service.bodies import picture_document
from kilter.service.bodies.body import ARROW_FILE, ARROW_STREAM, CSV, JSON, NDJSON
from kilter.service.detector import Detector, Schema
from kilter.service.models.registry import Registry
from kilter.service.request import LONGEST_SECONDS
from kilter.service.web import info
from kilter.service.web.openapi_parts import COMPONENT, Json

TIMEOUT: Json = {
    "name": "Request-Timeout",
    "in": "header",
    "required": False,
    "schema": {"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST_SECONDS, "multipleOf": 0.001},
    "description": "for how many seconds the client waits: afterwards the records are not judged any more, and the "
    "answer is a 503; X-Request-Timeout is the same",
}
HEADERS: Json = {
    f"Kilter-{name}": {"required": False, "schema": {"type": kind}, "description": f"{what}; with NDJSON alone"}
    for name, kind, what in (
        ("Model", "string", "the model's name"),
        ("Version", "integer", "its version"),
        ("Threshold", "number", "a record whose score is above it is an anomaly"),
        ("Target-Fpr", "number", "the share of normal records that may be flagged"),
    )
}
ANSWERS: Json = {
    CSV: {
        "schema": {
            "type": "string",
            "format": "csv",
            "description": "Where CSV was sent and Accept names text/csv: the same table with kilter_score and the "
            "others appended.",
        }
    },
    NDJSON: {
        "schema": {
            "type": "string",
            "format": "ndjson",
            "description": "Where Accept names it: an object of `results` in each line; the headers tell the rest.",
        }
    },
}


def bodies(registry: Registry, max_records: int, max_pixels: int) -> Json:
    """The bodies that the route takes, by content type: those of tables, of pictures, or both, as models serve."""
    found = {JSON: _json_body(registry, max_records), NDJSON: _lines_body(registry)}
    tables = [detector for detector in registry.detectors if detector.modality.name == "table"]
    if tables or not registry.detectors:
        found |= {
            CSV: _csv_body(tables),
            ARROW_STREAM: _arrow("arrow-stream", "stream"),
            ARROW_FILE: _arrow("arrow-file", "file"),
        }
    if has_pictures(registry):
        found |= picture_document.bodies(max_pixels)
    return found


def has_pictures(registry: Registry) -> bool:
    """Whether a model of pictures serves."""
    return any(detector.modality.name == "image" for detector in registry.detectors)


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
    columns = [_columns(detector) for detector in registry.detectors]
    examples = {d.name: {"summary": f"for {d.name}", "value": info.example(d)} for d in registry.detectors}
    return {"schema": {"anyOf": [many, one, *columns]}} | ({"examples": examples} if examples else {})


def _columns(detector: Detector) -> Json:
    cells = record_schema(detector.schema)["properties"]
    lists = {name: {"type": "array", "items": cells[name], "minItems": 1} for name in detector.schema.names}
    text = "column by column, all of the same length"
    every = {"type": "object", "properties": lists, "required": list(lists), "additionalProperties": False}
    return {
        "type": "object",
        "properties": {"columns": every | {"description": text}},
        "required": ["columns"],
        "additionalProperties": False,
    }


def _csv_body(detectors: Sequence[Detector]) -> Json:
    body: Json = {
        "schema": {
            "type": "string",
            "format": "csv",
            "description": "A header with every field of the model, in any order, and a line per record; an empty cell "
            "stands for an unknown value. Delimiter, quoting and encoding are found out.",
        }
    }
    examples = {d.name: {"summary": f"for {d.name}", "value": _csv_example(d)} for d in detectors}
    return body | ({"examples": examples} if examples else {})


def _lines_body(registry: Registry) -> Json:
    text = "A record as JSON in each line, which has every field of the model."
    body: Json = {"schema": {"type": "string", "format": "ndjson", "description": text}}
    examples = {
        d.name: {"summary": f"for {d.name}", "value": json.dumps(info.example(d)["records"][0]) + "\n"}
        for d in registry.detectors
    }
    return body | ({"examples": examples} if examples else {})


def _arrow(form: str, name: str) -> Json:
    text = f"A table with a column for every field of the model, in any order, by the Arrow IPC {name} format."
    return {"schema": {"type": "string", "format": form, "description": text}}


def _csv_example(detector: Detector) -> str:
    record = detector.probes.records[0]
    text = StringIO()
    writer = csv.DictWriter(text, list(record), lineterminator="\n")
    writer.writeheader()
    writer.writerow({name: str(value).lower() if isinstance(value, bool) else value for name, value in record.items()})
    return text.getvalue()


def record_schema(schema: Schema) -> Json:
    """What a record in JSON must be, as JSON Schema: exactly what `detector.inputs` takes."""
    properties = {column.name: column.json_schema() for column in schema.fields}
    ignored: Json = {column.name: {"description": f"not looked at: {column.reason}"} for column in schema.left_out}
    return {
        "type": "object",
        "properties": properties | ignored,
        "required": list(schema.names),
        "additionalProperties": False,
    }
