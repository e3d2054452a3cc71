"""The routes about models: what serves, and all about each."""

from kilter.service.models.registry import Registry
from kilter.service.monitoring.metrics import Metrics
from kilter.service.routes.models import details_of, summary_of
from kilter.service.settings import Settings
from kilter.service.web.app import create_app
from tests.support.serving import Client, client, detector


def test_the_models_are_listed() -> None:
    """Each with its version, threshold and the address of its details."""
    with client(detector("b"), detector("a")) as http:
        listed = http.get("/v1/models").json()
        assert [(m["name"], m["version"], m["target_fpr"]) for m in listed["models"]] == [
            ("a", 3, 0.05),
            ("b", 3, 0.05),
        ]
        assert listed["failed"] == []
        for model in listed["models"]:
            assert http.get(model["url"]).json()["name"] == model["name"]


def test_a_model_tells_all_about_itself_with_an_example_that_works() -> None:
    """Its fields with kind and range or levels, threshold, calibration, provenance, and a body to send."""
    with client() as http:
        told = http.get("/v1/models/shop").json()
        answer = http.post("/v1/models/shop/score", json=told["example"])
    assert answer.status_code == 200
    assert len(answer.json()["results"]) == 1
    kinds = {column["name"]: column["kind"] for column in told["schema"]}
    assert kinds == {
        "amount": "numeric",
        "items": "numeric",
        "member": "boolean",
        "colour": "categorical",
        "at": "timestamp",
    }
    assert told["schema"][0] | {"minimum": 20.0, "maximum": 90.0} == told["schema"][0]
    assert told["schema"][3]["levels"] == ["red", "blue"]
    assert told["left_out"].keys() == {"id"}
    assert told["calibration"]["size"] == 199
    assert told["calibration"]["upper_fpr"] == 0.11
    assert told["training"]["rows"] == 100


def test_a_list_without_models_names_those_that_failed() -> None:
    """In the order of their names."""
    registry = Registry(Metrics())
    registry.failures = {"b": "broken", "a": "gone"}
    with Client(create_app(Settings(), registry)) as http:
        assert http.get("/v1/models").json() == {"models": [], "failed": ["a", "b"]}


def test_a_summary_is_the_beginning_of_the_details() -> None:
    """What both say is the same."""
    registry = Registry(Metrics(), [detector()])
    [serving] = registry.all
    summary, details = summary_of(serving.detector).model_dump(), details_of(serving, registry).model_dump()
    assert {name: details[name] for name in summary} == summary
    assert summary["url"] == "/v1/models/shop"


def test_details_name_the_rate_that_an_administrator_set() -> None:
    """Beside the artifact's own, until it is taken back; and the versions that are loaded."""
    registry = Registry(Metrics(), [detector()])
    registry.put_beside(detector(version=2))
    own = details_of(registry.all[0], registry)
    assert own.override is None
    changed = details_of(registry.rate("shop", 0.1, {}), registry)
    assert changed.override is not None
    assert (changed.target_fpr, changed.override.target_fpr) == (0.1, 0.1)
    assert changed.override.artifact_target_fpr == own.target_fpr == 0.05
    assert changed.override.artifact_threshold == own.threshold > changed.threshold
    assert sorted(changed.versions) == [2, 3]
    assert details_of(registry.rate("shop", None, {}), registry).override is None


def test_a_version_is_described_under_its_number() -> None:
    """One that is not loaded is a 404 with those that are."""
    with client() as http:
        assert http.get("/v1/models/shop/versions/3").json() == http.get("/v1/models/shop").json()
        answer = http.get("/v1/models/shop/versions/4")
    assert (answer.status_code, answer.json()["detail"]) == (404, "shop has no version '4' loaded; it has 3")
