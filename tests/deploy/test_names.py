"""Every metric that a rule, a dashboard, an autoscaler or the runbook names is exposed, and each has a consumer."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from kilter.service.models.registry import Registry
from kilter.service.monitoring.metrics import Metrics, Series
from kilter.service.settings import PREFIX, Settings
from tests.support.serving import detector

DEPLOY = Path(__file__).parents[2] / "deploy"
RULES = [
    rule
    for path in sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
    for group in yaml.safe_load(path.read_text())["groups"]
    for rule in group["rules"]
]
RECORDED = {rule["record"] for rule in RULES if "record" in rule}
DASHBOARD = json.loads((DEPLOY / "grafana" / "dashboards" / "kilter.json").read_text())
NAME = re.compile(r"(?<![\w:.])(?:[a-z_]+:)?(?:kilter|process)_[a-z0-9_]+(?::[a-z0-9_]+)?(?![\w:.-]|\()")


def families() -> dict[str, set[str]]:
    """The metrics of a service with a model and a version in its shadow, and the names of their samples."""
    metrics = Metrics()
    registry = Registry(metrics, [detector()])
    registry.cast(detector(version=4))
    metrics.durations.add(Series("/healthz", 200), [0.1])
    return {
        family.name: {sample.name for sample in family.samples if not sample.name.endswith("_created")}
        for family in metrics.registry.collect()
    }


FAMILIES = families()
EXPOSED = {name for names in FAMILIES.values() for name in names}


def named(text: str) -> set[str]:
    """The metrics and recorded series that a text names."""
    return set(NAME.findall(text))


def expressions(panels: list[dict[str, Any]]) -> Iterator[str]:
    """The queries of a dashboard's panels."""
    for panel in panels:
        yield from (target["expr"] for target in panel.get("targets", []))


def consumers() -> dict[str, set[str]]:
    """Names by who consumes them."""
    found = {f"rule {i}, {rule.get('record', rule.get('alert'))}": named(rule["expr"]) for i, rule in enumerate(RULES)}
    found |= {f"panel {i}": named(expr) for i, expr in enumerate(expressions(DASHBOARD["panels"]))}
    for variable in DASHBOARD["templating"]["list"]:
        found[f"variable {variable['name']}"] = named(variable["query"]["query"])
    for path in (DEPLOY / "kubernetes" / "overlays" / "autoscaling").glob("*.yaml"):
        found[path.name] = named(path.read_text())
    return found


def test_every_metric_that_is_named_is_exposed() -> None:
    """By the service, or recorded by a rule."""
    texts = consumers() | {"runbook": named((DEPLOY / "RUNBOOK.md").read_text())}
    for i, rule in enumerate(RULES):
        texts[f"annotations {i}"] = named(" ".join(rule.get("annotations", {}).values()))
    for place, names in texts.items():
        assert names <= EXPOSED | RECORDED | set(FAMILIES), (place, names - EXPOSED - RECORDED)


def test_every_metric_that_is_exposed_has_a_consumer() -> None:
    """An alert, a dashboard or an autoscaler."""
    used = {name for names in consumers().values() for name in names}
    assert [family for family, samples in FAMILIES.items() if not samples & used] == []


def test_every_recorded_series_has_a_consumer() -> None:
    """What nobody reads need not be recorded."""
    used = {name for names in consumers().values() for name in names}
    assert RECORDED - used == set()


def behind(text: str) -> set[str]:
    """The metrics that a text names, by themselves or through recorded series."""
    found = named(text)
    for rule in RULES:
        if rule.get("record") in found:
            found |= behind(rule["expr"])
    return found


def test_help_texts_say_who_consumes_a_metric() -> None:
    """An alert, which there is and which looks at it, the dashboard or the autoscaler."""
    metrics = Metrics()
    metrics.loaded(detector())
    looks: dict[str, set[str]] = {}
    for rule in RULES:
        if "alert" in rule:
            text = " ".join([rule["expr"], *rule["annotations"].values()])
            looks[rule["alert"]] = looks.get(rule["alert"], set()) | behind(text)
    for family in metrics.registry.collect():
        if family.name.startswith("kilter_"):
            assert re.search("alert|[Dd]ashboard|autoscaler", family.documentation), family.name
            for alert in re.findall(r"Kilter[A-Z]\w+", family.documentation):
                assert looks.get(alert, set()) & {family.name, *FAMILIES[family.name]}, (family.name, alert)
    scaled = "".join(path.read_text() for path in (DEPLOY / "kubernetes" / "overlays" / "autoscaling").glob("h*.yaml"))
    for name in named(scaled):
        assert "autoscaler" in next(f.documentation for f in metrics.registry.collect() if f.name == name), name


def test_every_setting_that_is_named_exists() -> None:
    """In the pages, the compose files, the Dockerfile and the manifests."""
    root = DEPLOY.parent
    pages = [
        root / "README.md",
        root / "Dockerfile",
        *(p for s in ("md", "yaml", "yml") for p in DEPLOY.rglob(f"*.{s}")),
    ]
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for page in pages:
        assert set(re.findall(r"\bKILTER_[A-Z_]+\b", page.read_text())) <= known, page


def test_every_panel_says_what_it_shows() -> None:
    """By title and description, and without overlaps or a name twice."""
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    shown = [panel for panel in panels if panel["type"] != "row"]
    assert all(panel["title"] and panel["description"] and panel["targets"] for panel in shown)
    cells = [
        (panel["gridPos"]["x"] + x, panel["gridPos"]["y"] + y)
        for panel in panels
        for x in range(panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["h"])
    ]
    assert len(set(cells)) == len(cells)
    assert max(x for x, _ in cells) < 24
