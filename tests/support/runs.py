"""Training runs in memory, for the report and the model card."""

from typing import Any, NamedTuple

import msgspec
import numpy as np

from kilter.service.detector import Schema
from kilter.service.detector.findings import Baseline, DetectorComparison, Diagnosis, Epoch
from kilter.service.detector.inputs import Table
from kilter.service.detector.manifest import Manifest
from kilter.training.data.source import ColumnDecision
from kilter.training.evaluation.checkup import find_suspects
from kilter.training.evaluation.evaluate import evaluate_rows
from kilter.training.modality import modality_of_model
from kilter.training.reporting.report import model_card, report
from kilter.training.reporting.run import Latent, Run, Scored
from tests.support import detectors


class Made(NamedTuple):
    """A manifest and the run that it came from."""

    manifest: Manifest
    run: Run

    @property
    def page(self) -> str:
        """Its report."""
        modality = modality_of_model(self.manifest)
        return report(self.manifest, self.run, modality.kind, modality.sections(self.run))

    @property
    def card(self) -> str:
        """Its model card."""
        return model_card(self.manifest, self.run, modality_of_model(self.manifest).kind)

    def but(self, **fields: Any) -> "Made":
        """The same with other fields of the manifest's `training`."""
        training = msgspec.structs.replace(self.manifest.training, **fields)
        return self._replace(manifest=msgspec.structs.replace(self.manifest, training=training))


def run(*, labelled: bool, schema: Schema = detectors.SCHEMA, notes: tuple[str, ...] = (), **training: Any) -> Made:
    """A run with 800 held-out rows and, if `labelled`, 150 anomalies."""
    detector = detectors.detector(schema=schema, **training)
    held_out = detectors.rows(800, 5, schema=schema)
    anomalies = detectors.rows(150, 6, shift=3.0, schema=schema)
    judged = detectors.joined(held_out, anomalies) if labelled else held_out
    anomalous = np.arange(judged.rows) >= held_out.rows
    latent = np.random.default_rng(0).normal(size=(judged.rows, 5)) + 2.0 * anomalous[:, None]

    def scored(table: Table) -> Scored:
        return Scored(table, detector.score(table).score, np.arange(table.rows))

    fitted = scored(detectors.rows(500, 7, schema=schema))
    made = Run(
        judge=detector,
        decisions=(
            *(ColumnDecision(column.name, "left out", column.reason) for column in schema.left_out),
            *(ColumnDecision(name, "some kind", "looks like it") for name in schema.names),
        ),
        history=[Epoch(50 * i, 20 - i, 15 - i, 0.5 * i, i - 25.0) for i in range(1, 10)],
        evaluation=evaluate_rows(detector, judged, anomalous if labelled else None, seed=0),
        normal=scored(held_out),
        fresh=True,
        anomalies=scored(anomalies) if labelled else None,
        latent=Latent(latent, detector.score(judged).score, anomalous, judged),
        notes=notes,
        fitted=fitted,
    )
    detectors_tried = (Baseline("Kilter", 0.95, 0.85), Baseline("nearest neighbour", 0.93, 0.8))
    diagnosis = Diagnosis(
        latent=3,
        active_units=(2, 1),
        kl=(0.8, 0.3, 0.001),
        collapsed=False,
        remedy=None,
        elbo_fit=-4.0,
        elbo_new=-4.1,
        gap_error=0.05,
        best_step=400,
        last_step=450,
        steps=900,
        overfitted=False,
        underfitted=False,
        notes=(),
    )
    return Made(detector.manifest, made).but(
        evaluation=made.evaluation,
        comparison=DetectorComparison(detectors_tried, "labels", 800, 150) if labelled else None,
        diagnosis=diagnosis,
        suspects=find_suspects(fitted.scores, np.arange(fitted.table.rows), detector.calibration),
    )
