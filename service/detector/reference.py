"""Histograms of the fields of the fitting rows, which training stores and a service compares its traffic with."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from kilter.service.detector.arrays import Array, Floats, Matrix, Positions
from kilter.service.detector.columns import Feature
from kilter.service.detector.errors import ArtifactError
from kilter.service.detector.modalities.base import Modality

EDGES = "reference.edges"
SHARES = "reference.shares"  # names of two tensors of an artifact; one without them is served without drift
BINS = 10
UNREACHED = float(np.finfo(np.float32).max)  # an edge that no feature reaches


class Reference(NamedTuple):
    """A histogram per field that is watched; a value falls into the bin that is the number of edges <= it."""

    edges: Matrix
    """(fields, BINS), ascending. Bin BINS holds levels that training never saw."""
    shares: Floats | None
    """(fields, BINS + 2): share of the fitting rows in each bin, the last being that of missing values."""
    rows: int


def histogram(x: Matrix, edges: Matrix) -> Positions:
    """How many values of x, (n, columns), fall into each bin: (columns, BINS + 2), the last being the missing."""
    ones = np.ones(len(x), np.float32)  # a product with ones adds up a mask four times as fast as its own sum does
    masks = [*(x >= edge for edge in np.ascontiguousarray(edges.T)), np.isnan(x)]
    reached = np.stack([ones @ mask.astype(np.float32) for mask in masks])
    missing = reached[-1]
    steps = np.concatenate([[len(x) - missing], reached[:-1], [np.zeros_like(missing)]])
    return np.concatenate([steps[:-1] - steps[1:], [missing]]).T.astype(np.int64)


def reference_tensors(modality: Modality, figures: Matrix) -> dict[str, Array]:
    """The tensors of the reference of the fitting rows, from their figures, (n, ...).

    A field that is not comparable, as an hour of live traffic is to all hours, has two bins: present and missing.
    """
    edges = np.empty((len(modality.watched), BINS), np.float32)
    for row, watched in zip(edges, modality.watched, strict=True):
        row[:] = unseen_from(watched.feature)
        if watched.comparable:
            inner = _inner(watched.feature, figures[:, watched.position])
            row[: len(inner)] = inner
    shares = histogram(figures[:, [watched.position for watched in modality.watched]], edges) / len(figures)
    return {EDGES: edges, SHARES: shares}


def _inner(feature: Feature, values: Matrix) -> Array:
    """At most BINS - 1 ascending edges: between the values where there are few of them, else at their deciles."""
    if feature.kind == "flag":
        return np.array([0.5])
    present = values[~np.isnan(values)]
    distinct = np.unique(present)
    if len(distinct) <= BINS:
        return distinct[:-1] + np.diff(distinct) / 2
    return np.unique(np.quantile(present, np.arange(1, BINS) / BINS, method="higher"))


def unseen_from(feature: Feature) -> float:
    """The edge above which a feature's value is a level that training never saw."""
    return feature.levels - 0.5 if feature.kind == "level" else UNREACHED


def reference_of(modality: Modality, tensors: Mapping[str, Array]) -> Reference:
    """The reference in an artifact's tensors; without them, one of missing and unseen values. Raises ArtifactError."""
    features = [watched.feature for watched in modality.watched]
    rows = modality.schema.rows
    if EDGES not in tensors and SHARES not in tensors:
        edges = [[unseen_from(feature)] * BINS for feature in features]
        return Reference(np.array(edges, np.float32).reshape(-1, BINS), None, rows)
    for name, width in ((EDGES, BINS), (SHARES, BINS + 2)):
        shape = tensors[name].shape if name in tensors else None
        if shape != (len(features), width):
            raise ArtifactError(f"tensor {name!r} has shape {shape}, the schema asks for {(len(features), width)}")
    if (np.diff(tensors[EDGES], axis=1) < 0).any() or not np.allclose(tensors[SHARES].sum(axis=1), 1):
        raise ArtifactError(f"{EDGES!r} and {SHARES!r} are no histograms: edges ascend, and shares add up to 1")
    return Reference(tensors[EDGES], tensors[SHARES], rows)
