"""Triton's repository calls, as its clients make them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kilter.service.detector import store
from tests.support.administration import Service
from tests.support.serving import Client
from tests.support.versions import NAME, add, damage

INDEX = "/v2/repository/index"
CALLS = f"/v2/repository/models/{NAME}"


@pytest.fixture(name="service")
def _service(tmp_path: Path) -> Service:
    add(tmp_path)
    return Service(tmp_path)


@pytest.fixture(name="http")
def _http(service: Service) -> Iterator[Client]:
    with service.client() as http:
        yield http


def test_the_index_tells_every_version(service: Service, http: Client) -> None:
    """With its state and, where it should serve and does not, the reason; or only those that are ready."""
    damage(service.folder, add(service.folder))
    assert http.post(f"{CALLS}/load").status_code == 409
    first, second = http.post(INDEX).json()
    assert first == {"name": NAME, "version": "1", "state": "READY", "reason": ""}
    assert (second["version"], second["state"]) == ("2", "UNAVAILABLE")
    assert "score.onnx is damaged" in second["reason"]
    assert http.post(INDEX, json={"ready": True}).json() == [first]


def test_models_are_loaded_and_unloaded(service: Service, http: Client) -> None:
    """The version of the folder that is to serve."""
    add(service.folder)
    loaded = http.post(f"{CALLS}/load", json={})
    assert (loaded.status_code, loaded.json()) == (200, {})
    assert http.get("/readyz").json()["models"] == {NAME: 2}
    unloaded = http.post(f"{CALLS}/unload", json={"parameters": {"unload_dependents": False}})
    assert (unloaded.status_code, unloaded.json()) == (200, {})
    assert http.get("/readyz").status_code == 503
    assert {entry["reason"] for entry in http.post(INDEX).json()} == {"unloaded"}


def test_what_is_refused_is_told_in_the_protocols_form(service: Service, http: Client) -> None:
    """`{"error": ...}`: what is not there, what cannot be loaded, and configurations, which cannot be sent."""
    damage(service.folder, 1)
    for path, body, status in (
        ("/v2/repository/models/other/load", {}, 404),
        ("/v2/repository/models/other/unload", {}, 404),
        (f"{CALLS}/load", {}, 409),
        (f"{CALLS}/load", {"parameters": {"config": "{}"}}, 400),
        (INDEX, [], 400),
    ):
        refused = http.post(path, json=body)
        assert refused.status_code == status
        assert list(refused.json()) == ["error"]
    assert http.get("/readyz").json()["models"] == {NAME: 1}


def test_a_pin_is_honoured(service: Service, http: Client) -> None:
    """A load is of the pinned version."""
    store.pin(service.folder / NAME, 1)
    add(service.folder)
    http.post(f"{CALLS}/load")
    assert http.get("/readyz").json()["models"] == {NAME: 1}
