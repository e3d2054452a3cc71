"""One training run as its report and model card see it: everything that happened, and nothing that acts."""

from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from kilter.service.detector import Detector
from kilter.service.detector.artifact import Manifest
from kilter.service.detector.inputs import Table
from kilter.training.baselines import Comparison
from kilter.training.diagnostics import Diagnosis
from kilter.training.evaluation import Evaluation
from kilter.training.history import Epoch
from kilter.training.suspects import Suspects

Floats = npt.NDArray[np.float64]


class Decision(Protocol):
    """What was decided about one column of the training files."""

    @property
    def name(self) -> str: ...
    @property
    def kind(self) -> str: ...
    @property
    def why(self) -> str: ...


@dataclass(frozen=True)
class Scored:
    """Rows and their scores, (n,); NaN for a row with a problem."""

    table: Table
    scores: Floats
    rows: npt.NDArray[np.int64] | None = None
    """Where each row stands in the training files, from 0, if that is known."""


@dataclass(frozen=True)
class Latent:
    """The posterior means of some rows, (rows, L), their scores, (rows,), and whether each is a labelled anomaly."""

    means: Floats
    scores: Floats
    anomalous: npt.NDArray[np.bool_]
    table: Table | None = None
    """The rows themselves, where they are pictures."""


@dataclass(frozen=True)
class Pictured:
    """What the report of an image model shows besides."""

    names: tuple[str, ...]
    """What the pictures of the training data are called, by their rows."""
    normal: Scored
    """Normal pictures that the network did not see."""
    fresh: bool
    """Whether those served nothing else; they are the calibration pictures otherwise."""
    prior: npt.NDArray[np.uint8]
    """Pictures that the network makes of draws from its prior, (n, height, width, channels)."""


@dataclass(frozen=True)
class Run:
    """What the report and the model card are written from."""

    manifest: Manifest
    decisions: tuple[Decision, ...]
    """One for every column of the training files, in their order, those left out included."""
    history: list[Epoch]
    detector: Detector
    calibration_scores: Floats
    """Shape (n,), in any order."""
    evaluation: Evaluation
    held_out: Scored | None = None
    """Normal rows that neither fitting nor calibration saw."""
    anomalies: Scored | None = None
    latent: Latent | None = None
    notes: list[str] = field(default_factory=list)
    """What the user should know first, each a plain sentence."""
    comparison: Comparison | None = None
    """How simple detectors do on the same rows, if that was tried."""
    diagnosis: Diagnosis | None = None
    suspects: Suspects | None = None
    fitted: Scored | None = None
    """The fitting rows in which suspects were looked for."""
    pictured: Pictured | None = None
    """None for a table."""

    @property
    def warnings(self) -> list[str]:
        """What needs attention, the most important first, each a sentence with what to do about it."""
        warning = self.comparison.warning if self.comparison else None
        diagnosed = self.diagnosis.notes if self.diagnosis else ()
        suspected = self.suspects.notes if self.suspects else ()
        return [*([warning] if warning else []), *diagnosed, *suspected]
