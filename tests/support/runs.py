"""Training runs in memory, for the report and the model card."""

from typing import Any, NamedTuple

import numpy as np

from kilter.service.detector import Schema
from kilter.service.detector.inputs import Table
from kilter.training.baselines import Baseline, Comparison
from kilter.training.diagnostics import Diagnosis
from kilter.training.evaluate import evaluate
from kilter.training.history import Epoch
from kilter.training.run import Latent, Run, Scored
from kilter.training.suspects import find_suspects
from tests.support import detectors


class Decided(NamedTuple):
    """A decision about a column."""

    name: str
    kind: str
    why: str


def run(*, labelled: bool, schema: Schema = detectors.SCHEMA, notes: tuple[str, ...] = (), **training: Any) -> Run:
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
    return Run(
        manifest=detector.manifest,
        decisions=(
            *(Decided(column.name, "left out", column.reason) for column in schema.left_out),
            *(Decided(name, "some kind", "looks like it") for name in schema.names),
        ),
        history=[Epoch(50 * i, 20 - i, 15 - i, 0.5 * i, i - 25.0) for i in range(1, 10)],
        detector=detector,
        calibration_scores=detector.calibration.scores,
        evaluation=evaluate(detector, judged, anomalous if labelled else None, seed=0),
        held_out=scored(held_out),
        anomalies=scored(anomalies) if labelled else None,
        latent=Latent(latent, detector.score(judged).score, anomalous),
        notes=list(notes),
        comparison=(
            Comparison((Baseline("Kilter", 0.95, 0.85), Baseline("nearest neighbour", 0.93, 0.8)), "labels", 800, 150)
            if labelled
            else None
        ),
        diagnosis=Diagnosis(
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
        ),
        suspects=find_suspects(fitted.scores, np.arange(fitted.table.rows), detector.calibration),
        fitted=fitted,
    )
