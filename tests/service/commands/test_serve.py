"""`kilter serve` as a process of its own: where it listens, what it loaded, and how it ends."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from kilter.service.commands.serve import listen, unprotected
from kilter.service.detector import KilterError
from kilter.service.probe import is_ready
from kilter.service.protection.auth import Grant, Guard, Keyring, new_secret, token_line
from kilter.service.routing import Scope
from tests.support.certificates import certificate
from tests.support.versions import add


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from kilter.service.cli import main; main()", "serve", *arguments]


def environment(**settings: str) -> dict[str, str]:
    """This process's environment with these settings and no others."""
    return {name: value for name, value in os.environ.items() if not name.startswith("KILTER_")} | settings


class Server:
    """A server process, once it has said where it listens."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.said: list[str] = []
        assert process.stdout is not None
        for line in process.stdout:
            self.said.append(line)
            if match := re.search(r"listens on (https?://\S+)", line):
                self.url = match[1]
                return
        raise AssertionError(f"it ended, saying {self.said} {process.stderr and process.stderr.read()}")

    def stop(self, number: int) -> tuple[int, str]:
        """Its exit status after a signal, and all that it logged."""
        self.process.send_signal(number)
        return self.end()

    def end(self) -> tuple[int, str]:
        """Its exit status once it has ended, and all that it logged."""
        _, logged = self.process.communicate(timeout=30)
        return self.process.returncode, logged


@contextmanager
def serving(models: Path, *arguments: str, **settings: str) -> Iterator[Server]:
    """A server of a folder of models on a free port."""
    process = subprocess.Popen(
        command("--models", str(models), "--port", "0", "--device", "cpu", *arguments),
        env=environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield Server(process)
        finally:
            process.kill()


def refused(*arguments: str, **settings: str) -> str:
    """What a server that cannot start says, which is neither a traceback nor a success."""
    run = subprocess.run(
        command(*arguments), env=environment(**settings), capture_output=True, text=True, timeout=60, check=False
    )
    assert run.returncode == 2, run.stderr
    assert run.stdout == ""
    assert "Traceback" not in run.stderr
    return run.stderr


def test_it_serves_until_sigterm(models_folder: Path) -> None:
    """It says what it loaded and where it listens, answers, logs JSON lines without values, and ends with status 0."""
    with serving(models_folder) as server:
        assert server.said[0] == "model plant version 1 on cpu\n"
        example = httpx.get(f"{server.url}/v1/models/plant").json()["example"]
        answer = httpx.post(f"{server.url}/v1/models/plant/score", json=example, headers={"X-Request-ID": "r1"})
        metrics = httpx.get(f"{server.url}/metrics").text
        status, logged = server.stop(signal.SIGTERM)
    assert 'kilter_records_total{model="plant"' in metrics
    assert not re.search(r"(_total|_seconds|_records|_value)_created", metrics)
    assert answer.json()["model"] == {"name": "plant", "version": 1}
    assert status == 0
    lines = [json.loads(line) for line in logged.splitlines()]
    assert "model loaded" in {line["message"] for line in lines}
    assert [line["path"] for line in lines if line.get("request_id") == "r1"] == ["/v1/models/plant/score"]


def test_while_it_watches_it_waits_for_a_model(tmp_path: Path) -> None:
    """It says why it is not ready; what is added then serves, and what is added after that."""
    with serving(tmp_path, KILTER_WATCH_SECONDS="0.05") as server:
        assert "there is no models folder" not in httpx.get(f"{server.url}/readyz").json()["detail"]
        for version in (1, 2):
            add(tmp_path)
            ends = time.monotonic() + 30
            while httpx.get(f"{server.url}/readyz").json().get("models") != {"plant": version}:
                assert time.monotonic() < ends
                time.sleep(0.02)
        status, logged = server.stop(signal.SIGTERM)
    assert status == 0
    assert "waiting for a model" in logged


def test_what_was_accepted_is_answered_before_it_ends(models_folder: Path) -> None:
    """A request that is half sent when the signal comes can be sent to its end, and gets its verdicts."""
    with serving(models_folder, KILTER_LOG_LEVEL="warning") as server:
        body = json.dumps(httpx.get(f"{server.url}/v1/models/plant").json()["example"]).encode()
        head = f"POST /v1/models/plant/score HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        with socket.create_connection(("127.0.0.1", httpx.URL(server.url).port or 0)) as connection:
            connection.sendall(head.encode() + b"Expect: 100-continue\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 100 ")
            server.process.send_signal(signal.SIGTERM)
            wait_until_refused(server.url)
            connection.sendall(body)
            answer = connection.makefile("rb").read()
        status, logged = server.end()
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'"results":[{' in answer
    assert (status, logged) == (0, "")


def test_readiness_fails_before_anything_else_does(models_folder: Path) -> None:
    """After SIGTERM all is answered for some seconds, while whoever asks is told to go elsewhere."""
    with (
        serving(models_folder, KILTER_LOG_LEVEL="warning", KILTER_DRAIN_SECONDS="1.5") as server,
        httpx.Client() as http,
    ):
        example = http.get(f"{server.url}/v1/models/plant").json()["example"]
        assert http.get(f"{server.url}/readyz").status_code == 200
        server.process.send_signal(signal.SIGTERM)
        for _ in range(100):
            is_ready = http.get(f"{server.url}/readyz")
            if is_ready.status_code == 503:
                break
        answer = http.post(f"{server.url}/v1/models/plant/score", json=example)
        alive = http.get(f"{server.url}/healthz")
        status, logged = server.end()
    assert "stopping" in is_ready.json()["detail"]
    assert (answer.status_code, alive.status_code) == (200, 200)
    assert answer.headers["connection"] == "close"
    assert (status, logged) == (0, "")


def wait_until_refused(url: str) -> None:
    """Wait until a server takes no more connections."""
    for _ in range(200):
        try:
            httpx.get(f"{url}/healthz")
        except httpx.TransportError:
            return
        time.sleep(0.05)
    raise AssertionError("it goes on taking connections")


def test_a_port_in_use_is_named_with_the_remedy(models_folder: Path) -> None:
    """Another server on the port is told from other failures."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        said = refused("--models", str(models_folder), "--port", str(port))
    assert f"port {port} on 127.0.0.1 is in use" in said
    assert "--port or KILTER_PORT" in said


