"""The rows that a score remembers are records of the training."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import ArtifactError, Detector, load
from kilter.service.detector.columns import Feature
from kilter.service.detector.exemplars import ROWS, SCALE, Exemplars, exemplars_of
from tests.support.artifacts import ARTIFACTS

FEATURES = (
    Feature(0, "level", 3),
    Feature(1, "gaussian"),
    Feature(2, "gaussian"),
    Feature(2, "gaussian"),
    Feature(3, "flag"),
    Feature(4, "level", 2),
)


def dense(x: list[float]) -> list[float]:
    """Dense features of an encoded record of `FEATURES`."""
    levels = [float(x[0] == code) for code in range(3)] + [float(x[5] == code) for code in range(2)]
    return [*x[1:4], 2 * x[4] - 1, *levels]


records = st.tuples(
    st.integers(0, 2), st.floats(-3, 3), st.floats(-3, 3), st.floats(-3, 3), st.integers(0, 1), st.integers(0, 1)
).map(lambda values: [float(value) for value in values])


@given(st.lists(records, min_size=1, max_size=6), records, st.sets(st.integers(0, 4)))
def test_rows_come_back_and_distances_are_those_of_the_points(
    rows: list[list[float]], record: list[float], missing: set[int]
) -> None:
    """Column by column, as the scales weigh; what is missing or hidden is as near to one row as to another."""
    scale = np.linspace(0.5, 2.0, 9)
    points = np.array([[*dense(row), 7.0] for row in rows]) * np.append(scale, 1.0)
    exemplars = Exemplars(FEATURES, points.astype(np.float32), scale.astype(np.float32))
    assert len(exemplars) == len(rows)
    np.testing.assert_allclose(exemplars.encoded(np.arange(len(rows))), rows, atol=1e-5)
    x = np.array(record, np.float32)
    for i, feature in enumerate(FEATURES):
        if feature.column in missing:
            x[i] = np.nan if i % 2 else np.inf
    distances = exemplars.distances(x)
    column = np.array([1, 2, 2, 3, 0, 0, 0, 4, 4])
    step = np.square((np.array(dense(record)) - np.array([dense(row) for row in rows])) * scale)
    for i in range(5):
        wanted = 0 if i in missing else step[:, column == i].sum(axis=1)
        np.testing.assert_allclose(distances[:, i], wanted, rtol=1e-4, atol=1e-4)


def test_a_model_knows_rows_of_its_training(detector: Detector, training_csv: Path) -> None:
    """Nearly all that it remembers are scored as normal, and their values are those of the file."""
    assert detector.exemplars is not None
    table = detector.modality.decode(detector.exemplars.encoded(np.arange(len(detector.exemplars))))
    assert detector.score(table).anomaly.mean() < 0.1
    file = pl.read_csv(training_csv)
    temperature = table.columns["temperature"][:, None]
    assert (np.abs(temperature - file["temperature"].to_numpy()).min(axis=1) < 1e-3).all()
    assert {*table.columns["product"]} <= {*file["product"]}


@pytest.mark.parametrize(("name", "there"), [("format-1", True), ("format-2", True), ("format-1-pictures", False)])
def test_models_of_before_have_them_as_well(name: str, there: bool) -> None:
    """Where their score remembers rows of a table."""
    exemplars = load(ARTIFACTS / name).exemplars
    assert (exemplars is not None) == there
    assert exemplars is None or np.isfinite(exemplars.encoded(np.arange(len(exemplars)))).all()


@pytest.mark.parametrize(("points", "scale"), [((2, 8), (9,)), ((2, 9), (8,)), ((9,), (9,)), ((2, 9), (9, 1))])
def test_tensors_of_another_schema_are_refused(points: tuple[int, ...], scale: tuple[int, ...]) -> None:
    """Both are named."""
    with pytest.raises(ArtifactError, match=r"score.memory.rows.*asks for 9 dense features"):
        exemplars_of(FEATURES, {ROWS: np.zeros(points), SCALE: np.ones(scale)})


def test_without_the_tensors_there_are_none() -> None:
    """As of a score that remembers nothing."""
    assert exemplars_of(FEATURES, {ROWS: np.zeros((2, 9))}) is None
    assert exemplars_of(FEATURES, {SCALE: np.zeros(9)}) is None
