"""Rows that are the same once they are encoded: no two parts of a split share one, and a promise counts it once."""

from collections.abc import Iterable, Iterator
from hashlib import blake2b

import numpy as np

from kilter.service.detector.arrays import Matrix, Positions
from kilter.service.detector.inputs import Table, take
from kilter.service.detector.modalities import modality_of
from kilter.service.detector.modalities.base import Modality
from kilter.training.data.source import TrainingData
from kilter.training.fitting.split import fit_schema

CHUNK = 8192  # rows that are encoded together
DIGEST = 16  # bytes of a digest, of which no two rows that differ will ever have the same


def identities(encoded: Iterable[Matrix]) -> Positions:
    """The number of each encoded row, (n,): rows that are the same have one, and numbers count up as rows appear.

    `encoded` are matrices, (some rows, features). All NaN are the same, and so are 0 and -0.
    """
    numbers: dict[bytes, int] = {}
    same = []
    for part in encoded:
        rows = np.ascontiguousarray(part, np.float32) + np.float32(0)
        rows[np.isnan(rows)] = np.nan
        same += [numbers.setdefault(blake2b(row, digest_size=DIGEST).digest(), len(numbers)) for row in rows]
    return np.array(same, np.int64)


def table_identities(modality: Modality, table: Table, rows: Positions) -> Positions:
    """The identities of some rows of a table, as a modality encodes them, (rows,)."""

    def encoded() -> Iterator[Matrix]:
        for start in range(0, len(rows), CHUNK):
            yield from modality.encode(take(table, rows[start : start + CHUNK]))

    return identities(encoded())


def normal_identities(data: TrainingData) -> Positions:
    """The identities of the normal rows, (normal rows,).

    Rows are compared as they are encoded with the statistics of all of them, since the fitting rows are not known yet.
    No model sees these statistics.
    """
    return table_identities(modality_of(fit_schema(data.draft, data.table, data.normal)), data.table, data.normal)


def first_of_each(same: Positions) -> Positions:
    """The position of the first row of each identity, ascending."""
    return np.sort(np.unique(same, return_index=True)[1])


def repeats_in_words(same: Positions) -> str | None:
    """How many rows repeat another one, and what follows, in a sentence; None if none does."""
    distinct = len(first_of_each(same))
    repeats = len(same) - distinct
    if not repeats:
        return None
    return (
        f"{repeats:,} of {len(same):,} normal records ({100 * repeats / len(same):.3g} %) repeat another one: "
        f"{distinct:,} differ. Fit, calibration and evaluation share none of them, and calibration counts each once."
    )
