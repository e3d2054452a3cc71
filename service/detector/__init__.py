"""The detector: what an artifact is and how it scores.

`load` a model, `Detector.score` records. Nothing here imports a web framework, Prometheus, pandas or scikit-learn, and
torch only where a torch network is really built.
"""

from kilter.service.detector.calibration import Calibration
from kilter.service.detector.detector import Detector, load
from kilter.service.detector.errors import (
    ArtifactError,
    KilterError,
    PictureError,
    Problem,
    RecordsError,
    SeenRowsWarning,
)
from kilter.service.detector.modalities.pictures import Box, Region
from kilter.service.detector.modalities.tables import Reason
from kilter.service.detector.nearest_normal import Change, NearestNormal
from kilter.service.detector.schema import Schema
from kilter.service.detector.similar import Likeness
from kilter.service.detector.verdicts import Verdicts

__all__ = [
    "ArtifactError",
    "Box",
    "Calibration",
    "Change",
    "Detector",
    "KilterError",
    "Likeness",
    "NearestNormal",
    "PictureError",
    "Problem",
    "Reason",
    "RecordsError",
    "Region",
    "Schema",
    "SeenRowsWarning",
    "Verdicts",
    "load",
]
