"""Training on pictures."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch

from kilter.service.detector.columns import Feature, ImageColumn
from kilter.service.detector.errors import KilterError
from kilter.service.detector.manifest import Manifest
from kilter.service.detector.networks.pictures import PictureVAE
from kilter.service.detector.schema import Schema
from kilter.training.data.decoding import Progress
from kilter.training.data.pictures import holds_pictures, read_labelled_pictures, read_pictures
from kilter.training.data.source import LabelledRows, TrainingData, TrainingSource
from kilter.training.evaluation.baselines import ROWS, SIDE, Simplification, pasted, reduced
from kilter.training.evaluation.checkup import Examined, some
from kilter.training.fitting.backbone import Backbone
from kilter.training.fitting.diagnosis import Tolerance
from kilter.training.modality import TrainingModality
from kilter.training.reporting.gallery import gallery_of
from kilter.training.reporting.report import Sections
from kilter.training.reporting.run import Pictured, Run, Scored
from kilter.training.reporting.words import Subject

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


class PictureTraining(TrainingModality):
    """Pictures in folders, or in arrays."""

    # A pixel of a picture without its noise is worth many nats.
    tolerance = Tolerance(gap=0.3, rise=0.1)

    def accepts(self, source: TrainingSource) -> bool:
        return any(map(holds_pictures, source.paths))

    def check_backbone(self, source: TrainingSource) -> None:
        pass

    def read(self, source: TrainingSource, backbone: Backbone | None, progress: Progress) -> TrainingData:
        """Pictures at the size that the backbone takes, which is tried before anything is fitted."""
        if backbone is None:
            return read_pictures(source, progress)
        data = read_pictures(backbone.sized(source), progress)
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

    def dependent_features(self, schema: Schema) -> tuple[Feature, ...]:
        return ()

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

    def latent_rows(self, order: npt.NDArray[np.int64], anomalous: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        parts = (order[anomalous[order] == odd][: LATENT_PICTURES // 2] for odd in (False, True))
        return np.sort(np.concatenate([*parts]))

    def pictured(self, data: TrainingData, network: PictureVAE, normal: Scored, *, fresh: bool, seed: int) -> Pictured:
        return Pictured(data.names, normal, fresh, prior_pictures(network, SAMPLES, seed))

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
        gallery = None if run.pictured is None else gallery_of(run, run.pictured, _column(run.judge.modality.schema))
        return Sections(gallery=gallery)


def _column(schema: Schema) -> ImageColumn:
    """The one column of a schema of pictures."""
    return cast("ImageColumn", schema.columns[0])


@torch.no_grad()
def prior_pictures(network: PictureVAE, count: int, seed: int) -> npt.NDArray[np.uint8]:
    """What a network makes of draws from its prior, as large as it sees pictures: (count, height, width, channels).

    They have no light of their own: each goes from black to white.
    """
    generator = torch.Generator().manual_seed(seed)
    pictures = network.small_pictures(network.decode(network.sample(count, generator)))
    low, high = pictures.amin((1, 2, 3), keepdim=True), pictures.amax((1, 2, 3), keepdim=True)
    shade = (pictures - low) / (high - low).clamp(min=1e-6)
    pixels: npt.NDArray[np.uint8] = (255 * shade).round().byte().permute(0, 2, 3, 1).numpy()
    return pixels
