"""What the OpenAPI document says of the bodies and answers of the score route, made for the models that serve."""

import csv
import json
from io import StringIO
from typing import Any

import msgspec

from kilter.service.detector import Detector, Reason, Region, Schema
from kilter.service.formats import CSV, JSON, NDJSON, PNG, format_named, formats_of
from kilter.service.formats.bodies import Call
from kilter.service.formats.json_body import JsonBody, RowReader
from kilter.service.judging.verdicts import Answer, AnswerWriter, RecordFacts
from kilter.service.request import LONGEST_SECONDS
from kilter.service.routes.context import Context, example_request
from kilter.service.routing import COMPONENT, Content, Json


def _parameter(name: str, place: str, schema: Json, description: str) -> Json:
    return {"name": name, "in": place, "required": False, "schema": schema, "description": description}


TIMEOUT = _parameter(
    "Request-Timeout",
    "header",
    {"type": "number", "exclusiveMinimum": 0, "maximum": LONGEST_SECONDS, "multipleOf": 0.001},
    "How many seconds the client waits. Afterwards the records are not judged, and the answer is a 503. "
    "X-Request-Timeout means the same.",
)
HEATMAP = _parameter(
    "heatmap",
    "query",
    {"type": "boolean"},
    "true: the answer is the one picture that was sent, with what speaks against it drawn over it, and the verdict in "
    "headers. The answer is the same where Accept names image/png.",
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


class ScoringDocument:
    """Describes bodies and answers for the models that serve just now."""

    def __init__(self, context: Context) -> None:
        self._registry = context.registry
        self._max_records = context.settings.max_records

    @property
    def _draws(self) -> bool:
        return any(detector.modality.draws for detector in self._registry.detectors)

    def parameters(self, usual: int, most: int) -> list[Json]:
        """The parameters in query and headers; true stands for `usual` reasons, and `most` is their largest number."""
        number: Json = {"type": "integer", "minimum": 0, "maximum": most}
        text = f"How many reasons for each record at most, or true for {usual}."
        reasons = _parameter("reasons", "query", {"anyOf": [{"type": "boolean"}, number]}, text)
        return [reasons, *([HEATMAP] if self._draws else []), TIMEOUT]

    def request(self) -> Content:
        """The bodies, by media type."""
        content: Json = {}
        for modality in sorted({d.modality.name for d in self._registry.detectors}) or ["table"]:
            for form in formats_of(modality):
                schema = {**(form.schema or {"type": "string", "format": form.name}), "description": form.description}
                content |= {media_type: {"schema": schema} for media_type in form.media_types}
        content[JSON] = {"schema": self._json_schema()}
        examples: dict[str, dict[str, Any]] = {
            JSON: {d.name: example_request(d) for d in self._registry.detectors},
            NDJSON: {d.name: json.dumps(example_request(d)["records"][0]) + "\n" for d in self._registry.detectors},
            CSV: {d.name: _csv_example(d) for d in self._registry.detectors if not d.modality.decodes},
        }
        for media_type, values in examples.items():
            if values and media_type in content:
                content[media_type]["examples"] = {
                    name: {"summary": f"for {name}", "value": value} for name, value in values.items()
                }
        schemas = {f"record.{d.name}": record_schema(d.schema) for d in self._registry.detectors}
        return Content(content, {}, schemas)

    def _json_schema(self) -> Json:
        models: list[Json] = [{"$ref": COMPONENT.format(name=f"record.{name}")} for name in self._registry.names]
        one: Json = {"anyOf": models} if len(models) > 1 else models[0] if models else {"type": "object"}
        records = {"type": "array", "items": one, "minItems": 1, "description": f"at most {self._max_records}"}
        many = _object({"records": records}, ["records"])
        return {"anyOf": [many, one, *(_columns(detector) for detector in self._registry.detectors)]}

    def response(self) -> Content:
        """The answers, by media type; that in JSON has the first model's verdict on its example."""
        answer: Json = {"schema": {"$ref": COMPONENT.format(name="Answer")}}
        for detector in self._registry.detectors[:1]:
            answer["example"] = _example_answer(detector)
        text = "An object of `results` in each line, where Accept names it; the headers tell the rest."
        content: Json = {JSON: answer, NDJSON: {"schema": {"type": "string", "format": "ndjson", "description": text}}}
        if not all(detector.modality.decodes for detector in self._registry.detectors) or not self._registry.detectors:
            text = "The table that was sent, with the verdicts appended, where Accept names it."
            content[CSV] = {"schema": {"type": "string", "format": "csv", "description": text}}
        if self._draws:
            content[PNG] = {"schema": {"type": "string", "format": "heatmap", "description": "A heat map, as a PNG."}}
        headers = _headers("with NDJSON or a heat map alone", MODEL_HEADERS)
        if self._draws:
            headers |= _headers("with a heat map alone", VERDICT_HEADERS)
        schemas = msgspec.json.schema_components((Answer, Reason, Region), ref_template=COMPONENT)[1]
        return Content(content, headers, schemas)


def _headers(when: str, names: tuple[tuple[str, str, str], ...]) -> Json:
    return {
        f"Kilter-{name}": {"required": False, "schema": {"type": kind}, "description": f"{what}; {when}."}
        for name, kind, what in names
    }


def _example_answer(detector: Detector) -> Any:
    """The answer of a model to its example, with reasons."""
    content = json.dumps(example_request(detector)).encode()
    body = JsonBody(Call(content, format_named("json"), RowReader(detector.schema), 1))
    verdicts = [detector.score(table, reasons=5) for table in body.tables()]
    sizes = None
    if detector.modality.decodes:
        [record] = example_request(detector)["records"]
        sizes = [detector.modality.size(record[detector.schema.names[0]])]
    return json.loads(AnswerWriter(detector).write(verdicts, RecordFacts(sizes=sizes), 5))


def _columns(detector: Detector) -> Json:
    cells = record_schema(detector.schema)["properties"]
    lists = {name: {"type": "array", "items": cells[name], "minItems": 1} for name in detector.schema.names}
    columns = _object(lists, list(lists)) | {"description": "column by column, all of the same length"}
    return _object({"columns": columns}, ["columns"])


def _object(properties: Json, required: list[str]) -> Json:
    """The schema of an object that has these properties and no others."""
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _csv_example(detector: Detector) -> str:
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
    return _object(properties | ignored, list(schema.names))
