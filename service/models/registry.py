"""The models that serve: each a `Serving`, which a request takes and uses to its end."""

import logging
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple, TypeVar

from kilter.service.detector import Detector, KilterError, Problem, Verdicts
from kilter.service.detector.inputs import Table
from kilter.service.models.shadow import Shadow, ShadowCollector, ShadowPair, ShadowThread
from kilter.service.monitoring.metrics import Metrics
from kilter.service.monitoring.model_metrics import ModelMetrics

Key = TypeVar("Key")
Value = TypeVar("Value")
log = logging.getLogger(__name__)


class NotThereError(KilterError):
    """A model or version that a caller names is not there."""


class RefusedError(KilterError):
    """A change is not possible as things stand."""


class Rate(NamedTuple):
    """The target false-positive rate that an administrator set for a model, and since when."""

    target_fpr: float
    since: datetime


@dataclass(frozen=True, eq=False)
class Serving:
    """A detector that serves, and its numbers: a request takes one and uses it to its end, as it never changes."""

    detector: Detector
    metrics: ModelMetrics
    own: Detector
    """The detector with the artifact's own threshold."""
    rate: Rate | None = None
    """None while the artifact's own threshold is in force."""
    shadow: Shadow | None = None

    def judged(self, table: Table, verdicts: Verdicts, seconds: float) -> None:
        """Count a batch of records that got their verdicts, none with a problem, after `seconds` in the detector."""
        self.metrics.judged(verdicts, seconds)
        if self.shadow is not None:
            self.shadow.offer(table, verdicts)

    def rejected(self, problems: Iterable[Problem]) -> None:
        """Count the records that a request was refused for."""
        self.metrics.rejected(problems)


