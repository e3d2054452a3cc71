"""What the OpenAPI document says of the bodies and answers of streams."""

import json
from collections.abc import Mapping

from kilter.service.formats import CSV, NDJSON, Format
from kilter.service.models.registry import Registry
from kilter.service.routes.scoring_document import (
    KEEP,
    MODEL_HEADERS,
    NEAREST_NORMAL,
    TIMEOUT,
    csv_example,
    header_entries,
    parameter_entry,
    text_entry,
)
from kilter.service.routing import Content, Json


def describe_stream_parameters(most: int) -> list[Json]:
    """Describe query and headers; `most` is the largest number of reasons."""
    words: Json = {"type": "string", "enum": ["anomalies", "all", "none"]}
    number: Json = {"type": "integer", "minimum": 1, "maximum": most}
    return [
        parameter_entry(
            "reasons",
            "query",
            {"anyOf": [words, number]},
            "Which records get reasons, up to 5 each: anomalies if it is not said. A number: all records, up to so "
            "many each. For all records it takes longer.",
        ),
        parameter_entry(
            "only_anomalies",
            "query",
            {"type": "boolean"},
            "true: what is flagged alone, with `kilter_row`, the place of each record in the body, from 0.",
        ),
        parameter_entry(
            "columns",
            "query",
            {"type": "array", "items": {"type": "string"}},
            "A column of the records that is written beside the verdict, and no others; may be given several times. "
            "CSV is then written plainly.",
        ),
        parameter_entry(
            "tail",
            "query",
            {"type": "boolean"},
            "true: `kilter_tail_probability` is appended too, an estimate that tells those apart that share the lowest "
            "p-value.",
        ),
        NEAREST_NORMAL,
        KEEP,
        TIMEOUT,
    ]


def describe_long_bodies(registry: Registry, formats: Mapping[str, Format]) -> Content:
    """Describe the bodies, by media type."""
    content: Json = {name: text_entry(form.name, form.description) for name, form in formats.items()}
    detectors = [one for one in registry.detectors if one.modality.has_fields]
    records = {one.name: one.modality.example(one.probes.records[0]) for one in detectors}
    if records:
        tables = {one.name: {"summary": f"for {one.name}", "value": csv_example(one)} for one in detectors}
        content[CSV]["examples"] = tables
        content[NDJSON]["examples"] = {
            name: {"summary": f"for {name}", "value": json.dumps(record) + "\n"} for name, record in records.items()
        }
    return Content(content)


def describe_stream(formats: Mapping[str, Format]) -> Content:
    """Describe the answers, by media type."""
    text = "The records that were sent, with kilter_score, kilter_p_value, kilter_anomaly, kilter_reasons, kilter_error"
    content: Json = {name: text_entry(form.name, f"{text}.") for name, form in formats.items()}
    return Content(content, header_entries("that judges the whole of the stream", MODEL_HEADERS))
