"""Reference histograms: how the fitting rows are spread, by kind of column."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import ArtifactError, Detector, load
from kilter.service.detector.artifact import TENSORS
from kilter.service.detector.columns import NumericColumn
from kilter.service.detector.inputs import from_records
from kilter.service.detector.modalities import modality_of
from kilter.service.detector.modalities.tables import TableModality
from kilter.service.detector.reference import BINS, EDGES, SHARES, histogram, reference_of, reference_tensors
from kilter.service.detector.schema import Schema
from tests.support.artifacts import rewritten
from tests.support.data import records


def numeric(values: list[float]) -> tuple[np.ndarray, np.ndarray]:
    """Edges and shares of one numeric column."""
    schema = Schema(columns=(NumericColumn("x", 0.0, 1.0, -1.0, 1.0),), rows=len(values))
    found = reference_tensors(modality_of(schema), np.array(values, np.float32)[:, None])
    return found[EDGES][0], found[SHARES][0]


@given(st.lists(st.floats(-1e6, 1e6, width=32) | st.just(float("nan")), min_size=1, max_size=200))
def test_shares_add_up_whatever_the_values(values: list[float]) -> None:
    """Edges ascend, the last bin is that of missing values, and none of a number is unseen."""
    edges, shares = numeric(values)
    assert (np.diff(edges) >= 0).all()
    assert shares.sum() == pytest.approx(1)
    assert shares[-1] == pytest.approx(np.isnan(values).mean())
    assert shares[BINS] == 0


def test_many_values_are_divided_at_their_deciles() -> None:
    """Each bin has a tenth."""
    _, shares = numeric(np.random.default_rng(0).normal(size=5_000).tolist())
    np.testing.assert_allclose(shares[:BINS], 0.1, atol=0.001)


def test_few_values_have_a_bin_each() -> None:
    """However rare they are."""
    _, shares = numeric([0.0] * 990 + [1.0] * 7 + [5.0] * 3)
    np.testing.assert_allclose(shares[:3], [0.99, 0.007, 0.003])


def test_a_trained_model_holds_the_reference_of_its_fitting_rows(detector: Detector) -> None:
    """Of a timestamp only whether it is there, and unseen levels in a bin of their own."""
    reference = detector.reference
    assert reference.shares is not None
    assert reference.rows == detector.schema.rows
    names = [column.name for column in detector.schema.columns]
    shares = dict(zip(names, reference.shares, strict=True))
    assert shares["at"][0] == 1
    assert 0.01 < shares["pressure"][-1] < 0.1
    np.testing.assert_allclose(shares["product"][:3], [0.6, 0.3, 0.1], atol=0.08)
    strange = [record | {"product": "anvil"} for record in records(np.random.default_rng(1), 10)]
    x = TableModality(detector.schema).matrix(from_records(detector.schema, strange))
    found = histogram(x[:, : len(names)], reference.edges)
    assert found[names.index("product")][BINS] == 10


def test_a_reference_that_does_not_fit_is_refused(detector: Detector) -> None:
    """With the tensor's name; one that is not there is no fault."""
    good = {EDGES: detector.reference.edges, SHARES: detector.reference.shares}
    modality = detector.modality
    assert reference_of(modality, {}).shares is None
    for wrong in ({EDGES: good[EDGES]}, good | {SHARES: np.zeros((2, 3))}, good | {EDGES: -detector.reference.edges}):
        with pytest.raises(ArtifactError, match=r"reference\."):
            reference_of(modality, {name: array for name, array in wrong.items() if array is not None})


def test_an_artifact_without_one_is_served(model_folder: Path, tmp_path: Path) -> None:
    """It tells no drift, and all else."""
    import msgspec
    import safetensors.numpy

    def without(content: bytes) -> bytes:
        tensors = safetensors.numpy.load(content)
        return safetensors.numpy.save({name: t for name, t in tensors.items() if not name.startswith("reference.")})

    def manifest(content: bytes) -> bytes:
        found = msgspec.json.decode(content)
        found["tensors"] = {n: shape for n, shape in found["tensors"].items() if not n.startswith("reference.")}
        return msgspec.json.encode(found)

    folder = rewritten(model_folder / "1", tmp_path / "1", {TENSORS: without, "manifest.json": manifest})
    assert load(folder).reference.shares is None
