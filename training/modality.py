"""What a training is about: tables, pictures, and what may come, chosen once by the source or by the model.

It mirrors the detector's modalities (`detector.modality`): one module with a subclass of `TrainingModality`, and an
entry in `TRAINING_MODALITIES`. Nothing else in training asks which one it has.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from kilter.service.detector.columns import Feature
from kilter.service.detector.errors import KilterError
from kilter.service.detector.manifest import Manifest
from kilter.service.detector.modality import modality_of
from kilter.service.detector.plugin import imported
from kilter.service.detector.schema import Schema
from kilter.training.data.decoding import Progress
from kilter.training.data.source import LabelledRows, TrainingData, TrainingSource
from kilter.training.evaluation.baselines import Simplification
from kilter.training.evaluation.checkup import Examined
from kilter.training.fitting.backbone import Backbone
from kilter.training.fitting.diagnosis import Tolerance
from kilter.training.reporting.report import Sections
from kilter.training.reporting.run import Pictured, Run, Scored
from kilter.training.reporting.words import Subject

Positions = npt.NDArray[np.int64]


class TrainingModality(ABC):
    """See the module."""

    tolerance: ClassVar[Tolerance]
    """What of a fit is no cause for concern."""

    @abstractmethod
    def accepts(self, source: TrainingSource) -> bool:
        """Whether a source is of this modality."""

    @abstractmethod
    def check_backbone(self, source: TrainingSource) -> None:
        """Raise KilterError if a backbone is of no use for a source."""

    @abstractmethod
    def read(self, source: TrainingSource, backbone: Backbone | None, progress: Progress) -> TrainingData:
        """Read and type a source. Raises KilterError for whatever cannot be used."""

    @abstractmethod
    def read_labelled(
        self, path: Path, manifest: Manifest, label: str | None, normal: str | None, group_by: str | None
    ) -> LabelledRows:
        """Read a file by the schema of a model, with its labels if it has any.

        A label and its normal value that are not given are those of the training, if the file has them. The column
        `group_by` is read besides those of the schema. Raises KilterError if the file or its labels cannot be used.
        """

    @abstractmethod
    def dependent_features(self, schema: Schema) -> tuple[Feature, ...]:
        """The features of which some may depend on others; none where a collapsed posterior is no fault."""

    @abstractmethod
    def examined(self, rows: Examined, schema: Schema, seed: int) -> Examined:
        """Of the rows by which a model may be examined, so many as there is time and memory for."""

    @abstractmethod
    def simplification(self, schema: Schema) -> Simplification:
        """What encoded rows are to simple detectors."""

    @abstractmethod
    def latent_rows(self, order: Positions, anomalous: npt.NDArray[np.bool_]) -> Positions:
        """Of rows in random order, and whether each is an anomaly, those whose place in latent space is drawn."""

    @abstractmethod
    def pictured(self, data: TrainingData, network: Any, normal: Scored, *, fresh: bool, seed: int) -> Pictured | None:
        """What the report shows of pictures, if records are such; `normal` records served nothing else if `fresh`."""

    @abstractmethod
    def subject(self, schema: Schema) -> Subject:
        """The words of the report and of the model card."""

    @abstractmethod
    def sections(self, run: Run) -> Sections:
        """What the report shows of single records."""


TRAINING_MODALITIES: dict[str, str | type[TrainingModality]] = {
    "image": "kilter.training.pictures:PictureTraining",
    "table": "kilter.training.tables:TableTraining",
}
"""Name, as in `detector.modality`, to the class or its place; the first that accepts a source is taken."""


def modality_of_source(source: TrainingSource) -> TrainingModality:
    """The modality that a source is of. Raises KilterError if it is of none."""
    for entry in TRAINING_MODALITIES.values():
        modality = imported(entry)()
        if modality.accepts(source):
            return modality
    raise KilterError(f"{source.name} holds nothing that a model could be trained on")


def modality_of_model(manifest: Manifest) -> TrainingModality:
    """The modality of a model."""
    name = modality_of(manifest.schema, manifest.score.grid).name
    return imported(TRAINING_MODALITIES[name])()
