"""How the fields of the fitting rows are spread, for the service to compare its traffic with."""

from typing import Any

import numpy as np
import numpy.typing as npt

from kilter.service.detector.columns import Feature
from kilter.service.detector.modality import Modality
from kilter.service.detector.reference import BINS, EDGES, SHARES, histogram, unseen_from


def reference_tensors(modality: Modality, x: npt.NDArray[np.float32]) -> dict[str, npt.NDArray[Any]]:
    """The tensors of `detector.reference` from what is watched of the fitting rows, x of shape (n, ...).

    What is not comparable has only two bins, there and missing: live traffic of an hour never looks like all hours.
    """
    edges = np.empty((len(modality.watched), BINS), np.float32)
    for row, watched in zip(edges, modality.watched, strict=True):
        row[:] = unseen_from(watched.feature)
        if watched.comparable:
            inner = _inner(watched.feature, x[:, watched.position])
            row[: len(inner)] = inner
    shares = histogram(x[:, [watched.position for watched in modality.watched]], edges) / len(x)
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
