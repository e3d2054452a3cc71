"""The kinds of records that a model is trained on: tables, pictures, and others to come.

Each is a subclass of `TrainingModality`, with an entry in `TRAINING_MODALITIES` under its name in
`detector.modalities.base`. Nothing else in training asks which one it has.
"""

import re
from abc import ABC, abstractmethod
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kilter.service.detector.arrays import Mask, Pixels, Positions
from kilter.service.detector.errors import KilterError
from kilter.service.detector.manifest import Manifest
from kilter.service.detector.modalities import modality_of
from kilter.service.detector.networks.base import Network
from kilter.service.detector.networks.pictures import PictureVAE
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.plugin import imported
from kilter.service.detector.schema import Schema
from kilter.training.data.pictures import holds_pictures, read_labelled_pictures, read_training_pictures
from kilter.training.data.source import LabelledRows, Progress, TrainingData, TrainingSource
from kilter.training.data.tables import read_labelled_table, read_tables
from kilter.training.evaluation.baselines import MOST_ROWS, Simplification, one_hot, pasted, reduced, swapped
from kilter.training.evaluation.checkup import Examined, some
from kilter.training.evaluation.health import HealthMeasures
from kilter.training.fitting.diagnosis import Tolerance
from kilter.training.fitting.programs import Backbone
from kilter.training.reporting.gallery import gallery_of
from kilter.training.reporting.report import Sections, column_shares, strangest_rows
from kilter.training.reporting.run import Run

FITTED_ROWS = 20_000  # most fitting rows of a table that are scored to look for suspects; of more, a random sample
MOST_LATENT_ROWS = 2_000
CELLS = 4_000_000
"""At most `MOST_ROWS` rows of a label are tried, fewer where they are so wide that these would be more cells."""
PICTURES = (300, 2_000)
"""Most pictures of a kind that are examined, since the model takes milliseconds for each: fewer if they are large."""
FLOATS = 1 << 26  # most numbers of the encoded pictures of a kind
COMPARED_PICTURES = 500
LATENT_PICTURES = 500  # most pictures that are drawn in latent space, half of them anomalies
PRIOR_SAMPLES = 12


def spread(_: Network, seen: Tensor) -> float:
    """The variance of what is seen of records, (n, axes), all axes together."""
    return float(seen.var(0, correction=0).sum())


def sharpness(network: Any, seen: Tensor) -> float:
    """The variance of the Laplacian of standardised pictures as the network sees them, (n, values)."""
    pictures = seen.reshape(-1, 1, *network.shape.small)
    kernel = torch.tensor([[0.0, 1.0, 0.0], [1.0, -4.0, 1.0], [0.0, 1.0, 0.0]]).reshape(1, 1, 3, 3)
    return float(functional.conv2d(pictures, kernel).var((1, 2, 3)).mean())


class TrainingModality(ABC):
    """One kind of records, and all that training does differently for it."""

    kind: ClassVar[str]
    """The plural of a record, and the name of the template with what the report and the model card say of them."""
    measures: ClassVar[HealthMeasures]
    takes_backbone: ClassVar[bool] = False
    """Whether records may be judged by the features of a pretrained network."""
    has_columns: ClassVar[bool] = False
    """Whether records have columns of several kinds."""
    scan_score: ClassVar[str | None] = None
    """The score by which `kilter scan` judges a source's own records; None if it does not."""
    bounded_rows: ClassVar[int] = 500
    """Most rows by which the report bounds log p(x)."""

    @abstractmethod
    def accepts(self, source: TrainingSource) -> bool:
        """Whether a source is of this modality."""

    @abstractmethod
    def read(self, source: TrainingSource, backbone: Backbone | None, progress: Progress) -> TrainingData:
        """Read and type a source. Raises KilterError for whatever cannot be used."""

    @abstractmethod
    def read_labelled(self, source: TrainingSource, manifest: Manifest) -> LabelledRows:
        """Read files or folders by the schema of a model, with labels: by default those of the training, if any.

        Raises KilterError if the files or labels cannot be used.
        """

    @abstractmethod
    def examined(self, rows: Examined, schema: Schema, seed: int) -> Examined:
        """As many of the rows as there is time and memory to examine a model by."""

    @abstractmethod
    def simplification(self, schema: Schema) -> Simplification:
        """How simple detectors see encoded rows."""

    @abstractmethod
    def latent_rows(self, order: Positions, anomalous: Mask) -> Positions:
        """The rows to draw in latent space, of those in a random order; `anomalous` says which rows are anomalies."""

    def worded(self, sentence: str) -> str:
        """A sentence about rows in the word for these records."""
        return sentence

    def samples(self, network: Any, seed: int) -> Pixels | None:
        """Pictures that a network makes of draws from its prior, if records are pictures."""
        return None

    @abstractmethod
    def sections(self, run: Run) -> Sections:
        """The parts of the report about single records."""


