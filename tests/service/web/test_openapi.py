"""The OpenAPI document says what the service does, route by route, and its examples work as they stand."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator, validator_for

from kilter.service.detector import Detector
from kilter.service.models.registry import Registry
from kilter.service.monitoring.metrics import Metrics
from kilter.service.settings import Settings
from kilter.service.web.app import create_app
from tests.support.listening import listening, run_schemathesis
from tests.support.picture_model import picture_detector, spotted
from tests.support.pictures import encoded
from tests.support.serving import RECORD, client, detector

Json = dict[str, Any]
SCORE_PATH = "/v1/models/{name}/score"


def document(*names: str) -> Json:
    with client(*map(detector, names)) as http:
        found: Json = http.get("/openapi.json").json()
    return found


def test_every_route_is_described() -> None:
    """Nothing that the service answers for programs is left out, the hot route included."""
    assert set(document()["paths"]) == {
        "/healthz",
        "/metrics",
        "/readyz",
        "/v1/models",
        "/v1/models/{name}",
        SCORE_PATH,
        "/v1/models/{name}/versions/{version}",
        "/v1/models/{name}/versions/{version}/score",
        f"{SCORE_PATH}/stream",
        "/v1/models/{name}/versions/{version}/score/stream",
        *(
            f"/v1/models/{{name}}{version}/{way}"
            for version in ("", "/versions/{version}")
            for way in ("encode", "decode", "reconstruct", "interpolate", "generate", "similar", "edit")
        ),
        "/v2",
        "/v2/health/live",
        "/v2/health/ready",
        *(
            f"/v2/models/{{name}}{version}{rest}"
            for version in ("", "/versions/{version}")
            for rest in ("", "/ready", "/infer")
        ),
    }


def test_every_reference_leads_somewhere() -> None:
    """Whatever the models, the document is whole; without any too."""
    for names in ((), ("a",), ("a", "b-2")):
        found = document(*names)
        schemas = found["components"]["schemas"]
        text = json.dumps(found)
        for part in text.split('"#/components/schemas/')[1:]:
            assert part.partition('"')[0] in schemas


def test_every_example_of_a_request_works() -> None:
    """Each is answered by the model that it is for, in JSON, CSV and NDJSON; a binary body has no example."""
    found = document("a", "b")
    content = found["paths"][SCORE_PATH]["post"]["requestBody"]["content"]
    with client(detector("a"), detector("b")) as http:
        for media_type, body in content.items():
            assert media_type.startswith("application/vnd.apache.arrow.") or body["examples"].keys() == {"a", "b"}
            for name, example in body.get("examples", {}).items():
                sent = json.dumps(example["value"]) if media_type == "application/json" else example["value"]
                path = SCORE_PATH.format(name=name)
                answer = http.post(path, content=sent.encode(), headers={"Content-Type": media_type})
                assert answer.status_code == 200


def test_examples_of_answers_fit_their_schemas() -> None:
    """What the document shows is what it says."""
    found = document("a")
    for path, operations in found["paths"].items():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                for content in answer.get("content", {}).values():
                    if "example" in content:
                        schema = content["schema"] | {"components": found["components"]}
                        assert validator_for(schema).is_valid(content["example"]), (path, status)


CELLS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.sampled_from(["red", "2024-05-31"])


def test_a_record_fits_the_document_exactly_when_it_is_answered() -> None:
    """The schema of the document and the checks of the detector are two statements of one thing."""
    validator = Draft202012Validator(document("shop")["components"]["schemas"]["record.shop"])
    with client() as http:

        @given(
            changes=st.dictionaries(st.sampled_from([*RECORD, "id", "x"]), CELLS),
            without=st.sets(st.sampled_from([*RECORD]), max_size=1),
        )
        def hold(changes: Json, without: set[str]) -> None:
            record = {name: value for name, value in (RECORD | changes).items() if name not in without}
            body = json.dumps(record)
            answer = http.post("/v1/models/shop/score", content=body)
            fits = "Infinity" not in body and validator.is_valid(record)
            fits = fits and record["at"] != "red"  # to JSON Schema a string's format is but a note
            assert (answer.status_code == 200) == fits, answer.text

        hold()


def test_models_of_pictures_are_described_with_those_of_records() -> None:
    """Their bodies, their answers and the heat map; each only where there is a model for it."""
    path = {"summary": "Judge records"}
    with client(picture_detector(), detector()) as both, client(picture_detector()) as alone, client() as records:
        of_both, of_pictures, of_records = (http.get("/openapi.json").json() for http in (both, alone, records))
        for found in (of_both, of_pictures):
            post = found["paths"][SCORE_PATH]["post"]
            assert post | path == post
            assert {"image/png", "multipart/form-data", "application/x-npy"} <= post["requestBody"]["content"].keys()
            assert "image/png" in post["responses"]["200"]["content"]
            assert "heatmap" in {parameter["name"] for parameter in post["parameters"]}
            text = json.dumps(found)
            for part in text.split('"#/components/schemas/')[1:]:
                assert part.partition('"')[0] in found["components"]["schemas"]
            shown = post["responses"]["200"]["content"]["application/json"]
            assert validator_for(shown["schema"] | {"components": found["components"]}).is_valid(shown["example"])
            for name, example in post["requestBody"]["content"]["application/json"]["examples"].items():
                assert both.post(SCORE_PATH.format(name=name), json=example["value"]).status_code == 200
        assert "text/csv" in of_both["paths"][SCORE_PATH]["post"]["requestBody"]["content"]
        assert "text/csv" not in of_pictures["paths"][SCORE_PATH]["post"]["requestBody"]["content"]
        assert "image/png" not in json.dumps(of_records)
        assert "Region" in of_pictures["components"]["schemas"]


def test_answers_about_pictures_fit_the_document() -> None:
    """With reasons, with names, and without."""
    with client(picture_detector()) as http:
        found = http.get("/openapi.json").json()
        schema = {"$ref": "#/components/schemas/Answer", "components": found["components"]}
        files = [("f", ("a.png", encoded(spotted()))), ("f", ("b.png", encoded(spotted(9, 9))))]
        for query in ("", "?reasons=3"):
            assert validator_for(schema).is_valid(http.post(f"/v1/models/tiles/score{query}", files=files).json())


@pytest.fixture(
    name="url",
    scope="module",
    params=["records", *(pytest.param(kind, marks=pytest.mark.e2e) for kind in ("pictures", "codes"))],
)
def _url(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of a real server with one model: of records, of pictures, or one that encodes, which was trained."""
    metrics = Metrics()
    if request.param == "codes":
        model: Detector = request.getfixturevalue("detector")
    else:
        model = detector() if request.param == "records" else picture_detector()
    app = create_app(Settings(max_records=50), Registry(metrics, [model]), metrics)
    with listening(app) as url:
        yield url


def test_schemathesis_finds_nothing(url: str, tmp_path: Path) -> None:
    """Requests that fit the document, that just miss it, and sequences of them are answered as it says."""
    run = run_schemathesis(url, tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Tested: 33" in run.stdout
