"""The application as a whole: what it tells about its models and itself."""

import asyncio
import logging
import re
import shlex
from collections.abc import Iterator, MutableMapping
from html import unescape
from pathlib import Path
from typing import Any

import msgspec
import pytest

from kilter.service.models.registry import Registry
from kilter.service.monitoring.metrics import Metrics
from kilter.service.settings import Settings
from kilter.service.web.app import create_app
from tests.support.serving import RECORD, Client, client, detector

EDGE = "kilter.service.web.edge"


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


def test_it_is_ready_when_a_model_serves() -> None:
    """Health is of the process, readiness of the models; without any the reason is told."""
    with client() as http:
        assert http.get("/healthz").json() == {"live": True}
        assert http.get("/readyz").json() == {"ready": True, "models": {"shop": 3}, "fast_lane": False}
    with Client(create_app(Settings(), Registry(Metrics()))) as http:
        assert http.get("/healthz").status_code == 200
        for answer in (http.get("/readyz"), http.post("/v1/models/shop/score", json=RECORD)):
            assert answer.status_code == 503
            assert answer.json()["detail"] == "the models are not loaded yet"
        assert http.get("/").status_code == http.get("/docs").status_code == 200


def test_the_folder_of_the_settings_is_loaded_at_start(models_folder: Path) -> None:
    """An application that is given no registry makes its own."""
    app = create_app(Settings(models=models_folder, device="cpu"))

    async def start() -> None:
        async with app.app.router.lifespan_context(app.app):
            pass

    asyncio.run(start())
    with Client(app) as http:
        example = http.get("/v1/models/plant").json()["example"]
        assert http.post("/v1/models/plant/score?reasons=true", json=example).status_code == 200


def test_the_pages_need_nothing_from_elsewhere() -> None:
    """The front page and the documentation refer to this service alone."""
    with client() as http:
        for path in ("/", "/docs"):
            page = http.get(path)
            assert page.headers["content-type"] == "text/html; charset=utf-8"
            found = re.findall(r"""(?:src|href)=["']?([^"' >]+)""", page.text)
            assert found or path == "/docs"
            for link in found:
                assert http.get("/" + link.lstrip("/")).status_code == 200
            assert "https://" not in page.text


def test_the_command_on_the_front_page_works() -> None:
    """What it tells a person to run is answered, quotes in values included."""
    record = RECORD | {"colour": "it's <b>red</b>"}
    quoting = detector()
    quoting.probes.records[:] = [record]
    with client(quoting) as http:
        page = http.get("/").text
        assert "<b>" not in page
        [command] = re.findall(r"<pre>(curl .*?)</pre>", page, re.DOTALL)
        _, url, _, header, _, body = shlex.split(unescape(command).replace("\\\n", ""))
        name, value = header.split(": ")
        answer = http.post(url, content=body.encode(), headers={name: value})
    assert answer.status_code == 200
    assert answer.json()["results"][0]["reasons"][0]["feature"]


def test_every_answer_has_a_request_id() -> None:
    """The client's own where it is a plain word, else a new one."""
    with client() as http:
        assert http.get("/healthz", headers={"X-Request-ID": "order-66"}).headers["x-request-id"] == "order-66"
        made = {
            http.get("/nope", headers={"X-Request-ID": bad}).headers["x-request-id"] for bad in ("", "a b", "x" * 65)
        }
    assert len(made) == 3
    assert all(re.fullmatch(r"[0-9a-f]{16}", request_id) for request_id in made)


def test_a_request_is_a_line_in_the_log_without_its_values(caplog: pytest.LogCaptureFixture) -> None:
    """Id, method, path without its query, status, model, counts and times; probes only when debugging."""
    with caplog.at_level(logging.INFO), client() as http:
        http.get("/healthz")
        http.post("/v1/models/shop/score?reasons=1", json=RECORD, headers={"X-Request-ID": "a1"})
    [line] = [
        line for record in caplog.records if record.name == "kilter.service.web.edge" for line in vars(record)["lines"]
    ]
    fields = msgspec.to_builtins(line)
    assert fields.pop("time").endswith("+00:00")
    assert fields.pop("milliseconds") > 0
    assert fields.pop("detector_milliseconds") > 0
    assert fields == {
        "level": "info",
        "logger": "kilter.service.web.edge",
        "message": "request",
        "request_id": "a1",
        "method": "POST",
        "path": "/v1/models/shop/score",
        "status": 200,
        "model": "shop",
        "version": 3,
        "records": 1,
        "anomalies": 0,
        "rejected": 0,
    }


@pytest.mark.parametrize("host", ["[", "a b", "<script>", "'; rm -rf ~; '", "x:y", "[::1]:80", "a" * 5000, ""])
def test_no_host_header_brings_a_page_down_or_into_disorder(host: str) -> None:
    """What a client says about the host is quoted wherever it is shown."""
    with client() as http:
        for path in ("/", "/docs", "/nope", "//[x", "/v1/models/%00", "/v1/models/%ff"):
            answer = http.get(path, headers={"Host": host})
            assert answer.status_code < 500
            assert "<script>" not in answer.text.replace("<script>for (const form", "")


def test_a_client_that_leaves_is_no_error() -> None:
    """A request whose body never ends is forgotten, and counted as such."""
    metrics = Metrics()
    app = create_app(Settings(), Registry(metrics, [detector()]), metrics)
    messages: Iterator[MutableMapping[str, Any]] = iter(
        [{"type": "http.request", "body": b"{", "more_body": True}, {"type": "http.disconnect"}]
    )
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return next(messages)

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    path = "/v1/models/shop/score"
    scope = {"type": "http", "method": "POST", "path": path, "query_string": b"", "headers": [], "root_path": ""}
    asyncio.run(app(scope, receive, send))
    labels = {"route": "/v1/models/{name}/score", "status": "499"}
    assert sent == []
    assert metrics.registry.get_sample_value("kilter_request_duration_seconds_count", labels) == 1
