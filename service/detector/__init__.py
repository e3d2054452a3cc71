"""The detector: what an artifact is and how it scores.

`load` a model, `Detector.score` records. Nothing here imports a web framework, Prometheus, pandas or scikit-learn, and
torch only where a torch network is really built.
"""

from service.detector.calibration import Calibration
from service.detector.detector import Detector, Verdicts, load
from service.detector.errors import ArtifactError, KilterError, Problem, RecordsError
from service.detector.reasons import Reason
from service.detector.schema import Schema

__all__ = [
    "ArtifactError",
    "Calibration",
    "Detector",
    "KilterError",
    "Problem",
    "Reason",
    "RecordsError",
    "Schema",
    "Verdicts",
    "load",
]
