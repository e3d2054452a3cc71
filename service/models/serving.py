"""What a request takes once, and uses to its end."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from kilter.service.detector import Detector, Problem, Verdicts
from kilter.service.detector.inputs import Table
from kilter.service.models.shadow import Shadow
from kilter.service.monitoring.model_metrics import ModelMetrics


class Rate(NamedTuple):
    """The target false-positive rate that an administrator asked of a model, and since when."""

    target_fpr: float
    since: datetime


class Override(NamedTuple):
    """What is in force instead of the artifact's own threshold."""

    own: Detector
    rate: Rate


@dataclass(frozen=True, eq=False)
class Serving:
    """A detector that serves, and its numbers: a request takes one and uses it to its end, as it never changes."""

    detector: Detector
    metrics: ModelMetrics
    override: Override | None = None
    """None while the artifact's own threshold is in force."""
    shadow: Shadow | None = None

    @property
    def own(self) -> Detector:
        """The detector with the artifact's own threshold."""
        return self.detector if self.override is None else self.override.own

    def judged(self, table: Table, verdicts: Verdicts, seconds: float) -> None:
        """Count a batch of records that got their verdicts, none with a problem, after `seconds` in the detector."""
        self.metrics.judged(verdicts, seconds)
        if self.shadow is not None:
            self.shadow.offer(table, verdicts)

    def rejected(self, problems: Iterable[Problem]) -> None:
        """Count the records that a request was refused for."""
        self.metrics.rejected(problems)
