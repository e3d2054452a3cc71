"""Synthetic records with the verdicts that a model must give them: replayed whenever the model is loaded."""

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from kilter.service.detector.artifact import Probes
from kilter.service.detector.calibration import Calibration
from kilter.service.detector.encode import restore
from kilter.service.detector.groups import Groups, judge
from kilter.service.detector.schema import (
    BooleanColumn,
    CategoricalColumn,
    Column,
    ImageColumn,
    NumericColumn,
    Schema,
    TimestampColumn,
)
from kilter.service.detector.scorer import Scorer
from kilter.training.pictures import made_up

PLAIN = 16
"""Records drawn column by column from the schema's statistics; no training record is among them."""
ODD = 8
"""Records of the same kind with one cell made odd each: out of range, of an unseen level, missing, or noise."""
SPAN = 7 * 24 * 60
"""Minutes over which the times of probes are spread."""


def probe_records(schema: Schema, seed: int) -> list[dict[str, Any]]:
    """Synthetic records, as JSON holds them: PLAIN ones, and then odd ones."""
    rng = np.random.default_rng(seed)
    records = [{column.name: _usual(column, rng) for column in schema.fields} for _ in range(PLAIN + ODD)]
    # Drawn column by column a record may well be strange: one has all its numbers in the middle.
    records[0] |= {column.name: _at(column, 0.0) for column in schema.fields if isinstance(column, NumericColumn)}
    for record in records[PLAIN:]:
        column = schema.columns[rng.integers(len(schema.columns))]
        record[column.name] = _odd(column, rng)
    return records


def make_probes(scorer: Scorer, calibration: Calibration, seed: int, groups: Groups | None = None) -> Probes:
    """Probes with the verdicts that they get now; the most ordinary comes first, as the example that is shown."""
    records = probe_records(scorer.schema, seed)
    likeliest = int(np.argmax(judged(records[:PLAIN], scorer, calibration, groups).p_values))
    return judged([records.pop(likeliest), *records], scorer, calibration, groups)


def completed(records: list[dict[str, Any]], schema: Schema) -> list[dict[str, Any]]:
    """Records with a synthetic value in every field of the schema that they lack."""
    rng = np.random.default_rng(0)
    return [
        {column.name: record[column.name] if column.name in record else _usual(column, rng) for column in schema.fields}
        for record in records
    ]


def judged(
    records: list[dict[str, Any]], scorer: Scorer, calibration: Calibration, groups: Groups | None = None
) -> Probes:
    """Given records with the verdicts that they get now."""
    scores = scorer.score(records)
    verdicts = judge(scores.score, scores.table, calibration, groups)
    return Probes(records, scores.score.tolist(), verdicts.p_value.tolist(), verdicts.anomaly.tolist())


def _usual(column: Column, rng: np.random.Generator) -> Any:
    match column:
        case NumericColumn():
            return _at(column, rng.normal())
        case BooleanColumn():
            return bool(rng.integers(2))
        case CategoricalColumn():
            if not column.levels:
                return None
            counts = np.array(column.counts, float)
            return column.levels[rng.choice(len(counts), p=counts / counts.sum())]
        case TimestampColumn():
            return _time(column, int(rng.integers(SPAN)))
        case ImageColumn():
            return made_up.usual(column, rng)


def _odd(column: Column, rng: np.random.Generator) -> Any:
    if isinstance(column, ImageColumn):
        return made_up.odd(column, rng)
    if rng.random() < 0.3:
        return None
    match column:
        case NumericColumn():
            far = column.maximum + 5 * (column.maximum - column.minimum or 1.0)
            return _number(column, float(np.clip(far, -3e38, 3e38)))
        case CategoricalColumn():
            return "a level that no training record has"
        case _:
            return None


def _at(column: NumericColumn, standard: float) -> float | int:
    """The number that lies so many standard deviations from the middle, within what training saw."""
    return _number(column, float(np.clip(restore(column, standard), column.minimum, column.maximum)))


def _number(column: NumericColumn, value: float) -> float | int:
    if column.integer and abs(value) < 2**53:
        return round(value)
    return float(f"{value:.6g}")


def _time(column: TimestampColumn, minutes: int) -> Any:
    time = datetime(2024, 1, 1, tzinfo=UTC) + timedelta(minutes=minutes)
    match column.format:
        case "unix_s":
            return int(time.timestamp())
        case "unix_ms":
            return int(time.timestamp()) * 1000
        case "iso":
            return time.replace(tzinfo=None).isoformat()
        case form:
            return time.strftime(form)
