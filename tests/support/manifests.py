"""Manifests of models that were never trained."""

from typing import Any

import msgspec

from kilter.service.detector import Calibration, Schema
from kilter.service.detector.artifact import CALIBRATION_SCORES, FORMAT
from kilter.service.detector.findings import Training
from kilter.service.detector.manifest import Choice, Manifest, NetworkEntry, ScoreEntry
from kilter.service.detector.thresholds import Groups, Thresholds, promise_of

ELBO = ScoreEntry("elbo", "elbo", "nats", 6, 1e-5, {})


def training(**fields: Any) -> Training:
    """What training says of itself: nothing, but for some fields."""
    nothing = dict.fromkeys(("sizes", "label", "normal", "diagnosis", "comparison", "suspects"))
    empty = dict.fromkeys(("files", "history", "notes", "warnings"), ())
    return Training(**{**nothing, **empty, "rows": 100, "settings": {}, **fields})


def manifest(
    schema: Schema,
    calibration: Calibration,
    groups: Groups | None = None,
    *,
    name: str = "toy",
    version: int = 1,
    score: ScoreEntry = ELBO,
    upper_fpr: float | None = None,
    **fields: Any,
) -> Manifest:
    """A manifest of a made-up network, with its own upper rate or another; `fields` are those of its training."""
    promise = promise_of(Thresholds(calibration, groups), Choice("rate"), "random")
    return Manifest(
        format=FORMAT,
        name=name,
        version=version,
        created="2024-05-31T08:15:00Z",
        schema=schema,
        network=NetworkEntry("squares", 1, 1, {}),
        score=score,
        calibration=promise if upper_fpr is None else msgspec.structs.replace(promise, upper_fpr=upper_fpr),
        training=training(**fields),
        libraries={"kilter": "0.1.0"},
        programs={},
        tensors={CALIBRATION_SCORES: calibration.scores.shape},
    )