def test_nothing_to_serve_is_told(tmp_path: Path) -> None:
    """A folder that is not there, is empty, or holds only damaged models."""
    assert "there is no models folder" in refused("--models", str(tmp_path / "absent"), "--port", "0")
    (tmp_path / "bad" / "1").mkdir(parents=True)
    (tmp_path / "bad" / "1" / "SHA256SUMS").write_text("x")
    assert "SHA256SUMS is damaged" in refused("--port", "0", KILTER_MODELS=str(tmp_path))


def test_a_bad_setting_is_told() -> None:
    """By the name of its variable."""
    assert "KILTER_PORT='http'" in refused(KILTER_PORT="http")


@pytest.mark.parametrize(("host", "told"), [("no.such.host.invalid", "no address"), ("192.0.2.1", "cannot listen on")])
def test_an_address_that_is_not_here_is_told(host: str, told: str) -> None:
    """A host name without an address, and an address of another machine."""
    with pytest.raises(KilterError, match=told):
        listen(host, 0)


@pytest.mark.e2e
def test_it_serves_over_tls_with_metrics_elsewhere(models_folder: Path, tmp_path: Path) -> None:
    """A client that trusts the certificate is answered, told to stay with TLS, and asked for a token."""
    chain, key = certificate(tmp_path)
    file = tmp_path / "tokens"
    secret = new_secret()
    file.write_text(token_line("shop", [Scope.SCORE, Scope.METRICS], secret))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    arguments = ("--tls-cert", str(chain), "--tls-key", str(key))
    with (
        serving(models_folder, *arguments, KILTER_TOKENS_FILE=str(file), KILTER_METRICS_PORT=str(port)) as server,
        httpx.Client(verify=ssl.create_default_context(cafile=chain), base_url=server.url) as http,
    ):
        assert server.said[-2] == f"metrics at https://127.0.0.1:{port}/metrics\n"
        assert server.url.startswith("https://127.0.0.1:")
        assert is_ready("127.0.0.1", http.base_url.port or 0, tls=True)
        refused = http.get("/v1/models", headers={"X-Forwarded-Proto": "http"})
        bearer = {"Authorization": f"Bearer {secret}"}
        answer = http.get("/v1/models", headers=bearer)
        here, there = (
            http.get("/metrics", headers=bearer),
            http.get(f"https://127.0.0.1:{port}/metrics", headers=bearer),
        )
        with pytest.raises(httpx.TransportError):
            httpx.get(server.url.replace("https", "http"))
        status, logged = server.stop(signal.SIGTERM)
    assert refused.status_code == 401
    assert refused.headers["strict-transport-security"].startswith("max-age=")
    assert (answer.status_code, here.status_code, there.status_code) == (200, 404, 200)
    assert status == 0
    assert secret not in logged
    assert [json.loads(text).get("token") for text in logged.splitlines() if "/v1/models" in text] == [None, "shop"]


