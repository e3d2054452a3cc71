"""Synthetic records with the verdicts that a model must give them: replayed whenever the model is loaded."""

from typing import Any

import numpy as np

from kilter.service.detector.artifact import Probes
from kilter.service.detector.calibration import Calibration
from kilter.service.detector.detector import Scorer
from kilter.service.detector.groups import Groups, judge
from kilter.service.detector.schema import Schema

PLAIN = 16
"""Records drawn column by column from the schema's statistics; no training record is among them."""
ODD = 8
"""Records of the same kind with one cell made odd each: out of range, of an unseen level, missing, or noise."""


def probe_records(schema: Schema, seed: int) -> list[dict[str, Any]]:
    """Synthetic records, as JSON holds them: PLAIN ones, and then odd ones."""
    rng = np.random.default_rng(seed)
    records = [{column.name: column.usual(rng) for column in schema.fields} for _ in range(PLAIN + ODD)]
    # Drawn column by column a record may well be strange: one has all its numbers in the middle.
    middle = {column.name: column.central() for column in schema.fields}
    records[0] |= {name: value for name, value in middle.items() if value is not None}
    for record in records[PLAIN:]:
        column = schema.columns[rng.integers(len(schema.columns))]
        record[column.name] = column.odd(rng)
    return records


def make_probes(scorer: Scorer, calibration: Calibration, seed: int, groups: Groups | None = None) -> Probes:
    """Probes with the verdicts that they get now; the most ordinary comes first, as the example that is shown."""
    records = probe_records(scorer.modality.schema, seed)
    likeliest = int(np.argmax(judged(records[:PLAIN], scorer, calibration, groups).p_values))
    return judged([records.pop(likeliest), *records], scorer, calibration, groups)


def completed(records: list[dict[str, Any]], schema: Schema) -> list[dict[str, Any]]:
    """Records with a synthetic value in every field of the schema that they lack."""
    rng = np.random.default_rng(0)
    return [
        {column.name: record[column.name] if column.name in record else column.usual(rng) for column in schema.fields}
        for record in records
    ]


def judged(
    records: list[dict[str, Any]], scorer: Scorer, calibration: Calibration, groups: Groups | None = None
) -> Probes:
    """Given records with the verdicts that they get now."""
    scores = scorer.score(records)
    verdicts = judge(scores.score, scores.table, calibration, groups)
    return Probes(records, scores.score.tolist(), verdicts.p_value.tolist(), verdicts.anomaly.tolist())
