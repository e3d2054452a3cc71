"""Kilter: calibrated verdicts on records and pictures, by a variational autoencoder of what is normal.

`load` a model and `Detector.score` records, or `score_frame` in an engine that brings frames; `train` a model from a
file or a frame; or use `AnomalyDetector`, an estimator in the conventions of scikit-learn. What these need is imported
when it is used.
"""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kilter.estimator import AnomalyDetector
    from kilter.learning import scan, train
    from kilter.service.detector import (
        ArtifactError,
        Detector,
        KilterError,
        Likeness,
        NearestNormal,
        PictureError,
        Problem,
        RecordsError,
        SeenRowsWarning,
        Verdicts,
        load,
    )
    from kilter.service.formats.frame_scoring import score_frame

__version__ = "0.1.0"
__all__ = [
    "AnomalyDetector",
    "ArtifactError",
    "Detector",
    "KilterError",
    "Likeness",
    "NearestNormal",
    "PictureError",
    "Problem",
    "RecordsError",
    "SeenRowsWarning",
    "Verdicts",
    "load",
    "scan",
    "score_frame",
    "train",
]

# ONNX Runtime's builds report their use to its makers, unless this is set before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_FRAMES = {"score_frame": "kilter.service.formats.frame_scoring"}
_TRAINING = {"AnomalyDetector": "kilter.estimator", "scan": "kilter.learning", "train": "kilter.learning"}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    try:
        return getattr(import_module({**_FRAMES, **_TRAINING}.get(name, "kilter.service.detector")), name)
    except ImportError as error:
        if name not in _TRAINING:
            raise
        raise ImportError(f"kilter.{name} needs what trains models: pip install 'kilter[train]'") from error


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
