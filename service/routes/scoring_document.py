"""What the OpenAPI document says of the bodies and answers of the score route, made for the models that serve."""

import csv
import json
from collections.abc import Sequence
from io import StringIO
from typing import Any

import msgspec

from kilter.service.detector import Detector, Reason, Region, Schema
from kilter.service.formats import CSV, JSON, NDJSON, PNG, formats_of
from kilter.service.judging.verdicts import Answer, AnswerWriter, RecordFacts
from kilter.service.models.registry import Registry
from kilter.service.request import LONGEST_SECONDS
from kilter.service.routes.context import example_request
from kilter.service.routing import COMPONENT, Content, Json


def parameter_entry(name: str, place: str, schema: Json, description: str) -> Json:
    """An optional parameter of a query, or a header."""
    return {"name": name, "in": place, "required": False, "schema": schema, "description": description}


TIMEOUT = parameter_entry(
    "Request-Timeout",
    "header",
    {"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST_SECONDS, "multipleOf": 0.001},
    "How many seconds the client waits. Afterwards the records are not judged, and the answer is a 503. "
    "X-Request-Timeout means the same.",
)
HEATMAP = parameter_entry(
    "heatmap",
    "query",
    {"type": "boolean"},
    "true: the answer is the one picture that was sent, with what speaks against it drawn over it, and the verdict in "
    "headers. The answer is the same where Accept names image/png.",
)
NEAREST_NORMAL = parameter_entry(
    "nearest_normal",
    "query",
    {"type": "boolean"},
    "true: each anomaly is told with the smallest change of the fewest fields after which it is scored as normal. That "
    "takes some 10 to 50 ms for each.",
)
KEEP = parameter_entry(
    "keep",
    "query",
    {"type": "array", "items": {"type": "string"}},
    "A field that nearest normals leave as it is; may be given several times.",
)
IGNORE_UNKNOWN = parameter_entry(
    "ignore_unknown",
    "query",
    {"type": "boolean"},
    "true: fields and columns that the model does not know are passed over, and where a record has one called `id`, a "
    "text or a number, it is returned with its verdict. Without it, such a field of a record in JSON is a mistake.",
)
MODEL_HEADERS = (
    ("Model", "string", "The model's name"),
    ("Version", "integer", "Its version"),
    ("Threshold", "number", "A record whose score is above it is an anomaly"),
    ("Target-Fpr", "number", "The share of normal records that may be flagged"),
)
VERDICT_HEADERS = (
    ("Score", "number", "The picture's score"),
    ("P-Value", "number", "Its p-value"),
    ("Anomaly", "boolean", "Whether it is flagged"),
)


def describe_parameters(registry: Registry, usual: int, most: int) -> list[Json]:
    """Describe query and headers; `usual` is the number of reasons that true stands for, `most` the largest number."""
    number: Json = {"type": "integer", "minimum": 0, "maximum": most}
    text = f"How many reasons for each record at most, or true for {usual}."
    reasons = parameter_entry("reasons", "query", {"anyOf": [{"type": "boolean"}, number]}, text)
    detectors = registry.detectors
    have_fields = not detectors or any(detector.modality.has_fields for detector in detectors)
    nearest = [NEAREST_NORMAL, KEEP] if have_fields else []
    return [reasons, *nearest, *([HEATMAP] if _draws(detectors) else []), IGNORE_UNKNOWN, TIMEOUT]


def describe_bodies(registry: Registry, max_records: int) -> Content:
    """Describe the bodies of requests, by media type."""
    detectors = registry.detectors
    content: Json = {}
    for modality in sorted({d.modality.name for d in detectors}) or ["table"]:
        for form in formats_of(modality):
            schema = {**(form.schema or {"type": "string", "format": form.name}), "description": form.description}
            content |= {media_type: {"schema": schema} for media_type in form.media_types}
    models: list[Json] = [{"$ref": COMPONENT.format(name=f"record.{d.name}")} for d in detectors]
    one: Json = {"anyOf": models} if len(models) > 1 else models[0] if models else {"type": "object"}
    records = {"type": "array", "items": one, "minItems": 1, "description": f"at most {max_records}"}
    content[JSON] = {
        "schema": {"anyOf": [object_schema({"records": records}, ["records"]), one, *map(_columns, detectors)]}
    }
    examples: dict[str, dict[str, Any]] = {
        JSON: {d.name: example_request(d) for d in detectors},
        NDJSON: {d.name: json.dumps(example_request(d)["records"][0]) + "\n" for d in detectors},
        CSV: {d.name: csv_example(d) for d in detectors if not d.modality.decodes},
    }
    for media_type, values in examples.items():
        if values and media_type in content:
            described = {name: {"summary": f"for {name}", "value": value} for name, value in values.items()}
            content[media_type]["examples"] = described
    return Content(content, {}, {f"record.{d.name}": record_schema(d.schema) for d in detectors})


def describe_answers(registry: Registry) -> Content:
    """Describe the answers, by media type; that in JSON has the first model's verdict on its example."""
    detectors = registry.detectors
    answer: Json = {"schema": {"$ref": COMPONENT.format(name="Answer")}}
    for detector in detectors[:1]:
        answer["example"] = _example_answer(detector)
    lines = text_entry(
        "ndjson", "An object of `results` in each line, where Accept names it; the headers tell the rest."
    )
    content: Json = {JSON: answer, NDJSON: lines}
    if not detectors or not all(d.modality.decodes for d in detectors):
        content[CSV] = text_entry("csv", "The table that was sent, with the verdicts appended, where Accept names it.")
    headers = header_entries("with NDJSON or a heat map alone", MODEL_HEADERS)
    if _draws(detectors):
        content[PNG] = text_entry("heatmap", "A heat map, as a PNG.")
        headers |= header_entries("with a heat map alone", VERDICT_HEADERS)
    schemas = msgspec.json.schema_components((Answer, Reason, Region), ref_template=COMPONENT)[1]
    return Content(content, headers, schemas)


def _draws(detectors: Sequence[Detector]) -> bool:
    return any(detector.modality.draws for detector in detectors)


def text_entry(form: str, description: str) -> Json:
    """A body that is text or bytes."""
    return {"schema": {"type": "string", "format": form, "description": description}}


def header_entries(when: str, names: tuple[tuple[str, str, str], ...]) -> Json:
    return {
        f"Kilter-{name}": {"required": False, "schema": {"type": kind}, "description": f"{what}; {when}."}
        for name, kind, what in names
    }


def _example_answer(detector: Detector) -> Any:
    """The answer of a model to its example, with reasons."""
    records = example_request(detector)["records"]
    verdicts = detector.score(records, reasons=5)
    sizes = None
    if detector.modality.decodes:
        sizes = [detector.modality.size(records[0][detector.schema.names[0]])]
    return json.loads(AnswerWriter(detector).write([verdicts], RecordFacts(sizes=sizes), 5))


def _columns(detector: Detector) -> Json:
    cells = record_schema(detector.schema)["properties"]
    lists = {name: {"type": "array", "items": cells[name], "minItems": 1} for name in detector.schema.names}
    columns = object_schema(lists, list(lists)) | {"description": "column by column, all of the same length"}
    return object_schema({"columns": columns}, ["columns"])


def object_schema(properties: Json, required: list[str]) -> Json:
    """The schema of an object that has these properties and no others."""
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def csv_example(detector: Detector) -> str:
    record = detector.probes.records[0]
    text = StringIO()
    writer = csv.DictWriter(text, list(record), lineterminator="\n")
    writer.writeheader()
    writer.writerow({name: str(value).lower() if isinstance(value, bool) else value for name, value in record.items()})
    return text.getvalue()


def record_schema(schema: Schema) -> Json:
    """The JSON Schema of a record; a record fits it exactly if `detector.inputs` takes it."""
    properties = {column.name: column.json_schema() for column in schema.fields}
    ignored: Json = {column.name: {"description": f"ignored: {column.reason}"} for column in schema.left_out}
    return object_schema(properties | ignored, list(schema.names))
