"""The OpenAPI document says what the service does, route by route, and its examples work as they stand."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from hypothesis import given
from hypothesis import strategies as st
from jsonschema_rs import Draft202012Validator, validator_for

from service.app import create_app
from service.models.registry import Registry
from service.monitoring.metrics import Metrics
from service.settings import Settings
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


@pytest.fixture(name="url", scope="module")
def _url() -> Iterator[str]:
    """The address of a real server with one model."""
    metrics = Metrics()
    app = create_app(Settings(max_records=50), Registry(metrics, [detector()]), metrics)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join()


def test_schemathesis_finds_nothing(url: str, tmp_path: Path) -> None:
    """Requests that fit the document, that just miss it, and sequences of them are answered as it says."""
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root), "SCHEMATHESIS_HOOKS": "tests.support.schemathesis_hooks"}
    options = ["--checks", "all", "--mode", "all", "--max-examples", "15", "--seed", "1", "--no-color"]
    config = str(root / "tests" / "support" / "schemathesis.toml")
    run = subprocess.run(
        [sys.executable, "-m", "schemathesis.cli", "--config-file", config, "run", f"{url}/openapi.json", *options],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Tested: 17" in run.stdout
