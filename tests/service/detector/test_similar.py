"""Known records that are like others are the nearest ones, with their fields and where they stand."""

from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import ArtifactError, Detector, KilterError, RecordsError, load
from kilter.service.detector.artifact import read_artifact
from kilter.service.detector.scores.base import rebuild
from kilter.service.detector.scores.memory import Memory
from kilter.service.detector.similar import (
    DECIMALS,
    ORIGIN_FILES,
    ORIGIN_ROWS,
    Origins,
    SimilaritySearch,
    nearest_points,
    origin_of,
    origin_tensors,
    origins_of,
)
from tests.support.artifacts import ARTIFACTS, rebuilt
from tests.support.data import records
from tests.support.digits import shuffled

ROWS = records(np.random.default_rng(5), 12)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 12), st.integers(0, 2**32 - 1))
def test_nearest_points_are_those_of_all_distances(size: int, count: int, k: int, seed: int) -> None:
    """In their order; of points of one distance the first come first."""
    rng = np.random.default_rng(seed)
    known = rng.integers(-3, 4, (size, 3)).astype(np.float32)
    points = rng.integers(-3, 4, (count, 3)).astype(np.float32)
    k = min(k, size)
    distances, positions = nearest_points(points, known, k)
    exact = np.sqrt(((points[:, None] - known) ** 2).sum(axis=2)).round(DECIMALS)
    np.testing.assert_allclose(distances, np.sort(exact, axis=1)[:, :k], atol=10.0**-DECIMALS)
    np.testing.assert_allclose(distances, np.take_along_axis(exact, positions, axis=1), atol=10.0**-DECIMALS)
    assert all(len(set(row)) == k for row in positions.tolist())


@given(
    st.lists(st.tuples(st.integers(0, 10**9), st.integers(0, 2), st.text(st.characters(exclude_characters="\0")))),
    st.booleans(),
    st.booleans(),
)
def test_origins_come_back(stated: list[tuple[int, int, str]], several: bool, named: bool) -> None:
    """With files where there are several, and names of pictures, whatever is in these."""
    if not stated:
        return
    rows, file, names = (list(part) for part in zip(*stated, strict=True))
    files = ["a.csv", "b.csv", "c.csv"] if several else ["a.csv"]
    tensors = origin_tensors(np.array(rows), np.array(file) if several else None, names if named else None)
    origins = origins_of(tensors, files, len(rows))
    for i, (row, place, name) in enumerate(stated):
        wanted = (row, files[place] if several else "a.csv", name if named else None)
        assert origin_of(origins, i) == wanted
    assert origins_of({}, files, 3) is None
    assert origin_of(None, 0) == (None, None, None)
    with pytest.raises(ArtifactError, match="not as many as"):
        origins_of(tensors, files, len(rows) + 1)


def test_a_file_that_is_not_there_is_refused() -> None:
    tensors = origin_tensors(np.arange(2), np.array([0, 2]), None)
    assert tensors.keys() == {ORIGIN_ROWS, ORIGIN_FILES}
    with pytest.raises(ArtifactError, match="files that the manifest does not name"):
        origins_of(tensors, ["a", "b"], 2)


def test_a_row_of_the_training_finds_itself(detector: Detector, training_csv: Path) -> None:
    """By its number, at no distance, with its own fields, missing ones included; times come back as far as seen."""
    frame = pl.read_csv(training_csv).drop("id")
    assert detector.similarity.memory is not None
    assert isinstance(detector.similarity.memory.origins, Origins)
    remembered = set(detector.similarity.memory.origins.rows.tolist())
    rows = [row for row in range(200) if row in remembered]
    assert len(rows) > 100
    given = frame[rows].to_dicts()
    for row, record, near in zip(rows, given, detector.similar(given, 3), strict=True):
        first = near[0]
        assert first.distance < 2e-3
        assert [one.distance for one in near] == sorted(one.distance for one in near)
        if first.row != row:
            continue  # a copy of it, but for its identifier
        assert first.file == training_csv.name
        assert first.record is not None
        for name in ("temperature", "pressure"):
            assert first.record[name] == pytest.approx(record[name], abs=1e-3)
        assert (first.record["product"], first.record["count"]) == (record["product"], record["count"])
    found = [near[0].row for near in detector.similar(given, 1)]
    assert np.mean(np.array(found) == rows) > 0.95


