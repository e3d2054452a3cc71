"""Prometheus's and Alertmanager's own checks of what is shipped, and that every alert is complete."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.support.serving import RECORD, STRANGE, client

DEPLOY = Path(__file__).parents[2] / "deploy"
PROMETHEUS = DEPLOY / "prometheus"
RULES = sorted((PROMETHEUS / "rules").glob("*.yml"))
TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
ALERTMANAGER = DEPLOY / "alertmanager" / "alertmanager.yml"
SEVERITIES = {"critical", "warning", "info"}


def said(*command: str | Path, given: str | None = None) -> str:
    """What a command says that must succeed."""
    done = subprocess.run(command, capture_output=True, text=True, input=given, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def alerts() -> list[dict[str, Any]]:
    """The alerting rules."""
    groups = yaml.safe_load((PROMETHEUS / "rules" / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"] + rule["labels"].get("window", ""))
def test_an_alert_is_complete(rule: dict[str, Any]) -> None:
    """It waits, says how severe it is and what it saw, and leads to an entry of the runbook."""
    assert rule["for"]
    assert rule["labels"]["severity"] in SEVERITIES
    assert rule["annotations"]["summary"]
    assert "{{" in rule["annotations"]["description"]
    page, anchor = rule["annotations"]["runbook_url"].split("#")
    assert page.endswith("/deploy/RUNBOOK.md")
    assert anchor == rule["alert"].lower()


def test_the_runbook_has_an_entry_for_every_alert_and_no_other() -> None:
    """Each says what the alert means, how to look and what to do."""
    entries = re.split(r"^## ", (DEPLOY / "RUNBOOK.md").read_text(), flags=re.M)[1:]
    assert {entry.split("\n")[0] for entry in entries} == {rule["alert"] for rule in alerts()}
    for entry in entries:
        assert [part in entry for part in ("**Means.**", "**Look.**", "**Do.**")] == [True] * 3, entry[:40]


def test_links_of_the_runbook_lead_somewhere() -> None:
    """To an entry, or a file beside it."""
    text = (DEPLOY / "RUNBOOK.md").read_text()
    anchors = {rule["alert"].lower() for rule in alerts()}
    for target in re.findall(r"\]\(([^)]+)\)", text):
        assert target[1:] in anchors if target.startswith("#") else (DEPLOY / target).is_file(), target


def test_one_command_sets_where_the_runbook_is(tmp_path: Path) -> None:
    """The one of deploy/README.md: in the rules, their tests and what is made of them for Kubernetes."""
    shutil.copytree(DEPLOY, tmp_path / "deploy")
    (command,) = re.findall(r"^grep -rl .*xargs sed.*$", (DEPLOY / "README.md").read_text(), flags=re.M)
    subprocess.run(["/bin/sh", "-ec", command], check=True, cwd=tmp_path)
    links = [
        link
        for path in (tmp_path / "deploy").rglob("*.y*ml")
        for link in re.findall(r"runbook_url: (https://.*)/deploy/RUNBOOK.md#", path.read_text())
    ]
    assert len(links) > 2 * len(alerts())
    assert set(links) == {"https://git.example.com/kilter/blob/main"}


def test_every_alert_is_tested_both_ways() -> None:
    """With all its windows: promtool's tests have a moment at which it fires, and one at which it does not."""
    fires: set[tuple[str, str | None]] = set()
    silent = set()
    for path in TESTS:
        for test in yaml.safe_load(path.read_text())["tests"]:
            for check in test["alert_rule_test"]:
                expected = check["exp_alerts"]
                fires |= {(check["alertname"], alert["exp_labels"].get("window")) for alert in expected}
                if not expected:
                    silent.add(check["alertname"])
    assert fires == {(rule["alert"], rule["labels"].get("window")) for rule in alerts()}
    assert silent == {rule["alert"] for rule in alerts()}


@pytest.mark.e2e
@pytest.mark.parametrize("path", TESTS, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_only_then(path: Path) -> None:
    """By promtool."""
    said("promtool", "test", "rules", path)


@pytest.mark.e2e
def test_promtool_finds_no_fault() -> None:
    """In the rules, with every lint, and in the configuration."""
    said("promtool", "check", "rules", "--lint=all", "--lint-fatal", *RULES)
    said("promtool", "check", "config", PROMETHEUS / "prometheus.yml")


@pytest.mark.e2e
def test_promtool_finds_no_fault_in_the_metrics() -> None:
    """After traffic of every kind."""
    with client() as http:
        http.post("/v1/models/shop/score", json={"records": [RECORD, STRANGE]})
        http.post("/v1/models/shop/score", json={"records": [{}]})
        text = http.get("/metrics").text
    assert said("promtool", "check", "metrics", given=text) == ""


@pytest.mark.e2e
def test_amtool_finds_no_fault() -> None:
    """In the configuration of Alertmanager."""
    assert "SUCCESS" in said("amtool", "check-config", ALERTMANAGER)


@pytest.mark.e2e
@pytest.mark.parametrize(
    ("labels", "receivers"),
    [
        ("severity=critical model=pumps", "on-call"),
        ("severity=warning model=pumps", "channel"),
        ("severity=info", "channel"),
        ("severity=critical model=payments", "payments-team,on-call"),
        ("severity=warning model=payments", "payments-team,channel"),
        ("severity=unheard-of", "channel"),
    ],
)
def test_an_alert_reaches_whom_it_concerns(labels: str, receivers: str) -> None:
    """By severity and by model; what no route knows still reaches somebody."""
    command = ("amtool", "config", "routes", "test", "--config.file", ALERTMANAGER)
    said(*command, "--verify.receivers", receivers, *labels.split())