class Registry:
    """The versions that serve, and those that are loaded beside them.

    Every change puts another `Serving` in the place of one, by one assignment of a dictionary that is never changed
    itself: a reader needs no lock, and whoever holds the old one goes on with it.
    """

    def __init__(self, metrics: Metrics, detectors: Iterable[Detector] = (), max_versions: int = 4) -> None:
        """`detectors` serve; of each model at most `max_versions` are loaded at once."""
        self._metrics = metrics
        self._max_versions = max_versions
        self._serving: Mapping[str, Serving] = {}
        self._beside: Mapping[tuple[str, int], Serving] = {}
        self._rates: dict[str, Rate] = {}
        self._candidates: dict[str, Detector] = {}
        self._changing = threading.RLock()
        self.shadow_thread = ShadowThread()
        self._shadows = ShadowCollector()
        metrics.registry.register(self._shadows)
        self.empty = "the models are not loaded yet"
        """Why nothing serves while nothing does."""
        self.stopping = False
        """Whether the service is about to stop: it answers still, and wants to be sent nothing more."""
        self.failures: Mapping[str, str] = {}
        """By a model's name, why the version that should serve could not be loaded."""
        for detector in detectors:
            self.place(detector)

    @property
    def why_not_ready(self) -> str | None:
        """Why nothing can be scored; None if something can."""
        if self.stopping:
            return "the service is stopping: send requests to another replica"
        return None if self._serving else self.empty

    @property
    def names(self) -> list[str]:
        """The names of the models that serve, sorted."""
        return sorted(self._serving)

    @property
    def all(self) -> list[Serving]:
        """The models that serve, in the order of their names."""
        return [serving for _, serving in sorted(self._serving.items())]

    @property
    def detectors(self) -> list[Detector]:
        return [serving.detector for serving in self.all]

    def get(self, name: str, version: int | None = None) -> Serving | None:
        """The version of a model that serves or, if one is named, that one; None if it is not loaded."""
        serving = self._serving.get(name)
        if version is None or (serving is not None and serving.detector.version == version):
            return serving
        return self._beside.get((name, version))

    def versions(self, name: str) -> list[int]:
        """The versions of a model that are loaded, ascending."""
        detectors = [serving.detector for serving in (*self._serving.values(), *self._beside.values())]
        return sorted({detector.version for detector in detectors if detector.name == name})

    def place(self, detector: Detector) -> Serving:
        """Let a version serve in the place of the one that does; that one goes on for the requests that hold it.

        A rate that was asked for holds for the new version too, if it can support it, and the version in its shadow
        stays there, compared anew. Raises ArtifactError as `Metrics.loaded` does.
        """
        name = detector.name
        with self._changing:
            metrics = self._metrics.loaded(detector)
            candidate = self._candidates.get(name)
            if candidate is not None and candidate.version == detector.version:
                del self._candidates[name]
                log.info("shadow ended: it serves", extra={"fields": {"model": name, "version": candidate.version}})
            placed = self._put(detector, metrics)
            self._beside = without(self._beside, (name, detector.version))
            self.failures = without(self.failures, name)
            return placed

    def check_room(self, name: str, version: int) -> None:
        """Raise RefusedError if a version more would be too many."""
        loaded = self.versions(name)
        if version not in loaded and len(loaded) >= self._max_versions:
            raise RefusedError(
                f"{len(loaded)} versions of {name} are loaded, {', '.join(map(str, loaded))}, and KILTER_MAX_VERSIONS "
                f"is {self._max_versions}: unload one first"
            )

    def put_beside(self, detector: Detector) -> Serving:
        """Load a version beside the one that serves, to be asked for by its number. Raises RefusedError if full."""
        with self._changing:
            self.check_room(detector.name, detector.version)
            return self._put_beside(detector, self._metrics.loaded(detector))

    def remove(self, name: str, version: int | None = None) -> list[int]:
        """Unload a model, or a version beside the one that serves, and return which versions these were.

        Raises NotThereError if it is not loaded, and RefusedError for the number of the version that serves.
        """
        with self._changing:
            serving, loaded = self._one(name), self.versions(name)
            if version is None:
                self._candidates.pop(name, None)
                self._rates.pop(name, None)
                self._serving = without(self._serving, name)
                self._beside = without(self._beside, *((name, number) for number in loaded))
                self.failures = without(self.failures, name)
                self._metrics.unloaded(name)
                self._show_shadows()
                self.empty = "every model was unloaded"
                return loaded
            if version not in loaded:
                raise NotThereError(f"{name} has versions {', '.join(map(str, loaded))} loaded, not {version}")
            if version == serving.detector.version:
                raise RefusedError(f"version {version} of {name} serves: unload the model, or load another version")
            self._beside = without(self._beside, (name, version))
            return [version]

    def failed(self, name: str, why: str, *, serving: bool) -> None:
        """Note that a version could not be loaded, `serving` if it is the one that should serve."""
        with self._changing:
            self._metrics.load_failed(name, serving=serving)
            if serving:
                self.failures = {**self.failures, name: why}

    def rate(self, name: str, target_fpr: float | None, who: Mapping[str, Any]) -> Serving:
        """Judge by another target false-positive rate, or by the artifact's own again; `who` asked, for the log.

        Raises NotThereError, and KilterError if the version that serves cannot support the rate.
        """
        with self._changing:
            before = self._one(name)
            if target_fpr is None:
                self._rates.pop(name, None)
            else:
                before.own.at_rate(target_fpr)
                self._rates[name] = Rate(target_fpr, datetime.now(UTC))
            now = self._put(before.own, before.metrics)
            for (model, _), beside in self._beside.items():
                if model == name:
                    self._put_beside(beside.own, beside.metrics)
        fields = {"model": name, "version": now.detector.version, **who}
        for of in ("target_fpr", "threshold"):
            fields[f"old_{of}"] = getattr(before.detector.calibration, of)
            fields[f"new_{of}"] = getattr(now.detector.calibration, of)
        log.warning("threshold changed", extra={"fields": fields})
        return now

    def cast(self, candidate: Detector) -> ShadowPair:
        """Put a version in the shadow of the one that serves. Raises NotThereError, and RefusedError if it serves."""
        with self._changing:
            serving = self.check_candidate(candidate.name, candidate.version)
            self._candidates[candidate.name] = candidate
            self._put(serving.own, serving.metrics)
            return self.shadowed(candidate.name)

    def check_candidate(self, name: str, version: int) -> Serving:
        """What a version would be in the shadow of. Raises NotThereError, and RefusedError if it serves itself."""
        serving = self._serving.get(name)
        if serving is None:
            raise NotThereError(f"the model {name!r} does not serve: load it first")
        if serving.detector.version == version:
            raise RefusedError(f"version {version} of {name} serves: put another in its shadow")
        return serving

    def uncast(self, name: str) -> ShadowPair:
        """End the shadow of a model, and return it. Raises NotThereError if there is none."""
        with self._changing:
            ended = self.shadowed(name)
            del self._candidates[name]
            serving = self._one(name)
            self._put(serving.own, serving.metrics)
            return ended

    def shadowed(self, name: str) -> ShadowPair:
        """A model and the version in its shadow. Raises NotThereError if there is none."""
        serving = self._one(name)
        if serving.shadow is None:
            raise NotThereError(f"no version is in the shadow of {name}: PUT one there")
        return ShadowPair(serving.detector, serving.shadow)

    def _one(self, name: str) -> Serving:
        serving = self._serving.get(name)
        if serving is None:
            raise NotThereError(f"there is no model {name!r} here; there is {', '.join(self.names) or 'none'}")
        return serving

    def _put(self, own: Detector, metrics: ModelMetrics) -> Serving:
        """Let a version serve, with the rate and the shadow that its model has."""
        made = self._rated(own, metrics)
        candidate = self._candidates.get(own.name)
        if candidate is not None:
            shadowed = self._rated(candidate, metrics).detector
            made = replace(made, shadow=Shadow(made.detector, shadowed, self.shadow_thread))
        self._serving = {**self._serving, own.name: made}
        self._metrics.placed(made.detector, serves=True)
        self._show_shadows()
        return made

    def _put_beside(self, own: Detector, metrics: ModelMetrics) -> Serving:
        """Load a version beside the one that serves, with the rate that its model has."""
        made = self._rated(own, metrics)
        self._beside = {**self._beside, (own.name, own.version): made}
        self._metrics.placed(made.detector, serves=False)
        return made

    def _rated(self, own: Detector, metrics: ModelMetrics) -> Serving:
        rate = self._rates.get(own.name)
        try:
            return Serving(own if rate is None else own.at_rate(rate.target_fpr), metrics, own, rate)
        except KilterError as error:
            fields = {"model": own.name, "version": own.version, "why": str(error)}
            log.warning("threshold kept: the version cannot support the rate", extra={"fields": fields})
            return Serving(own, metrics, own)

    def _show_shadows(self) -> None:
        self._shadows.shadows = [serving.shadow for serving in self._serving.values() if serving.shadow]


def without(mapping: Mapping[Key, Value], *keys: Key) -> dict[Key, Value]:
    """A copy of a mapping without some of its keys."""
    return {key: value for key, value in mapping.items() if key not in keys}