def test_the_nearest_is_that_of_the_score(detector: Detector, model_folder: Path) -> None:
    """The distance to it is the first measure of the memory by which a record is scored."""
    content = read_artifact(model_folder / "1")
    module = rebuild(content.manifest.network, content.manifest.score)
    module.load_state_dict({name: torch.from_numpy(array) for name, array in content.state.items()})
    memory = module.score.memory
    assert isinstance(memory, Memory)
    points = torch.from_numpy(detector.similarity.points(detector.table(ROWS)))
    wanted = memory.measure(("nearest",), points, memory.find(points, None), None)[:, 0].exp().numpy()
    made = np.array([near[0].distance for near in detector.similar(ROWS, 1)])
    # The score looks for the nearest row in some of the axes first, so that it may miss one that is a little nearer.
    assert (made <= wanted * 1.001 + 1e-3).all()
    assert np.median(made / wanted) > 0.98


def test_given_records_are_looked_among(detector: Detector) -> None:
    """In the same space; they are numbered as they come."""
    near = detector.similar(ROWS[3], 2, among=ROWS)
    assert [(one[0].row, one[0].distance, one[0].file) for one in near] == [(3, 0.0, None)]
    assert near[0][0].record is not None
    assert near[0][0].record["temperature"] == ROWS[3]["temperature"]
    assert len(detector.similar(ROWS[0], 50, among=ROWS[:4])[0]) == 4
    with pytest.raises(KilterError, match="no known records"):
        detector.similar(ROWS[0], among=[])


def test_pictures_are_found_by_their_names(digits_detector: Detector) -> None:
    """The picture itself first, of those that are remembered."""
    pictures = shuffled()[:40]
    near = digits_detector.similar(pictures, 2)
    names = [one[0].name for one in near]
    assert np.mean([name == f"{i // 10:02d}/{i:04d}.png" for i, name in enumerate(names)]) > 0.6
    assert all(one[0].record is None for one in near)
    itself = digits_detector.similar(pictures[:3], 1, among=pictures)
    assert [(one[0].row, one[0].name, one[0].distance) for one in itself] == [(i, None, 0.0) for i in range(3)]


@pytest.mark.parametrize("k", [0, 101])
def test_how_many_are_shown_is_bounded(k: int, detector: Detector) -> None:
    with pytest.raises(KilterError, match="from 1 to 100"):
        detector.similar(ROWS, k)


def test_what_cannot_be_told_is_said(detector: Detector) -> None:
    """Of a model from before there was the program, of a score without a memory, and of a record that does not fit."""
    early = load(ARTIFACTS / "format-2")
    for among in (None, early.probes.records):
        with pytest.raises(KilterError, match=r"train (the model|it) again"):
            early.similar(early.probes.records[:1], among=among)
    programs = {name: file for name, file in detector.manifest.programs.items() if name != "place"}
    elbo = msgspec.structs.replace(detector.manifest.score, kind="elbo", name="elbo")
    old = msgspec.structs.replace(detector.manifest.score, kind="combined")
    for changes, words in (
        ({"programs": programs}, "holds no program 'place', by which records are compared: train the model again"),
        ({"score": old, "programs": programs}, "holds no program 'place'"),
        ({"score": elbo}, "remembers no whole records, since its score is elbo"),
    ):
        manifest = msgspec.structs.replace(detector.manifest, **changes)
        search = SimilaritySearch(detector.modality, detector.scorer.program, detector.latent, manifest)
        with pytest.raises(KilterError, match=words):
            search.find(detector.table(ROWS), 1)
    with pytest.raises(RecordsError, match="temperature"):
        detector.similar(ROWS[0] | {"temperature": "x"})


def test_a_model_at_another_rate_knows_the_same(detector: Detector) -> None:
    assert detector.at_rate(0.1).similar(ROWS[:2]) == detector.similar(ROWS[:2])


def test_a_gpu_compares_in_the_same_space(detector: Detector, model_folder: Path) -> None:
    """The torch network, rebuilt from the artifact, gives the points that the program gives."""
    table = detector.table(ROWS)
    again = rebuilt(model_folder / "1").scorer.program.run(next(detector.modality.encode(table)), ("point",))[0]
    np.testing.assert_allclose(again, detector.similarity.points(table), atol=1e-3)


def test_a_program_that_does_not_fit_is_refused(detector: Detector) -> None:
    """When the model is loaded, and not at the first request."""
    search = SimilaritySearch(detector.modality, detector.scorer.program, detector.latent, detector.manifest)
    memory = detector.similarity.memory
    assert memory is not None
    search.memory = memory._replace(points=memory.points[:, 1:])
    size = memory.points.shape[1]
    with pytest.raises(
        ArtifactError, match=f"a remembered row has {size - 1} axes, and the program 'place' gives {size}"
    ):
        search.audit(detector.table(ROWS))
