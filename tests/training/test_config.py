from pathlib import Path

import pytest

from kilter.service.detector import KilterError
from kilter.training.config import FitConfig, Rule, check_rule, read_config


@pytest.mark.parametrize(
    ("rule", "target_fpr", "message"),
    [
        (Rule(f_beta=1.0), 0.05, "in one way: --target-fpr and --f-beta are two"),
        (Rule(alerts_per_day=3, records_per_day=9, recall_at_precision=0.5), None, "--alerts-per-day and --recall-at"),
        (Rule(cost_miss=5, cost_false_alarm=1, f_beta=2), None, "--f-beta and --cost-false-alarm are two"),
        (Rule(alerts_per_day=3), None, "--alerts-per-day says nothing without --records-per-day"),
        (Rule(records_per_day=3), None, "--records-per-day says nothing without --alerts-per-day"),
        (Rule(cost_miss=3), None, "--cost-miss says nothing without --cost-false-alarm"),
        (Rule(anomaly_rate=0.1), None, "--anomaly-rate goes with a way that uses labels"),
        (Rule(recall_at_precision=1.5), None, "--recall-at-precision is between 0 and 1, not 1.5"),
        (Rule(f_beta=-1.0), None, "--f-beta is a positive number, not -1"),
        (Rule(f_beta=float("nan")), None, "--f-beta is a positive number, not nan"),
    ],
)
def test_what_makes_no_rule_is_refused(rule: Rule, target_fpr: float | None, message: str) -> None:
    """Two ways at once, half a way, and values out of range."""
    with pytest.raises(KilterError, match=message):
        check_rule(rule, target_fpr)


@pytest.mark.parametrize(
    ("rule", "way", "labels"),
    [
        (Rule(), None, False),
        (Rule(alerts_per_day=20, records_per_day=1_000), "alerts-per-day", False),
        (Rule(f_beta=1), "f-beta", True),
        (Rule(cost_false_alarm=1, cost_miss=9, anomaly_rate=0.01), "cost", True),
        (Rule(recall_at_precision=0.9), "recall-at-precision", True),
    ],
)
def test_a_rule_knows_its_way_and_what_it_needs(rule: Rule, way: str | None, labels: bool) -> None:
    """No rule is a rule too."""
    check_rule(rule, None)
    assert rule.way == way
    assert rule.needs_labels == labels


def test_alerts_per_day_are_a_rate() -> None:
    """Of the traffic; any other rule leaves the rate as it is."""
    assert Rule(alerts_per_day=20, records_per_day=1_000).rate(None) == 0.02
    assert Rule(f_beta=1).rate(None) is None
    assert Rule().rate(0.05) == 0.05


def test_columns_are_named_in_a_file_and_by_options(tmp_path: Path) -> None:
    """An option goes before the file's setting of its name, and leaves the others."""
    path = tmp_path / "columns.toml"
    path.write_text('categorical = ["zip"]\nnumeric = ["a", "b"]\n')
    config = read_config(path, numeric=("c",))
    assert (config.categorical, config.numeric, config.timestamp, config.ignore) == (("zip",), ("c",), (), ())
    path.write_text('categorical = "zip"\n')
    with pytest.raises(KilterError, match=r"columns\.toml: Expected `array`, got `str`"):
        read_config(path)


def test_settings_of_the_fit_may_stand_by_themselves(tmp_path: Path) -> None:
    """They go before those of the file's table, whose others stay."""
    path = tmp_path / "settings.toml"
    path.write_text("[fit]\nsteps = 50\nbeta = 2.0\n")
    config = read_config(path, model="beta-vae", beta=3.0)
    assert (config.fit.steps, config.fit.model, config.fit.beta) == (50, "beta-vae", 3.0)
    assert read_config(None, fit={"steps": 7}, model="ae").fit == FitConfig(steps=7, model="ae")
