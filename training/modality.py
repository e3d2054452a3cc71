"""What a training is about: tables, pictures, and what may come, chosen once by the source or by the model.

It mirrors the detector's modalities (`detector.modalities.base`): a subclass of `TrainingModality`, and an entry in
`TRAINING_MODALITIES`. Nothing else in training asks which one it has.
"""

from abc import ABC, abstractmethod
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, cast

import numpy as np
import torch

from kilter.service.detector.arrays import Mask, Pixels, Positions
from kilter.service.detector.errors import KilterError
from kilter.service.detector.manifest import Manifest
from kilter.service.detector.modalities import modality_of
from kilter.service.detector.networks.pictures import PictureVAE
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.plugin import imported
from kilter.service.detector.schema import Schema
from kilter.training.data.pictures import holds_pictures, read_labelled_pictures, read_training_pictures
from kilter.training.data.source import LabelledRows, Progress, TrainingData, TrainingSource
from kilter.training.data.tables import read_labelled_table, read_tables
from kilter.training.evaluation.baselines import ROWS, SIDE, Simplification, one_hot, pasted, reduced, swapped
from kilter.training.evaluation.checkup import Examined, some
from kilter.training.fitting.backbone import Backbone
from kilter.training.fitting.diagnosis import Tolerance
from kilter.training.reporting.gallery import gallery_of
from kilter.training.reporting.report import Sections, column_shares, strangest_rows
from kilter.training.reporting.run import Run, Subject, inline

FITTED_ROWS = 20_000
"""Most fitting rows of a table that are scored to look for suspects; of more, a random sample."""
LATENT_ROWS = 2_000
"""Most rows of a table whose place in latent space is drawn."""
CELLS = 4_000_000
"""At most `ROWS` rows of a label are tried, fewer where they are so wide that they would hold more cells than this."""
PICTURES = 2_000
"""Most pictures of a kind that are looked at: the model takes milliseconds for each."""
FLOATS = 1 << 26
"""Most numbers of the encoded pictures of a kind; of larger ones, down to `LEAST`, fewer are looked at."""
LEAST = 300
TRIED = 500
"""Most pictures of a label on which detectors are compared."""
LATENT_PICTURES = 500
"""Most pictures whose place in latent space is drawn, half of them anomalies."""
SAMPLES = 12
"""Draws from the prior."""


class TrainingModality(ABC):
    """See the module."""

    tolerance: ClassVar[Tolerance]
    """What of a fit is no cause for concern."""
    takes_backbone: ClassVar[bool] = False
    """Whether records may be judged by the features of a pretrained network."""
    remedies_collapse: ClassVar[bool] = True
    """Whether a collapsed posterior is a fault where features depend on one another."""

    @abstractmethod
    def accepts(self, source: TrainingSource) -> bool:
        """Whether a source is of this modality."""

    @abstractmethod
    def read(self, source: TrainingSource, backbone: Backbone | None, progress: Progress) -> TrainingData:
        """Read and type a source. Raises KilterError for whatever cannot be used."""

    @abstractmethod
    def read_labelled(
        self, path: Path, manifest: Manifest, label: str | None, normal: str | None, group_by: str | None
    ) -> LabelledRows:
        """Read a file by the schema of a model, with its labels if it has any, and the column `group_by` besides.

        A label and its normal value that are not given are those of the training, if the file has them. Raises
        KilterError if the file or its labels cannot be used.
        """

    @abstractmethod
    def examined(self, rows: Examined, schema: Schema, seed: int) -> Examined:
        """Of the rows by which a model may be examined, so many as there is time and memory for."""

    @abstractmethod
    def simplification(self, schema: Schema) -> Simplification:
        """What encoded rows are to simple detectors."""

    @abstractmethod
    def latent_rows(self, order: Positions, anomalous: Mask) -> Positions:
        """Of rows in random order, and whether each is an anomaly, those whose place in latent space is drawn."""

    def samples(self, network: Any, seed: int) -> Pixels | None:
        """Pictures that a network makes of draws from its prior, if records are pictures."""
        return None

    @abstractmethod
    def subject(self, schema: Schema) -> Subject:
        """The words of the report and of the model card."""

    @abstractmethod
    def sections(self, run: Run) -> Sections:
        """What the report shows of single records."""


