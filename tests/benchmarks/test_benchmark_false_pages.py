"""The simulation of false pages is that of the shipped rules: the same numbers, and promtool agrees."""

import re
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from scipy import stats

from benchmarks import false_pages
from benchmarks.false_pages import DAY_S, EVALUATION_S, LEVEL, MARGIN, SCRAPE_S, TARGET, TIERS, UPPER, Traffic

PROMETHEUS = Path(__file__).parents[2] / "deploy" / "prometheus"
ALERT = "KilterAnomalyShareHigh"
WINDOWS = ("5m", "1h", "1d")


def group(file: str, name: str) -> dict[str, Any]:
    """A group of the shipped rules."""
    groups = yaml.safe_load((PROMETHEUS / "rules" / file).read_text())["groups"]
    found: dict[str, Any] = next(one for one in groups if one["name"] == name)
    return found


def seconds(text: str) -> int:
    return int(text[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": DAY_S}[text[-1]]


def test_it_has_the_numbers_of_the_rules() -> None:
    """Windows, waits, the level and the margin; and those of the configuration."""
    tiers = []
    for rule in group("alerts.yml", "kilter_anomalies")["rules"]:
        if rule["alert"] == ALERT:
            level = re.search(r"excess:sqrt\w+ > ([\d.]+)", rule["expr"])
            assert level
            assert float(level[1]) == LEVEL
            ratios = re.findall(r"ratio(\w+)", rule["expr"])
            short = seconds(ratios[1]) if len(ratios) > 1 else None
            tiers.append((seconds(rule["labels"]["window"]), short, seconds(rule["for"])))
    assert tiers == [tuple(tier) for tier in TIERS]
    recorded = [r for r in group("recording.yml", "kilter_records.rules")["rules"] if "excess" in r["record"]]
    assert [f"{MARGIN} * job_model" in rule["expr"] for rule in recorded] == [True] * len(TIERS)
    settings = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())["global"]
    assert seconds(settings["scrape_interval"]) == SCRAPE_S
    assert group("alerts.yml", "kilter_anomalies")["interval"] == f"{EVALUATION_S}s"


def test_a_condition_must_hold() -> None:
    """For as many evaluations as the alert waits, without a break."""
    condition = np.array([1, 1, 1, 0, 1, 1, 1, 1], bool)
    assert false_pages.held(condition, 2).tolist() == [False, False, True, False, False, False, True, True]


def test_increase_extrapolates_to_the_window() -> None:
    """A steady counter rises by its rate times the window, scrapes aligned or not."""
    counter = np.arange(100) * 7
    for aligned in (False, True):
        found = false_pages.increase(counter, 300, aligned)
        assert found[-1] == pytest.approx(7 * 20)
        assert np.isnan(found[0])


def test_no_page_for_a_normal_month_and_one_for_an_incident() -> None:
    """At ten records a second."""
    rng = np.random.default_rng(0)
    upper = float(stats.beta(*false_pages.shape(1_000)).ppf(UPPER))
    normal = np.full(5 * DAY_S // SCRAPE_S, TARGET)
    assert false_pages.pages(false_pages.traffic(rng, 10, normal), upper) == 0
    assert (false_pages.delays(rng, 10, 1_000, 0.05, 5) < 15).all()


@pytest.mark.e2e
def test_promtool_says_the_same(tmp_path: Path) -> None:
    """For every window, of a day and a half of traffic with incidents of every kind."""
    rng = np.random.default_rng(3)
    upper = 0.0225
    shares = np.full(36 * 240, TARGET)
    for start, minutes, share in ((25, 12, 0.05), (26, 90, 0.035), (29, 6, 0.3), (31, 240, 0.12), (35.5, 2, 0.5)):
        shares[int(start * 240) : int(start * 240) + minutes * 4] = share
    seen = false_pages.traffic(rng, 10.0, shares)
    at = [*range(24 * 120 + 10, 36 * 120, 20), *range(25 * 120, 25 * 120 + 40), *range(29 * 120, 29 * 120 + 40)]
    checks = []
    firing = 0
    for window, tier in zip(WINDOWS, TIERS, strict=True):
        fires = false_pages.firing(seen, upper, tier, aligned=True)
        firing += int(fires[at].sum())
        expression = f'count(ALERTS{{alertname="{ALERT}", alertstate="firing", window="{window}"}}) or vector(0)'
        checks += [
            {
                "expr": expression,
                "eval_time": f"{i * EVALUATION_S}s",
                "exp_samples": [{"labels": "{}", "value": int(fires[i])}],
            }
            for i in at
        ]
    assert 50 < firing < len(checks) - 100
    said = promtool(tmp_path, seen, upper, checks)
    assert said.returncode == 0, (said.stdout + said.stderr)[:3000]


def promtool(
    folder: Path, seen: Traffic, upper: float, checks: list[dict[str, Any]]
) -> subprocess.CompletedProcess[str]:
    """What promtool says of expressions over these counters, scraped every 15 s from the start."""
    rules = {"groups": [group("recording.yml", "kilter_records.rules"), group("alerts.yml", "kilter_anomalies")]}
    (folder / "rules.yml").write_text(yaml.safe_dump(rules, width=10_000))
    labels = 'job="kilter", instance="a", model="shop", version="3"'
    counters = {"normal": seen.judged - seen.anomalous, "anomalous": seen.anomalous}
    series = [
        {
            "series": f'kilter_records_total{{{labels}, result="{result}"}}',
            "values": " ".join(map(str, counter.tolist())),
        }
        for result, counter in counters.items()
    ]
    series.append(
        {
            "series": f"kilter_expected_anomaly_ratio_upper{{{labels}}}",
            "values": f"{upper}x{len(seen.judged)}",
        }
    )
    test = {"interval": f"{SCRAPE_S}s", "input_series": series, "promql_expr_test": checks}
    content = {
        "rule_files": ["rules.yml"],
        "evaluation_interval": f"{EVALUATION_S}s",
        "group_eval_order": ["kilter_records.rules", "kilter_anomalies"],
        "tests": [test],
    }
    (folder / "test.yml").write_text(yaml.safe_dump(content, width=10**9))
    command = ("promtool", "test", "rules", folder / "test.yml")
    return subprocess.run(command, capture_output=True, text=True, check=False)
