"""Synthetic records with the verdicts that a model must give them: replayed whenever the model is loaded."""

from typing import Any

import numpy as np

from kilter.service.detector.detector import Judge
from kilter.service.detector.manifest import Probes
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


def make_probes(judge: Judge, seed: int) -> Probes:
    """Probes with the verdicts that they get now; the most ordinary comes first, as the example that is shown."""
    records = probe_records(judge.modality.schema, seed)
    likeliest = int(np.argmax(judged_probes(records[:PLAIN], judge).p_values))
    return judged_probes([records.pop(likeliest), *records], judge)


def completed(records: list[dict[str, Any]], schema: Schema) -> list[dict[str, Any]]:
    """Records with a synthetic value in every field of the schema that they lack."""
    rng = np.random.default_rng(0)
    return [
        {column.name: record[column.name] if column.name in record else column.usual(rng) for column in schema.fields}
        for record in records
    ]


def judged_probes(records: list[dict[str, Any]], judge: Judge) -> Probes:
    """Records with the verdicts that they get now."""
    verdicts = judge.score(records)
    return Probes(records, verdicts.score.tolist(), verdicts.p_value.tolist(), verdicts.anomaly.tolist())
