"""A real Prometheus that scrapes a service whose metrics have a port of their own, and want a token."""

import re
from pathlib import Path

import httpx
import pytest

from kilter.service.protection.auth import new_secret, token_line
from kilter.service.routing import Scope
from tests.support.monitoring import DEPLOY, Service, fetch, free_port, hastened, process, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(120)]


@pytest.mark.parametrize(("scope", "answers"), [(Scope.METRICS, "1"), (Scope.SCORE, "0")])
def test_prometheus_scrapes_with_a_token_of_the_scope(
    scope: Scope, answers: str, models_folder: Path, tmp_path: Path
) -> None:
    """From the port of metrics alone; one of another scope lets it in nowhere."""
    secret, port, address = new_secret(), free_port(), f"127.0.0.1:{free_port()}"
    (tmp_path / "tokens").write_text(token_line("prometheus", [scope], secret) + "\n")
    (tmp_path / "token").write_text(secret)
    service = Service(
        models_folder,
        tmp_path / "service.log",
        metrics_port=str(port),
        tokens_file=str(tmp_path / "tokens"),
        drain_seconds="0",
    )
    config = hastened((DEPLOY / "prometheus" / "prometheus.yml").read_text()).replace(
        "kilter:8000", f"127.0.0.1:{port}"
    )
    authorization = f"    authorization: {{credentials_file: {tmp_path / 'token'}}}\n    static_configs:"
    (tmp_path / "prometheus.yml").write_text(re.sub("    static_configs:(?=\n.*127)", authorization, config))
    command = ("--config.file", tmp_path / "prometheus.yml", "--storage.tsdb.path", tmp_path / "tsdb")
    with process(tmp_path / "prometheus.log", "prometheus", *command, f"--web.listen-address={address}"):
        try:
            service.start()
            assert httpx.get(f"{service.url}/metrics").status_code == 404
            assert httpx.get(f"http://127.0.0.1:{port}/metrics").status_code == 401
            found = wait_for("scrape", lambda: fetch(f"http://{address}/api/v1/query?query=up")["data"]["result"])
            assert [one["value"][1] for one in found] == [answers]
        finally:
            service.kill()
