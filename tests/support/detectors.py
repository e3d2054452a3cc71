"""Detectors in memory, around a program that is plain arithmetic."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from kilter.service.detector import Calibration, Detector, Schema
from kilter.service.detector.arrays import Matrix
from kilter.service.detector.calibration import fit_tail
from kilter.service.detector.columns import CategoricalColumn, NumericColumn
from kilter.service.detector.detector import Scorer
from kilter.service.detector.inputs import Table
from kilter.service.detector.manifest import Probes
from kilter.service.detector.modalities import modality_of
from kilter.service.detector.schema import LeftOut
from tests.support.manifests import manifest

Floats = npt.NDArray[np.float64]

SCHEMA = Schema(
    columns=(
        NumericColumn("amount", center=0.0, scale=1.0, minimum=-4.0, maximum=4.0),
        NumericColumn("age", center=0.0, scale=1.0, minimum=-4.0, maximum=4.0, missing=3),
        CategoricalColumn("colour", levels=("red", "blue"), counts=(60, 40)),
    ),
    rows=100,
    left_out=(LeftOut("id", "its values are all different, like an identifier"),),
)


class Squares:
    """A program whose score is the sum of the squared features; every term is a square, and 0 is expected.

    A missing feature counts 1, and one that is hidden nothing.
    """

    device = "cpu"

    def run(self, x: Matrix, outputs: Sequence[str]) -> list[Floats]:
        squares = np.nan_to_num(x.astype(np.float64), nan=1.0, posinf=0.0) ** 2
        made = {
            "score": squares.sum(axis=1),
            "reconstruction": squares.sum(axis=1),
            "kl": np.full(len(x), 0.5),
            "terms": squares,
            "expected": np.zeros_like(squares),
        }
        return [made[name] for name in outputs]


def rows(count: int, seed: int, shift: float = 0.0, schema: Schema = SCHEMA) -> Table:
    """Rows of a schema with the kinds of `SCHEMA`: two Gaussian columns, moved by `shift`, and red or blue."""
    rng = np.random.default_rng(seed)
    values: list[npt.NDArray[Any]] = [
        rng.normal(shift, 1.0, count),
        rng.normal(shift / 2, 1.0, count),
        np.array(["red", "blue"], object)[rng.integers(2, size=count)],
    ]
    return Table(dict(zip(schema.names, values, strict=True)), count, [])


def joined(*tables: Table) -> Table:
    """Tables of one schema, one below the other, without their problems."""
    columns = {name: np.concatenate([table.columns[name] for table in tables]) for name in tables[0].columns}
    return Table(columns, sum(table.rows for table in tables), [])


def detector(
    target_fpr: float = 0.05,
    size: int = 199,
    seed: int = 0,
    schema: Schema = SCHEMA,
    *,
    tail: bool = False,
    **training: Any,
) -> Detector:
    """A detector of `Squares`, calibrated on `size` of `rows`; `training` goes into its manifest."""
    scores = Scorer(modality_of(schema), Squares()).score(rows(size, seed, schema=schema)).score
    return calibrated(scores, target_fpr, schema, tail=tail, **training)


def calibrated(
    scores: Floats, target_fpr: float, schema: Schema = SCHEMA, *, tail: bool = False, **training: Any
) -> Detector:
    """A detector of `Squares` with given calibration scores, and their fitted tail if it is to have one."""
    calibration = Calibration.of(scores, target_fpr, 6, fit_tail(np.round(scores, 6)) if tail else None)
    return Detector(manifest(schema, calibration, **training), Squares(), calibration, Probes([], [], [], []))
