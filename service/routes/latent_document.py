"""What the OpenAPI document says of the routes of the latent space, made for the models that serve."""

import json
from typing import Any

import msgspec

from kilter.service.detector import Detector
from kilter.service.detector.latent import FARTHEST
from kilter.service.formats import CSV, JSON, NDJSON, PNG
from kilter.service.judging.verdicts import ModelName
from kilter.service.models.registry import Registry
from kilter.service.routes.context import example_request
from kilter.service.routes.scoring_document import (
    IGNORE_UNKNOWN,
    TIMEOUT,
    describe_bodies,
    object_schema,
    parameter_entry,
    text_entry,
)
from kilter.service.routing import COMPONENT, Content, Json

SEED = parameter_entry(
    "seed",
    "query",
    {"type": "integer", "minimum": 0, "maximum": 10**18 - 1},
    "Values are drawn from the likelihood by this seed, missing ones included. Without it they are the expected or "
    "likeliest ones.",
)
MOST_STEPS = 9999
PASSED_OVER = IGNORE_UNKNOWN | {
    "description": "true: fields and columns that the model does not know are passed over. Without it, such a field of "
    "a record in JSON is a mistake."
}


class CodesAnswer(msgspec.Struct, frozen=True):
    """The codes of the records of a request, in their order."""

    model: ModelName
    codes: list[list[float]]


class RecordsAnswer(msgspec.Struct, frozen=True):
    """The records that a model makes, as the score route takes them; a picture is a PNG in base64."""

    model: ModelName
    records: list[dict[str, Any]]


def describe_latent_parameters(names: tuple[str, ...], max_records: int) -> list[Json]:
    """Describe the query of a route that has parameters of those names, and the headers."""
    text = "How many records the answer has, both ends included, 8 without it; no more than a request may have."
    number: Json = {"type": "integer", "minimum": 2, "maximum": max(2, min(MOST_STEPS, max_records))}
    steps = parameter_entry("steps", "query", number, text)
    return [*(entry for entry in (steps, SEED, PASSED_OVER) if entry["name"] in names), TIMEOUT]


def describe_pairs(registry: Registry, max_records: int) -> Content:
    """Describe the bodies with two records: those of the score route, and an example in JSON for each model."""
    content = describe_bodies(registry, max_records)
    pairs = {
        detector.name: {
            "summary": f"for {detector.name}",
            "value": {"records": [detector.modality.example(probe) for probe in detector.probes.records[:2]]},
        }
        for detector in registry.detectors
        if len(detector.probes.records) > 1
    }
    for described in content.by_media_type.values():
        described.pop("examples", None)
    if pairs:
        content.by_media_type[JSON]["examples"] = pairs
    return content


def describe_codes(registry: Registry, max_records: int) -> Content:
    """Describe the bodies with codes."""
    able = [detector for detector in registry.detectors if detector.latent.size]
    number: Json = {"type": "number", "minimum": -FARTHEST, "maximum": FARTHEST}
    sizes = sorted({detector.latent.size for detector in able})
    lists: list[Json] = [{"type": "array", "items": number, "minItems": size, "maxItems": size} for size in sizes]
    one: Json = lists[0] if len(lists) == 1 else {"anyOf": lists} if lists else {"type": "array", "items": number}
    codes = {"type": "array", "items": one, "minItems": 1, "description": f"at most {max_records}"}
    content: Json = {"schema": object_schema({"codes": codes}, ["codes"])}
    examples = {
        detector.name: {"summary": f"for {detector.name}", "value": {"codes": _example_codes(detector)}}
        for detector in able
    }
    if examples:
        content["examples"] = examples
    return Content({JSON: content})


def describe_orders(registry: Registry, max_records: int) -> Content:
    """Describe the bodies that say what records are to be made."""
    cell: Json = {"type": ["string", "number", "boolean", "null"]}
    properties: Json = {
        "count": {"type": "integer", "minimum": 1, "maximum": max_records},
        "where": {
            "type": "object",
            "additionalProperties": cell,
            "description": "Cells that all records are to have, by columns; null is a missing value.",
        },
        "near": {
            "type": "array",
            "items": {"type": "object"},
            "minItems": 1,
            "description": "Records of a table, with all fields; each synthetic one is made around one of them.",
        },
        "prior": {"enum": ["learned", "standard"], "default": "learned"},
    }
    content: Json = {"schema": object_schema(properties, ["count"])}
    examples = {
        detector.name: {"summary": f"for {detector.name}", "value": {"count": min(3, max_records)}}
        for detector in registry.detectors
        if detector.generator is not None
    }
    if examples:
        content["examples"] = examples
    return Content({JSON: content})


def describe_latent_answers(registry: Registry, kind: type[CodesAnswer] | type[RecordsAnswer]) -> Content:
    """Describe the answers, by media type; that in JSON is of the first model that encodes."""
    detectors = registry.detectors
    answer: Json = {"schema": {"$ref": COMPONENT.format(name=kind.__name__)}}
    able = [detector for detector in detectors if detector.latent.size]
    if able:
        answer["example"] = _example_answer(able[0], kind)
    what = "A code" if kind is CodesAnswer else "A record"
    content: Json = {JSON: answer, NDJSON: text_entry("ndjson", f"{what} in each line, where Accept names it.")}
    if not detectors or not all(detector.modality.decodes for detector in detectors):
        content[CSV] = text_entry("csv", f"{what} in each row, where Accept names it and the model is of a table.")
    if kind is RecordsAnswer and any(detector.modality.decodes for detector in detectors):
        content[PNG] = text_entry("png", "The one picture, where Accept names it and the model is of pictures.")
    return Content(content, {}, msgspec.json.schema_components((kind,), ref_template=COMPONENT)[1])


def _example_codes(detector: Detector) -> list[list[float]]:
    codes: list[list[float]] = detector.encode(example_request(detector)["records"]).tolist()
    return codes


def _example_answer(detector: Detector, kind: type[CodesAnswer] | type[RecordsAnswer]) -> Any:
    """The answer of a model to its example."""
    model = ModelName(detector.name, detector.version)
    if kind is CodesAnswer:
        return json.loads(msgspec.json.encode(CodesAnswer(model, _example_codes(detector))))
    table = detector.modality.read(example_request(detector)["records"])
    records = detector.modality.records(detector.latent.reconstruct(table))
    return json.loads(msgspec.json.encode(RecordsAnswer(model, records)))
