"""What the OpenAPI document says of the score route follows from the models that serve."""

import csv
import json
from io import StringIO
from typing import Any

import pytest
from jsonschema_rs import validator_for

from kilter.service.models.registry import Registry
from kilter.service.monitoring.metrics import Metrics
from kilter.service.routes.scoring_document import (
    describe_answers,
    describe_bodies,
    describe_parameters,
    record_schema,
)
from tests.support.picture_model import picture_detector
from tests.support.serving import RECORD, SCHEMA, detector


def registry(*names: str, pictures: bool = False) -> Registry:
    """Models of records, and one of pictures."""
    return Registry(Metrics(), [*map(detector, names), *([picture_detector()] if pictures else [])])


@pytest.mark.parametrize(
    ("serving", "names"),
    [
        (registry("a"), ["reasons", "nearest_normal", "keep", "ignore_unknown", "Request-Timeout"]),
        (registry(), ["reasons", "nearest_normal", "keep", "ignore_unknown", "Request-Timeout"]),
        (registry(pictures=True), ["reasons", "heatmap", "ignore_unknown", "Request-Timeout"]),
        (
            registry("a", pictures=True),
            ["reasons", "nearest_normal", "keep", "heatmap", "ignore_unknown", "Request-Timeout"],
        ),
    ],
)
def test_parameters_are_those_of_what_the_models_judge(serving: Registry, names: list[str]) -> None:
    """Reasons and the time are always there, heat maps for pictures, and nearest normals for records of fields."""
    parameters = describe_parameters(serving, 5, 70)
    assert [parameter["name"] for parameter in parameters] == names
    assert not any(parameter["required"] for parameter in parameters)
    assert parameters[0]["schema"]["anyOf"][1]["maximum"] == 70
    assert parameters[0]["description"].endswith("or true for 5.")


def test_bodies_are_of_the_modalities_that_serve() -> None:
    """Tables, pictures or both; tables where nothing serves."""
    tables, pictures = "text/csv", "image/png"
    for serving, kinds in (
        (registry(), {tables}),
        (registry("a"), {tables}),
        (registry(pictures=True), {pictures}),
        (registry("a", pictures=True), {tables, pictures}),
    ):
        content = describe_bodies(serving, 10).by_media_type
        assert content.keys() & {tables, pictures} == kinds
        assert content.keys() >= {"application/json", "application/x-ndjson"}
        assert "at most 10" in json.dumps(content["application/json"])


def test_the_schema_of_a_body_takes_its_forms() -> None:
    """One record, a list of records or columns of them; and nothing else."""
    described = describe_bodies(registry("a", "b"), 10)
    components = {"components": {"schemas": described.schemas}}
    validator = validator_for(described.by_media_type["application/json"]["schema"] | components)
    columns = {name: [value] for name, value in RECORD.items()}
    valid: list[Any] = [RECORD, {"records": [RECORD]}, {"columns": columns}]
    assert all(map(validator.is_valid, valid))
    wrong: list[Any] = [
        {},
        {"records": []},
        {"records": [{}]},
        {"columns": {}},
        {"records": [RECORD], "more": 1},
        [RECORD],
    ]
    assert not any(map(validator.is_valid, wrong))


def test_the_example_in_csv_is_the_record() -> None:
    """A header and a line; flags are written as files hold them."""
    [example] = describe_bodies(registry("a"), 10).by_media_type["text/csv"]["examples"].values()
    [row] = csv.DictReader(StringIO(example["value"]))
    assert row == {name: str(value).lower() if value is True else str(value) for name, value in RECORD.items()}


def test_answers_are_in_the_forms_that_there_are() -> None:
    """A table with verdicts where there are tables, a heat map and the verdict's headers where a model draws."""
    records, pictures = describe_answers(registry("a")), describe_answers(registry(pictures=True))
    assert records.by_media_type.keys() == {"application/json", "application/x-ndjson", "text/csv"}
    assert pictures.by_media_type.keys() == {"application/json", "application/x-ndjson", "image/png"}
    assert pictures.headers.keys() - records.headers.keys() == {"Kilter-Score", "Kilter-P-Value", "Kilter-Anomaly"}
    assert "example" not in describe_answers(registry()).by_media_type["application/json"]
    example = records.by_media_type["application/json"]["example"]
    assert example["model"] == {"name": "a", "version": 3}
    assert example["results"][0]["reasons"]


def test_a_record_has_every_field_and_may_have_those_that_are_left_out() -> None:
    """Any value of these is taken."""
    validator = validator_for(record_schema(SCHEMA))
    assert validator.is_valid(RECORD | {"id": ["anything"]})
    assert not validator.is_valid(RECORD | {"other": 1})
    for name in RECORD:
        assert not validator.is_valid({key: value for key, value in RECORD.items() if key != name})
