"""What the OpenAPI document says of the routes of the latent space follows from the models that serve."""

from typing import Any

import pytest
from jsonschema_rs import validator_for

from kilter.service.detector import Detector
from kilter.service.detector.latent import FARTHEST
from kilter.service.models.registry import Registry
from kilter.service.monitoring.metrics import Metrics
from kilter.service.routes.latent_document import (
    CodesAnswer,
    RecordsAnswer,
    SimilarAnswer,
    describe_codes,
    describe_edits,
    describe_latent_answers,
    describe_latent_parameters,
    describe_orders,
    describe_pairs,
)
from tests.support import serving


@pytest.fixture(name="registry", scope="module")
def _registry(detector: Detector, digits_detector: Detector) -> Registry:
    """A model of records and one of pictures, and one that was trained before there were codes."""
    return Registry(Metrics(), [detector, digits_detector, serving.detector()])


def test_a_body_has_codes_of_some_model(registry: Registry, detector: Detector, digits_detector: Detector) -> None:
    """Lists of as many numbers as one of them has; the examples are such bodies, one for each that decodes."""
    described = describe_codes(registry, 10).by_media_type["application/json"]
    fits = validator_for(described["schema"]).is_valid
    for size in (detector.latent.size, digits_detector.latent.size):
        assert fits({"codes": [[0.5] * size]})
        assert not fits({"codes": [[2 * FARTHEST] + [0.0] * (size - 1)]})
    few: list[Any] = [{"codes": []}, {"codes": [[0.0]]}, {"codes": [[None] * detector.latent.size]}, {}, {"rows": []}]
    assert not any(map(fits, few))
    examples = {name: example["value"] for name, example in described["examples"].items()}
    assert examples.keys() == {"plant", "digits"}
    assert all(map(fits, examples.values()))


def test_an_order_has_a_count_and_perhaps_more(registry: Registry) -> None:
    """The examples are such orders, one for each model with a generator."""
    described = describe_orders(registry, 10).by_media_type["application/json"]
    fits = validator_for(described["schema"]).is_valid
    whole = {"count": 3, "where": {"a": None, "b": 1.5}, "near": [{"a": 1}], "prior": "standard"}
    assert fits({"count": 10})
    assert fits(whole)
    wrong: list[Any] = [
        {},
        {"count": 0},
        {"count": 11},
        whole | {"seed": 1},
        whole | {"near": []},
        whole | {"where": []},
    ]
    assert not any(map(fits, wrong))
    examples = {name: example["value"] for name, example in described["examples"].items()}
    assert examples == {"digits": {"count": 3}}


def test_nothing_is_promised_where_no_model_decodes() -> None:
    """The form of a body is described all the same."""
    content = describe_codes(Registry(Metrics(), [serving.detector()]), 10).by_media_type["application/json"]
    assert "examples" not in content
    assert validator_for(content["schema"]).is_valid({"codes": [[1.0, 2.0]]})
    assert (
        "example" not in describe_latent_answers(Registry(Metrics(), []), CodesAnswer).by_media_type["application/json"]
    )


@pytest.mark.parametrize(
    ("kind", "what"), [(CodesAnswer, "codes"), (RecordsAnswer, "records"), (SimilarAnswer, "similar")]
)
def test_an_answer_has_the_example_of_the_first_model_that_decodes(kind: Any, what: str, registry: Registry) -> None:
    """It fits its own schema; pictures are answered where there are some."""
    described = describe_latent_answers(registry, kind)
    example = described.by_media_type["application/json"]["example"]
    assert example["model"] == {"name": "digits", "version": 1}
    assert len(example[what]) == 1
    schema = {**described.schemas[kind.__name__], "components": {"schemas": described.schemas}}
    assert validator_for(schema).is_valid(example)
    pictures = {"image/png"} if kind is RecordsAnswer else set()
    tables = set() if kind is SimilarAnswer else {"text/csv"}
    assert described.by_media_type.keys() == {"application/json", "application/x-ndjson"} | tables | pictures


def test_two_records_are_the_example_of_a_way(registry: Registry) -> None:
    """For each model, in JSON; other forms have none, since theirs is of one record."""
    described = describe_pairs(registry, 10).by_media_type
    examples = described["application/json"]["examples"]
    assert {name: len(example["value"]["records"]) for name, example in examples.items()} == {"plant": 2, "digits": 2}
    assert not any("examples" in content for name, content in described.items() if name != "application/json")


def test_parameters_are_those_of_the_route() -> None:
    """Beside the time, which every route takes."""
    for names, wanted in ((("seed",), ["seed"]), (("k", "ignore_unknown"), ["k", "ignore_unknown"]), ((), [])):
        assert [entry["name"] for entry in describe_latent_parameters(names, 9)] == [*wanted, "Request-Timeout"]
    for records, most in ((50, 50), (10**6, 9999)):
        assert describe_latent_parameters(("steps",), records)[0]["schema"]["maximum"] == most


def test_an_edit_has_a_direction_in_one_way(registry: Registry, detector: Detector) -> None:
    """The examples are such bodies, one for each model that decodes."""
    described = describe_edits(registry, 3).by_media_type["application/json"]
    fits = validator_for(described["schema"]).is_valid
    one: list[Any] = [{}]
    bodies: list[Any] = [
        {"records": one, "from": one, "to": one},
        {"records": one, "by": one, "along": [None, True, 0.5]},
        {"records": one, "direction": [0.0] * detector.latent.size},
    ]
    assert all(map(fits, bodies))
    assert not any(fits({name: body[name] for name in body if name != "records"}) for body in bodies)
    assert not any(map(fits, [{"records": one}, bodies[0] | bodies[2], {"records": one, "from": one}]))
    assert all(fits(example["value"]) for example in described["examples"].values())
    assert described["examples"].keys() == {"plant", "digits"}
    assert "examples" not in describe_edits(Registry(Metrics(), []), 3).by_media_type["application/json"]
