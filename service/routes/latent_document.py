"""What the OpenAPI document says of the routes of the latent space, made for the models that serve."""

import json
from typing import Any

import msgspec

from kilter.service.detector import Detector, Likeness
from kilter.service.detector.latent import FARTHEST
from kilter.service.detector.similar import MOST
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
MOST_STEPS, USUAL_STEPS = 9999, 8
STRONGEST = 1000
STRENGTH = parameter_entry(
    "strength",
    "query",
    {"type": "number", "minimum": -STRONGEST, "maximum": STRONGEST},
    "How far records are moved, 1 without it; a negative number leads back.",
)
NEAREST = parameter_entry(
    "k",
    "query",
    {"type": "integer", "minimum": 1, "maximum": MOST},
    "How many known records are shown of each, 5 without it; an answer has no more in all than a request may have.",
)
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


class SimilarAnswer(msgspec.Struct, frozen=True):
    """The known records that are like each record of a request, in the order of these."""

    model: ModelName
    similar: list[list[Likeness]]


LatentAnswer = CodesAnswer | RecordsAnswer | SimilarAnswer


def describe_latent_parameters(names: tuple[str, ...], max_records: int) -> list[Json]:
    """Describe the query of a route that has parameters of those names, and the headers."""
    ends = "8 without it" if "strength" not in names else "for one record"
    text = f"How many records the answer has, both ends included, {ends}; no more than a request may have."
    number: Json = {"type": "integer", "minimum": 2, "maximum": max(2, min(MOST_STEPS, max_records))}
    steps = parameter_entry("steps", "query", number, text)
    return [*(entry for entry in (STRENGTH, steps, NEAREST, SEED, PASSED_OVER) if entry["name"] in names), TIMEOUT]


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


def describe_edits(registry: Registry, max_records: int) -> Content:
    """Describe the bodies with records that are to be moved, and what tells the direction."""
    able = [detector for detector in registry.detectors if detector.latent.size]
    items: Json = {"type": "object"}
    records: Json = {"type": "array", "items": items, "minItems": 1, "description": f"at most {max_records}"}
    number: Json = {"type": "number", "minimum": -FARTHEST, "maximum": FARTHEST}
    along: Json = {"type": "array", "items": {"anyOf": [number, {"type": ["boolean", "null"]}]}, "minItems": 1}
    sizes = sorted({detector.latent.size for detector in able})
    direction: Json = {
        "anyOf": [{"type": "array", "items": number, "minItems": size, "maxItems": size} for size in sizes]
        or [{"type": "array", "items": number, "minItems": 1}]
    }
    ways: list[Json] = [
        {"from": records, "to": records},
        {"by": records, "along": along | {"description": "A value of each record in `by`; true and false are groups."}},
        {"direction": direction},
    ]
    bodies = [object_schema({"records": records} | way, ["records", *way]) for way in ways]
    content: Json = {"schema": {"anyOf": bodies}}
    examples = {
        detector.name: {"summary": f"for {detector.name}", "value": _example_edit(detector)} for detector in able
    }
    if examples:
        content["examples"] = examples
    return Content({JSON: content})


def _example_edit(detector: Detector) -> Json:
    first = example_request(detector)["records"]
    return {"records": first, "direction": [1.0] + [0.0] * (detector.latent.size - 1)}


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


def describe_latent_answers(registry: Registry, kind: type[LatentAnswer]) -> Content:
    """Describe the answers, by media type; that in JSON is of the first model that gives such."""
    detectors = registry.detectors
    answer: Json = {"schema": {"$ref": COMPONENT.format(name=kind.__name__)}}
    similar = kind is SimilarAnswer
    able = [one for one in detectors if (one.similarity.memory if similar else one.latent.size)]
    if able:
        answer["example"] = _example_answer(able[0], kind)
    what = {CodesAnswer: "A code", SimilarAnswer: "A list of known records"}.get(kind, "A record")
    content: Json = {JSON: answer, NDJSON: text_entry("ndjson", f"{what} in each line, where Accept names it.")}
    if not similar and not (detectors and all(detector.modality.decodes for detector in detectors)):
        content[CSV] = text_entry("csv", f"{what} in each row, where Accept names it and the model is of a table.")
    if kind is RecordsAnswer and any(detector.modality.decodes for detector in detectors):
        content[PNG] = text_entry("png", "The one picture, where Accept names it and the model is of pictures.")
    return Content(content, {}, msgspec.json.schema_components((kind,), ref_template=COMPONENT)[1])


def _example_codes(detector: Detector) -> list[list[float]]:
    codes: list[list[float]] = detector.encode(example_request(detector)["records"]).tolist()
    return codes


def _example_answer(detector: Detector, kind: type[LatentAnswer]) -> Any:
    """The answer of a model to its example."""
    model = ModelName(detector.name, detector.version)
    if kind is SimilarAnswer:
        near = detector.similar(example_request(detector)["records"], 2)
        return json.loads(msgspec.json.encode(SimilarAnswer(model, near)))
    if kind is CodesAnswer:
        return json.loads(msgspec.json.encode(CodesAnswer(model, _example_codes(detector))))
    table = detector.modality.read(example_request(detector)["records"])
    records = detector.modality.records(detector.latent.reconstruct(table))
    return json.loads(msgspec.json.encode(RecordsAnswer(model, records)))
