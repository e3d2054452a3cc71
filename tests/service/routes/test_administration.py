"""The administration over HTTP: what it changes, what it refuses, and what it leaves in the log."""

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kilter.service.detector import store
from tests.support.administration import ADMINISTRATOR, Service
from tests.support.serving import Client, client
from tests.support.versions import NAME, add, damage

MODEL = f"/v1/models/{NAME}"
ROUTES = [
    ("POST", f"{MODEL}/load"),
    ("POST", f"{MODEL}/unload"),
    ("PUT", f"{MODEL}/threshold"),
    ("DELETE", f"{MODEL}/threshold"),
    ("GET", f"{MODEL}/shadow"),
    ("PUT", f"{MODEL}/shadow"),
    ("DELETE", f"{MODEL}/shadow"),
    ("POST", "/v2/repository/index"),
    ("POST", f"/v2/repository/models/{NAME}/load"),
    ("POST", f"/v2/repository/models/{NAME}/unload"),
]


@pytest.fixture(name="service")
def _service(tmp_path: Path) -> Service:
    """A service of one model in three versions, of which the second is pinned."""
    for _ in range(3):
        add(tmp_path)
    store.pin(tmp_path / NAME, 2)
    return Service(tmp_path, max_versions=2)


@pytest.fixture(name="http")
def _http(service: Service) -> Iterator[Client]:
    with service.client() as http:
        yield http
    service.registry.shadow_thread.stop()


def score(http: Client, version: int | None = None) -> Any:
    """The verdict on the model's example."""
    body = http.get(MODEL).json()["example"]
    path = MODEL if version is None else f"{MODEL}/versions/{version}"
    return http.post(f"{path}/score", json=body).json()


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_without_a_token_it_is_not_there(service: Service, method: str, path: str) -> None:
    """Nowhere at all where no administrator has a token, and else not for those who are none."""
    with Client(service.app) as http:
        assert http.request(method, path).status_code == 401
    with client() as http:
        assert http.request(method, path, headers=ADMINISTRATOR).status_code == 404


def test_a_version_is_loaded_and_asked_for_by_its_number(http: Client) -> None:
    """Beside the one that serves, each with its own verdicts and details."""
    assert score(http, 3)["detail"] == "plant has no version '3' loaded; it has 2"
    loaded = http.post(f"{MODEL}/load", json={"version": 3})
    assert (loaded.status_code, loaded.json()["version"], loaded.json()["versions"]) == (200, 3, [2, 3])
    verdicts = {version: score(http, version) for version in (None, 2, 3)}
    assert {version: verdict["model"]["version"] for version, verdict in verdicts.items()} == {None: 2, 2: 2, 3: 3}
    for version in (2, 3):
        details = http.get(f"{MODEL}/versions/{version}").json()
        assert details["threshold"] == verdicts[version]["threshold"]
        assert (details["version"], details["versions"]) == (version, [2, 3])
    refused = http.post(f"{MODEL}/load", json={"version": 1})
    assert (refused.status_code, refused.json()["type"]) == (409, "/docs#refused")
    assert http.post(f"{MODEL}/unload", json={"version": 3}).json() == {"name": NAME, "versions": [3]}
    assert http.get(MODEL).json()["versions"] == [2]


def test_the_version_of_the_folder_is_loaded_without_a_body(service: Service, http: Client) -> None:
    """The pinned one or the highest."""
    store.unpin(service.folder / NAME)
    assert http.post(f"{MODEL}/load").json()["version"] == 3
    assert score(http)["model"]["version"] == 3


def test_what_cannot_be_loaded_is_told(service: Service, http: Client) -> None:
    """A damaged version with its damage; what is not there with what is; and what served goes on."""
    damage(service.folder, 3)
    store.pin(service.folder / NAME, 3)
    refused = http.post(f"{MODEL}/load")
    assert (refused.status_code, refused.json()["type"]) == (409, "/docs#load-failed")
    assert "score.onnx is damaged" in refused.json()["detail"]
    assert refused.headers["content-type"] == "application/problem+json"
    assert score(http)["model"]["version"] == 2
    for path, body in (("/v1/models/other/load", {}), (f"{MODEL}/load", {"version": 9})):
        missing = http.post(path, json=body)
        assert (missing.status_code, missing.json()["type"]) == (404, "/docs#unknown-model")
    assert http.post("/v1/models/..%2Fplant/load").status_code == 404


def test_an_unloaded_model_is_not_there(http: Client) -> None:
    """Until it is loaded again."""
    assert http.post(f"{MODEL}/unload").json() == {"name": NAME, "versions": [2]}
    assert http.post(f"{MODEL}/score", json={}).status_code == 503
    assert http.get("/readyz").json()["detail"] == "every model was unloaded"
    assert http.post(f"{MODEL}/unload").status_code == 404
    assert http.post(f"{MODEL}/load").status_code == 200
    assert http.get("/readyz").json()["models"] == {NAME: 2}


