"""The demonstration of the compose files as processes: its model, its traffic and its rules end in an alert."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.demonstration import DEPLOY, hurried, services
from tests.support.monitoring import Service, fetch, free_port, process, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]
PLANT = DEPLOY / "demo" / "plant.py"
SECONDS = 120


def kilter(*arguments: str) -> None:
    """Run a command of `kilter`."""
    subprocess.run([sys.executable, "-c", "from kilter.service.cli import main; main()", *arguments], check=True)


def test_an_alert_fires_within_two_minutes_of_the_first_record(tmp_path: Path) -> None:
    """And none before the traffic has become strange."""
    rows = tmp_path / "pumps.csv"
    with rows.open("w") as file:
        subprocess.run([sys.executable, PLANT, "write", "6000"], stdout=file, check=True)
    kilter("train", str(rows), "--name", "pumps", "--models", str(tmp_path / "models"))
    service, address = Service(tmp_path / "models", tmp_path / "service.log"), f"127.0.0.1:{free_port()}"
    config = hurried(tmp_path)
    config.write_text(config.read_text().replace("kilter:8000", f"127.0.0.1:{service.port}"))
    prometheus = ("prometheus", f"--config.file={config}", f"--storage.tsdb.path={tmp_path / 'tsdb'}")
    send, _, *options = services("compose.demo.yaml")["traffic"]["command"]
    score = f"{service.url}/v1/models/pumps/score"

    def firing() -> list[str]:
        found = fetch(f"http://{address}/api/v1/alerts")["data"]["alerts"]
        return [one["labels"]["alertname"] for one in found if one["state"] == "firing"]

    with process(tmp_path / "prometheus.log", *prometheus, f"--web.listen-address={address}"):
        try:
            service.start()
            wait_for("scrape", lambda: fetch(f"http://{address}/api/v1/query?query=up==1")["data"]["result"])
            with process(tmp_path / "traffic.log", sys.executable, PLANT, send, score, *options):
                assert set(wait_for("alert", firing, SECONDS)) == {"KilterAnomalyShareHigh"}
        finally:
            service.kill()
    assert "strange traffic" in (tmp_path / "traffic.log").read_text()
