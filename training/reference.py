"""How the fields of the fitting rows are spread, for the service to compare its traffic with."""

from typing import Any

import numpy as np
import numpy.typing as npt

from kilter.service.detector.reference import BINS, EDGES, SHARES, first_features, histogram, unseen_from
from kilter.service.detector.schema import Feature, Schema, TimestampColumn


def reference_tensors(schema: Schema, x: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[Any]]:
    """The tensors of `detector.reference` from the encoded fitting rows, (n, features), as a scorer has them:
    of pictures only what is watched of them.

    A timestamp has only two bins, there and missing: live traffic of an hour never looks like all hours.
    """
    first = first_features(schema)
    edges = np.empty((len(first), BINS), np.float32)
    for row, (position, feature) in zip(edges, first.items(), strict=True):
        row[:] = unseen_from(feature)
        if not isinstance(schema.columns[feature.column], TimestampColumn):
            inner = _inner(feature, x[:, position])
            row[: len(inner)] = inner
    shares = histogram(x[:, list(first)], edges) / len(x)
    return {EDGES: edges, SHARES: shares}


def _inner(feature: Feature, values: npt.NDArray[np.float32]) -> npt.NDArray[Any]:
    """At most BINS - 1 ascending edges: between the values where there are few of them, else at their deciles."""
    present = values[~np.isnan(values)]
    distinct = np.unique(present)
    if feature.kind == "flag":
        return np.array([0.5])
    if len(distinct) <= BINS:
        return distinct[:-1] + np.diff(distinct) / 2
    return np.unique(np.quantile(present, np.arange(1, BINS) / BINS, method="higher"))