def test_a_service_that_everyone_reaches_is_told_from_others() -> None:
    """One without tokens on an address beyond this machine."""
    some = Guard(Keyring([Grant("shop", b"", frozenset())]))
    assert unprotected(Guard(), "0.0.0.0")  # noqa: S104  # nothing listens
    assert unprotected(Guard(), "::")
    assert not unprotected(some, "0.0.0.0")  # noqa: S104
    assert not unprotected(Guard(), "127.0.0.1")
    assert not unprotected(Guard(), "::1")


def test_forwarded_headers_count_from_proxies_that_are_named(models_folder: Path) -> None:
    """From others they are as if not sent; uvicorn's own variable for them says nothing here."""
    forwarded = {"X-Forwarded-Proto": "https"}
    with serving(models_folder, FORWARDED_ALLOW_IPS="*") as server:
        plain = httpx.get(server.url, headers=forwarded)
    with serving(models_folder, KILTER_TRUSTED_PROXIES="10.0.0.0/8, 127.0.0.0/8") as server:
        proxied = httpx.get(server.url, headers=forwarded)
    assert "strict-transport-security" not in plain.headers
    assert "strict-transport-security" in proxied.headers
    assert "https://127.0.0.1" in proxied.text


def test_it_takes_many_connections_at_once(models_folder: Path) -> None:
    """All that come together are answered, and the port is free once it has ended."""
    with serving(models_folder) as server:
        address = ("127.0.0.1", httpx.URL(server.url).port or 0)
        opened = [socket.create_connection(address, timeout=30) for _ in range(300)]
        for one in opened:
            one.sendall(b"GET /healthz HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n")
        for one in opened:
            with one:
                assert one.recv(4096).startswith(b"HTTP/1.1 200 ")
        status, _ = server.stop(signal.SIGTERM)
    assert status == 0
    wait_until_refused(server.url)


def test_settings_that_come_to_nothing_are_in_the_log(models_folder: Path) -> None:
    """A mistyped variable with the one meant, and a version for the shadow that is not there."""
    with serving(models_folder, KILTER_MODLES="x", KILTER_SHADOW="absent=7", KILTER_DRAIN_SECONDS="0") as server:
        httpx.get(f"{server.url}/healthz")
        status, logged = server.stop(signal.SIGTERM)
    entries = [json.loads(line) for line in logged.splitlines()]
    assert status == 0
    whys = {entry["message"]: (entry["level"], entry["why"]) for entry in entries if "why" in entry}
    assert whys["unknown setting"] == (
        "warning",
        "KILTER_MODLES is no setting, and nothing reads it: did you mean KILTER_MODELS?",
    )
    assert whys["shadow not there"][0] == "error"
    assert "there is no model 'absent'" in whys["shadow not there"][1]
