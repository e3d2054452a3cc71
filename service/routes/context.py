"""What the families of routes share: the parts of the service, and how a model is looked up."""

import re
from dataclasses import dataclass

from kilter.service.detector import Detector
from kilter.service.judging.engine import Engine
from kilter.service.judging.intake import Decoder
from kilter.service.models.loading import Loader
from kilter.service.models.registry import Registry, Serving
from kilter.service.monitoring.logs import Ledger
from kilter.service.monitoring.metrics import Metrics
from kilter.service.problems import NOT_READY, UNKNOWN_MODEL, RequestError
from kilter.service.protection.auth import Guard
from kilter.service.routing import Json
from kilter.service.settings import Settings

MODEL = "/v1/models/{name}"
_VERSION = re.compile(r"[1-9][0-9]{0,17}")


@dataclass(frozen=True, eq=False)
class Context:
    """The parts of a running service."""

    settings: Settings
    registry: Registry
    loader: Loader
    engine: Engine
    decoder: Decoder
    metrics: Metrics
    ledger: Ledger
    guard: Guard


def find(registry: Registry, name: str, version: str | None = None) -> Serving:
    """Find the model of that name, or a version of it. Raises RequestError that names the ones that serve."""
    serving = registry.get(name)
    if serving is not None and version is not None:
        serving = registry.get(name, int(version)) if _VERSION.fullmatch(version) else None
        if serving is None:
            there = ", ".join(map(str, registry.versions(name)))
            raise RequestError(UNKNOWN_MODEL, f"{name} has no version {version[:20]!r} loaded; it has {there}")
    if serving is None:
        if registry.why_not_ready is not None:
            raise RequestError(NOT_READY, registry.why_not_ready)
        shown = repr(name[:63])
        raise RequestError(UNKNOWN_MODEL, f"there is no model {shown} here; there is {', '.join(registry.names)}")
    return serving


def example_request(detector: Detector) -> Json:
    """A synthetic request body that the model answers; its picture is small, whatever the model's size."""
    return {"records": [detector.modality.example(detector.probes.records[0])]}