def test_another_rate_shows_everywhere(http: Client, caplog: pytest.LogCaptureFixture) -> None:
    """In the answer, in the details, in metrics, and in the log with who asked for it in which request."""
    own = http.get(MODEL).json()
    with caplog.at_level(logging.WARNING):
        changed = http.request(
            "PUT", f"{MODEL}/threshold", json={"target_fpr": 0.2}, headers={"X-Request-ID": "change-1"}
        ).json()
    assert (changed["target_fpr"], changed["override"]["target_fpr"]) == (0.2, 0.2)
    assert changed["threshold"] < own["threshold"]
    assert (changed["override"]["artifact_threshold"], changed["override"]["artifact_target_fpr"]) == (
        own["threshold"],
        0.05,
    )
    assert http.get(MODEL).json()["calibration"]["rank"] == 40
    verdict = score(http)
    assert (verdict["target_fpr"], verdict["threshold"]) == (0.2, changed["threshold"])
    assert f'kilter_target_fpr{{model="{NAME}",version="2"}} 0.2' in http.get("/metrics").text
    fields = next(r.__dict__["fields"] for r in caplog.records if r.message == "threshold changed")
    assert (fields["token"], fields["request_id"]) == ("operator", "change-1")
    assert (fields["old_target_fpr"], fields["new_target_fpr"]) == (0.05, 0.2)
    assert http.request("DELETE", f"{MODEL}/threshold").json()["override"] is None
    assert http.get(MODEL).json() == own


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"target_fpr": 0.004}, 422, "needs at least 249 calibration records; there are 199"),
        ({"target_fpr": 0.004}, 422, "the smallest rate that they support is 0.005"),
        ({"target_fpr": 0}, 422, "target_fpr"),
        ({"target_fpr": 0.6}, 422, "target_fpr"),
        ({"target_fpr": "0.1"}, 422, "target_fpr"),
        ({"threshold": 7.5}, 422, "unknown field `threshold`"),
        ({}, 422, "target_fpr"),
        ([], 422, "Expected `object`"),
    ],
)
def test_a_rate_that_is_none_or_not_supported_is_refused(http: Client, body: Any, status: int, said: str) -> None:
    """A bare threshold is none; nothing changes."""
    before = http.get(MODEL).json()
    refused = http.request("PUT", f"{MODEL}/threshold", json=body)
    assert refused.status_code == status
    assert said in refused.json()["detail"]
    assert http.get(MODEL).json() == before


def test_a_shadow_is_put_told_and_ended(service: Service, http: Client) -> None:
    """Its comparison grows with what is scored; ended, its last comparison is told once more."""
    assert http.get(f"{MODEL}/shadow").status_code == 404
    begun = http.request("PUT", f"{MODEL}/shadow", json={"version": 3})
    assert (begun.status_code, begun.json()["compared"], begun.json()["flag_rates"]) == (200, 0, None)
    assert http.get(MODEL).json()["shadow"] == 3
    for _ in range(5):
        assert score(http)["model"]["version"] == 2
    assert service.registry.shadow_thread.idle(30)
    told = http.get(f"{MODEL}/shadow").json()
    assert (told["live"], told["shadow"], told["compared"], told["dropped"]) == (2, 3, 5, 0)
    assert sum(told["agreement"].values()) == 5
    assert told["evidence"].startswith("Of 5 compared records")
    metrics = http.get("/metrics").text
    assert f'kilter_shadow_records_total{{model="{NAME}",result="dropped",version="3"}} 0.0' in metrics
    assert f'kilter_records_total{{model="{NAME}",result="normal",version="3"}}' not in metrics
    assert http.request("DELETE", f"{MODEL}/shadow").json()["compared"] == 5
    assert http.request("DELETE", f"{MODEL}/shadow").status_code == 404
    assert http.get(MODEL).json()["shadow"] is None


def test_a_shadow_that_cannot_be_is_refused(service: Service, http: Client) -> None:
    """The version that serves, one that is not there, one that is damaged, and one of a model that does not serve."""
    damage(service.folder, 3)
    add(service.folder, "other")
    for path, version, status in ((MODEL, 2, 409), (MODEL, 9, 404), (MODEL, 3, 409), ("/v1/models/other", 1, 404)):
        assert http.request("PUT", f"{path}/shadow", json={"version": version}).status_code == status


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        (b"{", {}, 400),
        (b"\xff", {}, 400),
        (b'{"version": 2, "more": 1}', {}, 422),
        (b'{"version": 0}', {}, 422),
        (b"{}", {"Content-Type": "text/csv"}, 415),
        (b"{}", {"Content-Encoding": "gzip"}, 415),
        (b" " * 70_000, {}, 413),
        (b'{"version": ' + b"[" * 60_000, {}, 400),
    ],
)
def test_a_body_that_says_nothing_is_refused(
    http: Client, content: bytes, headers: dict[str, str], status: int
) -> None:
    """As a problem, whatever is wrong with it."""
    refused = http.post(f"{MODEL}/load", content=content, headers={"Content-Type": "application/json", **headers})
    assert (refused.status_code, refused.headers["content-type"]) == (status, "application/problem+json")
