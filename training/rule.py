"""The ways to choose a threshold other than by a plain rate, as they are asked for."""

import msgspec

from kilter.service.detector.errors import KilterError
from kilter.service.detector.promise import Way

LABELLED: tuple[Way, ...] = ("f-beta", "cost", "recall-at-precision")
"""The ways that need labelled anomalies."""


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the threshold is chosen: the table `[threshold]` of a configuration file. At most one way at a time."""

    alerts_per_day: float | None = None
    records_per_day: float | None = None
    f_beta: float | None = None
    cost_false_alarm: float | None = None
    cost_miss: float | None = None
    recall_at_precision: float | None = None
    anomaly_rate: float | None = None
    """Share of anomalies among the records to come; that of the labelled rows if not given."""

    @property
    def inputs(self) -> dict[str, float]:
        """What was given, by name."""
        return {name: value for name in self.__struct_fields__ if (value := getattr(self, name)) is not None}

    @property
    def ways(self) -> list[Way]:
        """The ways that were asked for; `check` sees to it that there is at most one."""
        asked: dict[Way, bool] = {
            "alerts-per-day": self.alerts_per_day is not None or self.records_per_day is not None,
            "f-beta": self.f_beta is not None,
            "cost": self.cost_false_alarm is not None or self.cost_miss is not None,
            "recall-at-precision": self.recall_at_precision is not None,
        }
        return [way for way, wanted in asked.items() if wanted]

    @property
    def way(self) -> Way | None:
        """The one way that was asked for."""
        return self.ways[0] if self.ways else None

    @property
    def needs_labels(self) -> bool:
        return self.way in LABELLED

    def rate(self, target_fpr: float | None) -> float | None:
        """The target false-positive rate before labels are looked at: N / M for alerts per day, else `target_fpr`."""
        if self.alerts_per_day is not None and self.records_per_day is not None:
            return self.alerts_per_day / self.records_per_day
        return target_fpr


def check(rule: Rule, target_fpr: float | None) -> None:
    """Raise KilterError unless a rule and a rate make one way, complete and in range."""
    ways = [*(["target-fpr"] if target_fpr is not None else []), *rule.ways]
    if len(ways) > 1:
        first, second = ("--cost-false-alarm" if way == "cost" else f"--{way}" for way in ways[:2])
        raise KilterError(f"a threshold is chosen in one way: {first} and {second} are two, so leave one out")
    for first, second in (("alerts_per_day", "records_per_day"), ("cost_false_alarm", "cost_miss")):
        for given, absent in ((first, second), (second, first)):
            if getattr(rule, given) is not None and getattr(rule, absent) is None:
                raise KilterError(f"{_option(given)} says nothing without {_option(absent)}: give both")
    if rule.anomaly_rate is not None and not rule.needs_labels:
        raise KilterError(
            "--anomaly-rate goes with a way that uses labels: --f-beta, --cost-miss or --recall-at-precision"
        )
    for name, value in rule.inputs.items():
        share = name in ("recall_at_precision", "anomaly_rate")
        if not 0 < value < (1 if share else float("inf")):
            raise KilterError(
                f"{_option(name)} is {'between 0 and 1' if share else 'a positive number'}, not {value:g}"
            )


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")
