"""Alerts from the service to the webhook and back to silence, through a real Prometheus and a real Alertmanager.

The rules, routes and dashboard are those of deploy/, in haste: see `tests.support.monitoring`.
"""

import json
import math
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from kilter.service.detector import artifact, store
from tests.support.flood import CLIENTS, Flood
from tests.support.monitoring import DEPLOY, Stack, Traffic, fetch, hastened, stack, wait_for

MOST_RECORDS = 1_200
"""In flight at once; more than any test but the one of the flood asks for."""
pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def running(models_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """The stack, serving a copy of the model `plant` with another in its shadow, and with little room."""
    folder = tmp_path_factory.mktemp("stack")
    models = Path(shutil.copytree(models_folder, folder / "models"))
    store.pin(models / "plant", 1)
    known = artifact.read_artifact(models / "plant" / "1")

    def copy(version: int) -> dict[str, bytes]:
        manifest = msgspec.structs.replace(known.manifest, version=version)
        return artifact.pack(manifest, known.tensors, known.programs, known.probes, {})

    store.add(models, "plant", copy)
    with stack(models, folder, shadow="plant=latest", max_inflight_records=str(MOST_RECORDS)) as found:
        yield found


@pytest.fixture(scope="module")
def traffic(running: Stack) -> Iterator[Traffic]:
    """Normal traffic, all the while."""
    with Traffic(running.score, running.normal) as found:
        yield found


def fired(running: Stack, path: str, alert: str, since: int) -> dict[str, Any]:
    """The alert, once the webhook has it, with a link to its entry of the runbook."""
    found = wait_for(alert, lambda: running.receiver.find(path, alert, "firing", since))
    page, anchor = found["annotations"]["runbook_url"].split("#")
    assert page.endswith("/deploy/RUNBOOK.md")
    assert f"\n## {alert}\n" in (DEPLOY / "RUNBOOK.md").read_text()
    assert anchor == alert.lower()
    return found


def resolved(running: Stack, path: str, alert: str, since: int) -> None:
    """Wait until the webhook has heard that the alert is over."""
    wait_for(f"end of {alert}", lambda: running.receiver.resolved(path, alert, since), 120)


def test_haste_shortens_every_duration_and_nothing_else() -> None:
    """Ranges, offsets, waits and intervals; neither names, counts nor levels."""
    assert hastened("interval: 30s\nexpr: a:increase5m > 5 * increase(b[1h] offset 15m)\nfor: 2m\n") == (
        "interval: 500ms\nexpr: a:increase5m > 5 * increase(b[60000ms] offset 15000ms)\nfor: 2000ms\n"
    )


def test_normal_traffic_raises_no_alert(running: Stack, traffic: Traffic) -> None:
    """For what is a quarter of an hour to the rules, and more than the window of any alert's wait."""
    since = len(running.receiver.got)
    for _ in range(40):
        time.sleep(0.5)
        assert running.alerts() == set()
    assert running.receiver.got[since:] == []
    assert running.query("sum(kilter_records_total) > 1000")


def test_every_panel_has_data(running: Stack, traffic: Traffic) -> None:
    """Each query of the dashboard, as Grafana would send it, on what Prometheus holds by now."""
    dashboard = json.loads((DEPLOY / "grafana" / "dashboards" / "kilter.json").read_text())
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])]
    assert len(queries) > 30
    for query in queries:
        asked = query.replace("$job", "kilter").replace("$model", ".*")
        series = running.query(asked)
        assert series, query
        assert any(math.isfinite(float(one["value"][1])) for one in series), query


def test_promtool_finds_no_fault_in_the_live_metrics(running: Stack, traffic: Traffic) -> None:
    """Of a service with traffic and a version in the shadow."""
    text = httpx.get(f"{running.service.url}/metrics").text
    assert "kilter_shadow_records_total{" in text
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_anomalous_traffic_reaches_those_on_call(running: Stack, traffic: Traffic) -> None:
    """With the share and what was promised; and it resolves when traffic is normal again."""
    since = len(running.receiver.got)
    strange = [record | {"temperature": 190.0} for record in running.normal]
    traffic.pool = running.normal[:2_000] + strange[:2_000]
    found = fired(running, "/on-call", "KilterAnomalyShareHigh", since)
    assert found["labels"]["model"] == "plant"
    assert "of normal ones it flags at most" in found["annotations"]["description"]
    traffic.pool = running.normal
    resolved(running, "/on-call", "KilterAnomalyShareHigh", since)


def test_drift_is_told_to_the_channel(running: Stack, traffic: Traffic) -> None:
    """Of the field that drifted; and it resolves when enough normal records have passed."""
    since = len(running.receiver.got)
    warm = [record for record in running.normal if record["temperature"] > 71.5]
    traffic.send(warm, 5_000)
    traffic.pool = warm
    found = fired(running, "/channel", "KilterFeatureDrift", since)
    assert found["labels"]["feature"] in {"temperature", "pressure"}
    traffic.pool = running.normal
    for _ in range(10):
        traffic.send(running.normal, 5_000)
    resolved(running, "/channel", "KilterFeatureDrift", since)


def test_a_model_that_cannot_be_loaded_is_told(running: Stack, traffic: Traffic) -> None:
    """By name, while the other model goes on serving; and it resolves once that is put right."""
    since = len(running.receiver.got)
    models = running.service.models
    broken = models / "broken"
    shutil.copytree(models / "plant", broken)
    (broken / "1" / "manifest.json").write_bytes(b"{}")
    running.service.kill()
    running.service.start()
    found = fired(running, "/on-call", "KilterModelLoadFailed", since)
    assert found["labels"]["model"] == "broken"
    assert fetch(f"{running.service.url}/readyz")["models"] == {"plant": 1}
    shutil.rmtree(broken)
    running.service.kill()
    running.service.start()
    resolved(running, "/on-call", "KilterModelLoadFailed", since)


def test_a_service_that_is_killed_is_told_and_silences_the_rest(running: Stack, traffic: Traffic) -> None:
    """Nothing but that it is down; and it resolves when it is back."""
    wait_for("silence", lambda: not running.alerts())
    since = len(running.receiver.got)
    running.service.kill()
    fired(running, "/on-call", "KilterDown", since)
    time.sleep(10)
    told = {
        a["labels"]["alertname"]
        for _, g in running.receiver.got[since:]
        for a in g["alerts"]
        if a["status"] == "firing"
    }
    assert told == {"KilterDown"}
    running.service.start()
    resolved(running, "/on-call", "KilterDown", since)


# The last test: what it burns of the budget of errors is remembered for minutes.
def test_a_flood_is_refused_and_told_to_the_channel(running: Stack, traffic: Traffic) -> None:
    """What is over the bound gets a 503 and when to come back, the rest verdicts; and it resolves when it is over."""
    wait_for("silence", lambda: not running.alerts())
    since = len(running.receiver.got)
    # Reasons take the service far longer to find than records to read, so that these pile up.
    with Flood(f"{running.score}?reasons=3", running.normal[: 2 * MOST_RECORDS // CLIENTS]) as flood:
        found = fired(running, "/channel", "KilterRequestsShed", since)
    assert found["labels"]["reason"] == "records"
    assert "too many records were in flight" in found["annotations"]["description"]
    assert flood.answers.keys() == {(200, False), (503, True)}
    resolved(running, "/channel", "KilterRequestsShed", since)
