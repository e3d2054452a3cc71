"""The models that serve."""

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from service.detector import Detector, KilterError, Problem, Verdicts, load
from service.detector.inputs import Table
from service.detector.store import models
from service.metrics import Metrics
from service.model_metrics import ModelMetrics

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Serving:
    """A detector that serves, and its numbers: a request takes one and uses it to its end, as it never changes."""

    detector: Detector
    metrics: ModelMetrics

    def judged(self, table: Table, verdicts: Verdicts, seconds: float) -> None:  # noqa: ARG002
        """Count a batch of records that got their verdicts, none with a problem, after `seconds` in the detector."""
        self.metrics.judged(verdicts, seconds)

    def rejected(self, problems: Iterable[Problem]) -> None:
        """Count the records that a request was refused for."""
        self.metrics.rejected(problems)


class Registry:
    """The detectors that serve, by name: those given, or those of a folder once `load` has been called."""

    def __init__(self, metrics: Metrics, detectors: Iterable[Detector] = ()) -> None:
        self._metrics = metrics
        self._serving: dict[str, Serving] = {}
        self._empty = "the models are not loaded yet"
        self.failures: dict[str, str] = {}
        """Why a model of the folder could not be loaded, by its name."""
        for detector in detectors:
            self._add(detector)

    def _add(self, detector: Detector) -> None:
        self._serving[detector.name] = Serving(detector, self._metrics.loaded(detector))

    def load(self, folder: Path, device: str) -> None:
        """Load the serving version of every model in a folder; one that fails does not keep others from serving."""
        for name in models(folder):
            try:
                detector = _load(folder / name, device)
                self._add(detector)
            except (KilterError, OSError) as error:
                self._metrics.load_failed(name)
                self.failures[name] = str(error)
                log.error("model not loaded", extra={"fields": {"model": name, "why": str(error)}})  # noqa: TRY400
            else:
                place = {"model": name, "version": detector.version, "device": detector.device}
                log.info("model loaded", extra={"fields": place})
        if not self._serving:
            self._empty = self._why_empty(folder)

    def _why_empty(self, folder: Path) -> str:
        if not folder.is_dir():
            return (
                f"there is no models folder {folder}: make one with `kilter train FILE --name NAME --models {folder}`"
            )
        if not self.failures:
            return (
                f"the models folder {folder} holds no model: `kilter train FILE --name NAME --models {folder}` adds one"
            )
        return "\n".join([f"no model in {folder} can be loaded", *self.failures.values()])

    @property
    def why_not_ready(self) -> str | None:
        """Why nothing can be scored; None if something can."""
        return None if self._serving else self._empty

    @property
    def names(self) -> list[str]:
        """The names of the models that serve, sorted."""
        return sorted(self._serving)

    @property
    def detectors(self) -> list[Detector]:
        """The detectors that serve, by name."""
        return [self._serving[name].detector for name in self.names]

    def get(self, name: str, version: int | None = None) -> Serving | None:
        """The version of a model that serves or, if one is named, that one; None if it is not loaded."""
        serving = self._serving.get(name)
        return serving if version is None or serving is None or serving.detector.version == version else None


def _load(folder: Path, device: str) -> Detector:
    detector = load(folder, device)
    if detector.name != folder.name:
        raise KilterError(f"{folder} holds a model that is called {detector.name}: rename the folder")
    return detector