class TableTraining(TrainingModality):
    """Records of numbers, flags, categories and times, in files or in a frame."""

    tolerance = Tolerance(gap=0.1, rise=0.02)

    def accepts(self, source: TrainingSource) -> bool:
        return True

    def read(self, source: TrainingSource, backbone: Backbone | None, progress: Progress) -> TrainingData:
        return read_tables(source)

    def read_labelled(
        self, path: Path, manifest: Manifest, label: str | None, normal: str | None, group_by: str | None
    ) -> LabelledRows:
        return read_labelled_table(path, manifest.schema, manifest.training, label, normal, group_by)

    def examined(self, rows: Examined, schema: Schema, seed: int) -> Examined:
        return rows._replace(fitted=some(rows.fitted, FITTED_ROWS, seed))

    def simplification(self, schema: Schema) -> Simplification:
        features = schema.features()
        width = sum(max(feature.levels, 1) for feature in features)
        most = int(np.clip(CELLS // width, 250, ROWS))
        return Simplification(
            fitted=most,
            tried=most,
            design=lambda x: one_hot(x, features),
            spoilt=lambda x, rng: swapped(x, features, rng),
            basis="swapped fields",
        )

    def latent_rows(self, order: Positions, anomalous: Mask) -> Positions:
        return np.sort(order[:LATENT_ROWS])

    def subject(self, schema: Schema) -> Subject:
        count = len(schema.columns)
        named = ", ".join(f"`{inline(column.name)}`" for column in schema.columns)
        return Subject(
            kind="tables",
            learned=f"{schema.rows:,} records with {count} columns",
            seen=f"It looks at {count} columns: {named}.",
            fit=f"A record has all {count} columns above; a missing value is sent as null.",
            limits=(
                "Values beyond the range of the training rows and levels that it never saw raise the score; that is "
                "meant, and it means that a legitimate new level is flagged until the model is trained anew.",
                "The reasons that it gives are the columns that add most to the score, not causes.",
            ),
            divided="The rows were divided at random. If they have an order in time, neighbours stand on both sides "
            "and the figures above are too good.",
            simplified="For the simple detectors a missing value is the mean, and levels are one-hot.",
            held="The artifact also holds, for each column, its range and its levels as they stood in the training "
            "rows, and the sorted scores of the calibration rows. The report shows single records.",
            left_out=schema.left_out,
        )

    def sections(self, run: Run) -> Sections:
        return Sections(
            strange=strangest_rows(run.judge, run.held_out),
            suspicious=strangest_rows(run.judge, run.fitted),
            shares=column_shares(run),
        )


class PictureTraining(TrainingModality):
    """Pictures in folders, or in arrays."""

    # A pixel of a picture without its noise is worth many nats.
    tolerance = Tolerance(gap=0.3, rise=0.1)
    takes_backbone = True
    remedies_collapse = False

    def accepts(self, source: TrainingSource) -> bool:
        return any(map(holds_pictures, source.paths))

    def read(self, source: TrainingSource, backbone: Backbone | None, progress: Progress) -> TrainingData:
        """Pictures at the size that the backbone takes, which is tried before anything is fitted."""
        if backbone is None:
            return read_training_pictures(source, progress)
        data = read_training_pictures(backbone.sized(source), progress)
        column = _column(data.draft)
        backbone.shape(column.height, column.width)
        return replace(data, notes=(*data.notes, backbone.note))

    def read_labelled(
        self, path: Path, manifest: Manifest, label: str | None, normal: str | None, group_by: str | None
    ) -> LabelledRows:
        if group_by is not None:
            raise KilterError(f"--group-by {group_by}: pictures have no columns by which they could be grouped")
        schema = manifest.schema
        return read_labelled_pictures(path, schema, _column(schema), manifest.training, label, normal)

    def examined(self, rows: Examined, schema: Schema, seed: int) -> Examined:
        most = int(np.clip(FLOATS // schema.width, LEAST, PICTURES))
        return Examined(*(some(part, most, seed) for part in rows))

    def simplification(self, schema: Schema) -> Simplification:
        column = _column(schema)
        return Simplification(
            fitted=ROWS,
            tried=TRIED,
            design=lambda x: reduced(x, column),
            spoilt=lambda x, rng: pasted(x, column, rng),
            basis="pasted parts",
        )

    def latent_rows(self, order: Positions, anomalous: Mask) -> Positions:
        parts = (order[anomalous[order] == odd][: LATENT_PICTURES // 2] for odd in (False, True))
        return np.sort(np.concatenate([*parts]))

    @torch.no_grad()
    def samples(self, network: PictureVAE, seed: int) -> Pixels:
        """(SAMPLES, height, width, channels). They have no light of their own: each goes from black to white."""
        generator = torch.Generator().manual_seed(seed)
        pictures = network.small_pictures(network.decode(network.sample(SAMPLES, generator)))
        low, high = pictures.amin((1, 2, 3), keepdim=True), pictures.amax((1, 2, 3), keepdim=True)
        shade = (pictures - low) / (high - low).clamp(min=1e-6)
        pixels: Pixels = (255 * shade).round().byte().permute(0, 2, 3, 1).numpy()
        return pixels

    def subject(self, schema: Schema) -> Subject:
        column = _column(schema)
        colours = "grey" if column.channels == 1 else "in colour"
        size = f"{column.height} x {column.width} pixels (height x width), {colours}"
        return Subject(
            kind="pictures",
            learned=f"{schema.rows:,} pictures, each brought to {size}",
            seen=f"It looks at pictures of {size}; larger and smaller ones are stretched to that, whatever their "
            "proportions.",
            fit="A picture shows the same thing from the same place in the same light.",
            limits=(
                f"What is lost when a picture is brought to {column.height} x {column.width} pixels it cannot see: a "
                "defect needs to be some pixels large at that size.",
                "Another camera, light, distance or crop raises the score of every picture; that is meant, and it "
                "means that the model is to be trained anew, or calibrated, when these change.",
                "The regions that it gives are where a picture is unlike the training pictures, not causes.",
            ),
            divided="The pictures were divided at random. If some overlap or follow closely on one another, "
            "near-duplicates stand on both sides and the figures above are too good.",
            simplified=f"The simple detectors see pictures reduced to at most {SIDE} x {SIDE} pixels.",
            held="The artifact also holds histograms of the training pictures' brightness, contrast and sharpness, and "
            "the sorted scores of the calibration pictures. The report shows single pictures.",
        )

    def sections(self, run: Run) -> Sections:
        return Sections(gallery=gallery_of(run, _column(run.judge.modality.schema)))


def _column(schema: Schema) -> ImageColumn:
    """The one column of a schema of pictures."""
    return cast("ImageColumn", schema.columns[0])


TRAINING_MODALITIES: dict[str, str | type[TrainingModality]] = {"image": PictureTraining, "table": TableTraining}
"""Name, as in `detector.modalities.base`, to the class or its place; the first that accepts a source is taken."""


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
