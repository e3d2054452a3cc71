"""What the OpenAPI document says of the administration is what it does, and nobody else is told of it."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kilter.service.detector import store
from tests.support.administration import ADMINISTRATOR, Service
from tests.support.listening import listening, run_schemathesis
from tests.support.serving import client
from tests.support.versions import NAME, add

Json = dict[str, Any]
ADMINISTRATION = {
    "/v1/models/{name}/load": {"post"},
    "/v1/models/{name}/unload": {"post"},
    "/v1/models/{name}/threshold": {"put", "delete"},
    "/v1/models/{name}/shadow": {"get", "put", "delete"},
    "/v2/repository/index": {"post"},
    "/v2/repository/models/{name}/load": {"post"},
    "/v2/repository/models/{name}/unload": {"post"},
}


@pytest.fixture(name="service")
def _service(tmp_path: Path) -> Service:
    """A service of two versions of a model, of which the first is pinned."""
    for _ in range(2):
        add(tmp_path)
    store.pin(tmp_path / NAME, 1)
    return Service(tmp_path)


def test_it_is_told_of_where_there_is_a_token_for_it(service: Service) -> None:
    """Every route with its methods, and what is referred to is there."""
    with client() as http:
        assert not http.get("/openapi.json").json()["paths"].keys() & ADMINISTRATION.keys()
    with service.client() as http:
        found = http.get("/openapi.json").json()
        assert http.get("/docs").status_code == 200
    for path, methods in ADMINISTRATION.items():
        assert found["paths"][path].keys() == methods
    schemas = found["components"]["schemas"]
    for part in json.dumps(found).split('"#/components/schemas/')[1:]:
        assert part.partition('"')[0] in schemas


def test_its_examples_work(service: Service) -> None:
    """One after the other, those that end something last."""
    order = sorted(ADMINISTRATION, key=lambda path: ("unload" in path, path.startswith("/v2")))
    with service.client() as http:
        paths = http.get("/openapi.json").json()["paths"]
        for path in order:
            for method, operation in paths[path].items():
                for example in (
                    operation.get("requestBody", {})
                    .get("content", {})
                    .get("application/json", {})
                    .get("examples", {})
                    .values()
                ):
                    answer = http.request(method.upper(), path.replace("{name}", NAME), json=example["value"])
                    assert answer.status_code == 200, (path, answer.text)


@pytest.fixture(name="url")
def _url(service: Service) -> Iterator[str]:
    """The address of a real server."""
    with listening(service.app) as url:
        yield url


def test_schemathesis_finds_nothing_in_the_administration(url: str, tmp_path: Path) -> None:
    """Nor does a request without the token, or a sequence of any, get another answer than the document says."""
    options = ["--include-path-regex", "/(load|unload|threshold|shadow|index)$"]
    options += ["--header", f"Authorization: {ADMINISTRATOR['Authorization']}"]
    run = run_schemathesis(url, tmp_path, *options)
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Tested: 10" in run.stdout
