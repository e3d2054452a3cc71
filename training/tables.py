"""Training on tables."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from kilter.service.detector.columns import Feature
from kilter.service.detector.errors import KilterError
from kilter.service.detector.manifest import Manifest
from kilter.service.detector.schema import Schema
from kilter.training.data.decoding import Progress
from kilter.training.data.source import LabelledRows, TrainingData, TrainingSource
from kilter.training.data.tables import read_labelled_table, read_tables
from kilter.training.evaluation.baselines import ROWS, Simplification, one_hot, swapped
from kilter.training.evaluation.checkup import Examined, some
from kilter.training.fitting.backbone import Backbone
from kilter.training.fitting.diagnosis import Tolerance
from kilter.training.modality import TrainingModality
from kilter.training.reporting.report import Sections, column_shares, strange_rows
from kilter.training.reporting.run import Run, Scored
from kilter.training.reporting.words import Subject, bullets, inline

FITTED_ROWS = 20_000
"""Most fitting rows that are scored to look for suspects; of more, a random sample."""
LATENT_ROWS = 2_000
"""Most rows whose place in latent space is drawn."""
CELLS = 4_000_000
"""At most `ROWS` rows of a label are tried, fewer where they are so wide that they would hold more cells than this."""


class TableTraining(TrainingModality):
    """Records of numbers, flags, categories and times, in files or in a frame."""

    tolerance = Tolerance(gap=0.1, rise=0.02)

    def accepts(self, source: TrainingSource) -> bool:
        return True

    def check_backbone(self, source: TrainingSource) -> None:
        raise KilterError(f"--backbone is for pictures, and {source.name} holds a table")

    def read(self, source: TrainingSource, backbone: Backbone | None, progress: Progress) -> TrainingData:
        return read_tables(source)

    def read_labelled(
        self, path: Path, manifest: Manifest, label: str | None, normal: str | None, group_by: str | None
    ) -> LabelledRows:
        return read_labelled_table(path, manifest.schema, manifest.training, label, normal, group_by)

    def dependent_features(self, schema: Schema) -> tuple[Feature, ...]:
        return schema.features()

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

    def latent_rows(self, order: npt.NDArray[np.int64], anomalous: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        return np.sort(order[:LATENT_ROWS])

    def pictured(self, data: TrainingData, network: Any, normal: Scored, *, fresh: bool, seed: int) -> None:
        return None

    def subject(self, schema: Schema) -> Subject:
        count = len(schema.columns)
        named = ", ".join(f"`{inline(column.name)}`" for column in schema.columns)
        left_out = [f"`{inline(column.name)}`: {column.reason}" for column in schema.left_out]
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
            left_out=bullets(left_out) if left_out else "None.",
        )

    def sections(self, run: Run) -> Sections:
        return Sections(
            strange=strange_rows(run.judge, run.held_out),
            suspicious=strange_rows(run.judge, run.fitted),
            shares=column_shares(run),
        )
