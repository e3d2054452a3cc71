"""The image that serves, really built and run: what is in it, what it needs, and how it ends.

Figures are logged: `pytest -m e2e --log-cli-level=info` shows them.
"""

import http.client
import json
import logging
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

import kilter
from tests.support import containers
from tests.support.monitoring import wait_for
from tests.support.pictures import encoded, png_claiming, scene

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
log = logging.getLogger(__name__)
ADDED_BYTES = 350e6
WORKERS = 8


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image of the target `cpu`."""
    return containers.build("cpu", tmp_path_factory.mktemp("pip") / "pip.conf")


@pytest.fixture(scope="module")
def models(models_folder: Path, digits_models: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The models `plant` and `digits` in a folder that every user can read."""
    folder = tmp_path_factory.mktemp("served") / "models"
    for source in (models_folder, digits_models):
        shutil.copytree(source, folder, dirs_exist_ok=True)
    for path in (folder, *folder.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    return folder


class Running:
    """A container that serves."""

    def __init__(self, container: str, port: int) -> None:
        self.container = container
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        began = time.monotonic()
        while not self._ready():
            if time.monotonic() - began > 60:
                raise AssertionError(containers.podman("logs", container).stderr)
            time.sleep(0.02)
        self.seconds = time.monotonic() - began
        """From the container's start to its readiness."""

    def _ready(self) -> bool:
        try:
            return httpx.get(f"{self.url}/readyz").status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture
def served(image: str, models: Path) -> Iterator[Running]:
    """The image serving `plant` and `digits` with half a gigabyte of memory."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ("--memory", "512m", "--env", f"KILTER_PORT={port}", "--volume", f"{models}:/models:ro")
    with containers.running(image, *options) as container:
        yield Running(container, port)


def logged(running: Running) -> set[str]:
    """The messages that a container has logged."""
    return {line["message"] for line in containers.logged(running.container)}


def test_it_says_what_it_is(image: str) -> None:
    """User, ports, signal, health check, labels and commands stand in the image, in exec form."""
    known = containers.inspected(image)
    config = known["Config"]
    assert config["User"] == "10001:10001"
    assert config["Entrypoint"] == ["kilter"]
    assert config["Cmd"] == ["serve"]
    assert config["StopSignal"] == "SIGTERM"
    assert list(config["ExposedPorts"]) == ["8000/tcp"]
    assert known["Healthcheck"]["Test"] == ["CMD", "python", "-m", "kilter.service.probe"]
    assert config["Labels"]["org.opencontainers.image.version"] == kilter.__version__
    assert "KILTER_HOST=0.0.0.0" in config["Env"]


def test_it_holds_what_serves_and_no_more(image: str) -> None:
    """No training, no torch, no pandas, nothing that builds or installs; and a list of all that there is."""
    look = """
import importlib.metadata, importlib.util, json, shutil
print(json.dumps({
    "modules": [name for name in ("training", "torch", "pandas", "sklearn", "pip", "setuptools")
                if importlib.util.find_spec(name)],
    "programs": [name for name in ("gcc", "cc", "make", "ld", "curl", "git") if shutil.which(name)],
    "installed": sorted(d.metadata["Name"].lower().replace("_", "-") for d in importlib.metadata.distributions()),
    "listed": sorted(c["name"].lower().replace("_", "-")
                     for c in json.load(open("/opt/kilter/sbom.cdx.json"))["components"]),
}))
"""
    found = json.loads(containers.finished(image, "--entrypoint", "python", command=("-c", look)))
    assert found["modules"] == []
    assert found["programs"] == []
    assert found["listed"] == [name for name in found["installed"] if name != "kilter"]
    commands = containers.finished(image, command=("--help",)).partition("Commands:")[2]
    assert [line.split()[0] for line in commands.strip().splitlines()] == [
        "completion",
        "decode",
        "edit",
        "encode",
        "generate",
        "inspect",
        "interpolate",
        "reconstruct",
        "score",
        "serve",
        "similar",
        "token",
        "versions",
    ]


def test_it_adds_little_to_its_base(image: str) -> None:
    """Under 350 MB."""
    added = containers.inspected(image)["Size"] - containers.inspected(containers.BASE)["Size"]
    log.info("the image adds %.0f MB to its base", added / 1e6)
    assert added < ADDED_BYTES


def test_it_serves_as_nobody_on_a_filesystem_that_is_only_read(served: Running) -> None:
    """Without a capability and with bounded memory it is soon ready, healthy, and gives verdicts."""
    log.info("ready after %.2f s", served.seconds)
    process = containers.inspected(served.container)["State"]["Pid"]
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    assert set(status["Uid"].split()) == {"10001"}
    assert set(status["Gid"].split()) == {"10001"}
    assert int(status["CapEff"], 16) == int(status["CapBnd"], 16) == 0
    written = containers.podman("exec", served.container, "touch", "/opt/kilter/x", check=False)
    assert "Read-only file system" in written.stderr
    # A busy machine may take longer than a check is given; the image's own takes three failures for one.
    checks = (containers.podman("healthcheck", "run", served.container, check=False) for _ in range(3))
    assert any(check.returncode == 0 for check in checks)
    example = httpx.get(f"{served.url}/v1/models/plant").json()["example"]
    answer = httpx.post(f"{served.url}/v1/models/plant/score?reasons=true", json=example)
    assert answer.status_code == 200
    assert answer.json()["results"][0]["reasons"]
    log.info("memory in use: %s", status["VmRSS"].strip())
    # What a container logs reaches its file by another process.
    wait_for("line for each", lambda: logged(served) >= {"model loaded", "request"})


def test_it_judges_pictures_where_nothing_can_be_written(served: Running) -> None:
    """As bodies and as forms of several megabytes, with a heat map; a bomb is refused, and it lives on."""
    url = f"{served.url}/v1/models/digits/score"
    photograph = encoded(scene(3000, 4000), "JPEG", quality=95)
    assert len(photograph) > 2_000_000
    answer = httpx.post(f"{url}?reasons=1", content=photograph, headers={"content-type": "image/jpeg"}, timeout=60)
    assert answer.status_code == 200, answer.text
    assert answer.json()["results"][0]["anomaly"] is True
    several = httpx.post(url, files=[("file", (f"{i}.jpg", photograph)) for i in range(4)], timeout=60)
    assert [result["name"] for result in several.json()["results"]] == ["0.jpg", "1.jpg", "2.jpg", "3.jpg"]
    drawn = httpx.post(f"{url}?heatmap=true", content=photograph, headers={"content-type": "image/jpeg"}, timeout=60)
    assert drawn.headers["content-type"] == "image/png"
    bomb = httpx.post(url, content=png_claiming(60_000, 60_000), headers={"content-type": "image/png"})
    assert bomb.status_code == 422
    assert httpx.get(f"{served.url}/readyz").status_code == 200


def test_it_scores_a_file(image: str, models: Path, training_csv: Path) -> None:
    """`kilter score` as a filter, for a job that has no service."""
    mounts = ("--volume", f"{models}:/models:ro", "--volume", f"{training_csv}:/data/in.csv:ro")
    scored = containers.finished(image, *mounts, command=("score", "plant", "/data/in.csv"))
    assert scored.splitlines()[0].endswith("kilter_score,kilter_p_value,kilter_anomaly,kilter_reasons,kilter_error")
    assert len(scored.splitlines()) == len(training_csv.read_text().splitlines())


class Load:
    """Clients that send requests one after another until the service takes no more."""

    def __init__(self, port: int, bodies: list[bytes]) -> None:
        self._port = port
        self._bodies = bodies
        self.answered: set[str] = set()
        self.strange: list[str] = []
        self._clients = [threading.Thread(target=self._send, args=(number,)) for number in range(len(bodies))]

    def start(self) -> None:
        for client in self._clients:
            client.start()

    def join(self) -> None:
        for client in self._clients:
            client.join(30)
            assert not client.is_alive()

    def _send(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=20)
        for count in range(1_000_000):
            name = f"c{number}-{count}"
            headers = {"Content-Type": "application/json", "X-Request-ID": name}
            try:
                connection.request("POST", "/v1/models/plant/score", self._bodies[number], headers)
                answer = connection.getresponse()
                content = answer.read()
            except (OSError, http.client.HTTPException):
                # Never accepted: the connection was closed before the service read the request, or is refused.
                connection.close()
                return
            if answer.status == 200 and json.loads(content)["results"]:
                self.answered.add(name)
            else:
                self.strange.append(f"{name}: {answer.status}")
            if number % 2:
                connection.close()


def test_what_it_accepted_is_answered_when_it_is_stopped_under_load(served: Running) -> None:
    """Within five seconds it ends by itself; every request that it began, long ones too, has reached its client."""
    example: dict[str, Any] = httpx.get(f"{served.url}/v1/models/plant").json()["example"]
    small, large = (json.dumps({"records": example["records"] * n}).encode() for n in (1, 10_000))
    load = Load(served.port, [small] * (WORKERS - 2) + [large] * 2)
    load.start()
    time.sleep(2)
    began = time.monotonic()
    containers.podman("stop", "--time", "5", served.container)
    seconds = time.monotonic() - began
    load.join()
    # 137 would be that it was killed after five seconds.
    assert containers.inspected(served.container)["State"]["ExitCode"] == 0
    lines = [line for line in containers.logged(served.container) if line.get("method") == "POST"]
    log.info("stopped in %.2f s after %d requests", seconds, len(lines))
    assert len(lines) > WORKERS
    assert load.strange == []
    assert {line["status"] for line in lines} == {200}
    assert {line["request_id"] for line in lines} == load.answered