class TableTraining(TrainingModality):
    """Records of numbers, flags, categories and times, in files or in a frame."""

    kind = "tables"
    has_columns = True
    measures = HealthMeasures(Tolerance(gap=0.1, rise=0.02), 200, True, spread, least_detail=0.1)
    scan_score = "core"

    def accepts(self, source: TrainingSource) -> bool:
        return True

    def read(self, source: TrainingSource, backbone: Backbone | None, progress: Progress) -> TrainingData:
        return read_tables(source)

    def read_labelled(self, source: TrainingSource, manifest: Manifest) -> LabelledRows:
        return read_labelled_table(source, manifest.schema, manifest.training)

    def examined(self, rows: Examined, schema: Schema, seed: int) -> Examined:
        return rows._replace(fitted=some(rows.fitted, FITTED_ROWS, seed))

    def simplification(self, schema: Schema) -> Simplification:
        features = schema.features()
        width = sum(max(feature.levels, 1) for feature in features)
        most = int(np.clip(CELLS // width, 250, MOST_ROWS))
        return Simplification(
            most, most, partial(one_hot, features), partial(swapped, features), "swapped fields", True
        )

    def latent_rows(self, order: Positions, anomalous: Mask) -> Positions:
        return np.sort(order[:MOST_LATENT_ROWS])

    def sections(self, run: Run) -> Sections:
        strange, suspicious = (strangest_rows(run.judge, rows) for rows in (run.held_out, run.fitted))
        return Sections(strange, suspicious, column_shares(run))


class PictureTraining(TrainingModality):
    """Pictures in folders, or in arrays."""

    kind = "pictures"
    # A pixel of a picture without its noise is worth many nats; drawn ones all have noise.
    measures = HealthMeasures(Tolerance(gap=0.3, rise=0.1), 100, False, sharpness, least_detail=0.25)
    takes_backbone = True
    bounded_rows = 100

    def worded(self, sentence: str) -> str:
        return re.sub(r"\b(r|R)ow(s?)\b", lambda word: f"{'pP'[word[1] == 'R']}icture{word[2]}", sentence)

    def accepts(self, source: TrainingSource) -> bool:
        return any(isinstance(path, Path) and holds_pictures(path) for path in source.paths)

    def read(self, source: TrainingSource, backbone: Backbone | None, progress: Progress) -> TrainingData:
        """Pictures at the size that the backbone takes, which is tried before anything is fitted."""
        if backbone is None:
            return read_training_pictures(source, progress)
        data = read_training_pictures(backbone.sized(source), progress)
        column = _column(data.draft)
        backbone.shape(column.height, column.width)
        return replace(data, notes=(*data.notes, backbone.note))

    def read_labelled(self, source: TrainingSource, manifest: Manifest) -> LabelledRows:
        return read_labelled_pictures(source, manifest.schema, manifest.training)

    def examined(self, rows: Examined, schema: Schema, seed: int) -> Examined:
        most = int(np.clip(FLOATS // schema.width, *PICTURES))
        return Examined(*(some(part, most, seed) for part in rows))

    def simplification(self, schema: Schema) -> Simplification:
        column = _column(schema)
        tried = COMPARED_PICTURES
        return Simplification(MOST_ROWS, tried, partial(reduced, column), partial(pasted, column), "pasted parts")

    def latent_rows(self, order: Positions, anomalous: Mask) -> Positions:
        parts = (order[anomalous[order] == odd][: LATENT_PICTURES // 2] for odd in (False, True))
        return np.sort(np.concatenate([*parts]))

    @torch.no_grad()
    def samples(self, network: PictureVAE, seed: int) -> Pixels:
        """(PRIOR_SAMPLES, height, width, channels). They have no light of their own: each goes from black to white."""
        generator = torch.Generator().manual_seed(seed)
        pictures = network.small_pictures(network.decode(network.sample(PRIOR_SAMPLES, generator)))
        low, high = pictures.amin((1, 2, 3), keepdim=True), pictures.amax((1, 2, 3), keepdim=True)
        shade = (pictures - low) / (high - low).clamp(min=1e-6)
        pixels: Pixels = (255 * shade).round().byte().permute(0, 2, 3, 1).numpy()
        return pixels

    def sections(self, run: Run) -> Sections:
        return Sections(gallery=gallery_of(run, _column(run.judge.modality.schema)))


def _column(schema: Schema) -> ImageColumn:
    """The column of a schema of pictures."""
    return cast("ImageColumn", schema.columns[0])


TRAINING_MODALITIES: dict[str, str | type[TrainingModality]] = {"image": PictureTraining, "table": TableTraining}
"""Name to the class or its place; the first that accepts a source is taken."""


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
