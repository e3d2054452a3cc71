"""Codes of records, and records of codes: what both promise, for tables and for pictures."""

from base64 import b64decode
from io import BytesIO
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kilter.service.detector import ArtifactError, Detector, KilterError, RecordsError, load
from kilter.service.detector.latent import FARTHEST, LatentSpace, Slope, between
from tests.support.artifacts import ARTIFACTS, rebuilt, rewritten
from tests.support.data import records

ROWS = records(np.random.default_rng(3), 40)


def test_a_code_does_not_depend_on_the_batch(detector: Detector) -> None:
    """To the digits that it has, alone and among others."""
    codes = detector.encode(ROWS)
    assert codes.shape == (40, detector.manifest.network.code)
    np.testing.assert_allclose(np.concatenate([detector.encode(row) for row in ROWS]), codes, atol=2e-6)
    assert np.array_equal(codes, codes.round(6))


def test_a_reconstruction_is_the_decoded_code(detector: Detector, digits_detector: Detector) -> None:
    """Of records and of pictures; drawn by a seed it is the same each time, and another one by another seed."""
    pictures = digits_detector.decode(np.random.default_rng(0).normal(size=(4, digits_detector.latent.size)))
    cases: list[tuple[Detector, Any]] = [(detector, ROWS), (digits_detector, pictures)]
    for model, rows in cases:
        codes = model.encode(rows)
        assert np.array_equal(model.reconstruct(rows), model.decode(codes))
        assert np.array_equal(model.reconstruct(rows, seed=4), model.decode(codes, seed=4))
        assert not np.array_equal(model.decode(codes, seed=4), model.decode(codes, seed=5))
        assert not np.array_equal(model.decode(codes, seed=4), model.decode(codes))


def test_decoded_records_are_records_of_the_model(detector: Detector) -> None:
    """They are scored without a word, and have the fields, levels and ranges of the fitting rows."""
    drawn = detector.decode(3 * np.random.default_rng(1).normal(size=(300, detector.latent.size)), seed=1)
    assert not np.isnan(detector.score(drawn).score).any()
    for column in detector.schema.columns:
        values = [record[column.name] for record in drawn if record[column.name] is not None]
        if column.extremes is not None:
            assert column.extremes[0] <= min(values) <= max(values) <= column.extremes[1]
    assert {record["product"] for record in drawn} <= {"bolt", "nut", "washer", None}
    assert all(isinstance(record["count"], int) for record in drawn if record["count"] is not None)
    missing = sum(record["pressure"] is None for record in drawn)
    assert 2 <= missing <= 40  # of 300, as in about 5 % of the fitting rows
    assert all(value is not None for record in detector.decode(detector.encode(ROWS)) for value in record.values())


def test_pictures_keep_their_light(digits_detector: Detector) -> None:
    """A code with another brightness is another picture of the same shape."""
    latent, size = digits_detector.latent, digits_detector.manifest.network.latent
    code = np.zeros(latent.size)
    code[size:] = 0.3, 0.1
    dark, light = digits_detector.decode([code, code + np.eye(latent.size)[size] * 0.4])
    assert dark.dtype == np.uint8
    np.testing.assert_allclose(light.astype(int) - dark, 0.4 * 255, atol=1.01)
    record = digits_detector.modality.records(digits_detector.modality.read(dark))[0]
    [(name, text)] = record.items()
    assert name == digits_detector.schema.names[0]
    assert np.array_equal(np.asarray(Image.open(BytesIO(b64decode(text)))), dark[..., 0])


@given(st.integers(1, 5), st.integers(1, 40), st.sampled_from([np.nan, np.inf, 2 * FARTHEST]))
def test_what_is_no_code_is_refused(rows: int, width: int, value: float) -> None:
    """By the number of its numbers, or by the row that holds one that is none."""
    latent = load(ARTIFACTS / "format-2").latent
    with pytest.raises(KilterError, match="train it again"):
        latent.read(np.zeros((rows, width)))
    able = LatentSpace(latent.modality, latent._program, _entry(6), "the model x")
    if width != 6:
        with pytest.raises(KilterError, match=rf"a code of the model x has 6 numbers, and these are {rows} x {width}"):
            able.read(np.zeros((rows, width)))
    codes = np.zeros((rows, 6))
    assert able.read(codes).shape == (rows, 6)
    codes[-1, 2] = value
    with pytest.raises(KilterError, match=rf"code {rows - 1} holds a number that is missing, or beyond"):
        able.read(codes)
    with pytest.raises(KilterError, match="codes are rows of 6 numbers"):
        able.read([["a"] * 6, [1.0]])


def _entry(code: int, noise: int = 0) -> Any:
    manifest = load(ARTIFACTS / "format-2").manifest
    return msgspec.structs.replace(manifest.network, code=code, noise=noise)


def test_a_model_without_the_programs_says_what_to_do() -> None:
    """Those of formats 1 and 2 that were written before."""
    for name in ("format-1", "format-2", "format-1-pictures"):
        old = load(ARTIFACTS / name)
        for work in (old.encode, old.reconstruct):
            with pytest.raises(KilterError, match="kept no encoder and decoder for this: train it again"):
                work(old.probes.records[:1])
        with pytest.raises(KilterError, match="train it again"):
            old.decode([[0.0]])


def test_a_network_that_cannot_draw_says_so(detector: Detector) -> None:
    """Where a seed asks for it, and not otherwise."""
    latent = detector.latent
    still = LatentSpace(latent.modality, latent._program, _entry(latent.size), "the model x")
    with pytest.raises(KilterError, match="cannot draw values: leave the seed out"):
        still.decode(np.zeros((1, latent.size)), np.random.default_rng(0))


def test_records_that_do_not_fit_are_all_named(detector: Detector) -> None:
    """As by `score`."""
    rows = [ROWS[0], ROWS[1] | {"count": "many"}, ROWS[2] | {"more": 1}]
    for work in (detector.encode, detector.reconstruct):
        with pytest.raises(RecordsError, match=r"record 1, field 'count'.*\n.*record 2, field 'more'"):
            work(rows)


def test_the_rebuilt_network_gives_the_same_codes_and_records(model_folder: Path, detector: Detector) -> None:
    """As the exported programs do."""
    other = rebuilt(model_folder / "1")
    again = LatentSpace(other.modality, other.scorer.program, other.manifest.network, "it")
    codes = detector.encode(ROWS)
    np.testing.assert_allclose(again.encode(detector.table(ROWS)), codes, atol=1e-5)
    left, right = again.decode(codes), detector.latent.decode(codes)
    assert left.columns["product"].tolist() == right.columns["product"].tolist()
    np.testing.assert_allclose(left.columns["temperature"], right.columns["temperature"], rtol=1e-4)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (b'"code": 16', b'"code": 15', "a code has 15 numbers, and the program 'encode' gives 16"),
        (b'"noise": 24', b'"noise": 23', "the program 'decode' cannot be run on codes of 16 numbers and 23 of noise"),
    ],
)
def test_programs_that_do_not_fit_the_manifest_are_refused_at_once(
    old: bytes, new: bytes, message: str, model_folder: Path, tmp_path: Path
) -> None:
    """When a model is loaded, and not when it is to encode."""

    def change(content: bytes) -> bytes:
        assert old in content
        return content.replace(old, new)

    with pytest.raises(ArtifactError, match=message):
        load(rewritten(model_folder / "1", tmp_path / "1", {"manifest.json": change}))


@given(st.integers(2, 30), st.integers(0, 2**32))
def test_a_way_is_straight_and_has_both_ends(steps: int, seed: int) -> None:
    """In equal steps."""
    first, last = np.random.default_rng(seed).normal(size=(2, 5)).round(6)
    codes = between(first, last, steps)
    assert np.array_equal(codes[[0, -1]], [first, last])
    np.testing.assert_allclose(np.diff(codes, axis=0), np.tile((last - first) / (steps - 1), (steps - 1, 1)), atol=3e-6)
    np.testing.assert_allclose(between(last, first, steps)[::-1], codes, atol=2e-6)


@given(st.integers(0, 2**32), st.integers(1, 5))
def test_a_slope_is_that_of_least_squares(seed: int, parts: int) -> None:
    """However many parts the rows come in; between two groups it is the difference of their means."""
    rng = np.random.default_rng(seed)
    values, change = rng.normal(3, 2, 60), rng.normal(size=4)
    codes = values[:, None] * change + rng.normal(size=(60, 4))
    groups = (np.arange(60) % 3 == 0).astype(float)
    slope, two = Slope(4), Slope(4)
    for rows in np.array_split(np.arange(60), parts):
        slope.add(codes[rows], values[rows])
        two.add(codes[rows], groups[rows])
    assert slope.deviation == pytest.approx(values.std())
    np.testing.assert_allclose(slope.per_deviation(), np.polyfit(values, codes, 1)[0] * values.std())
    np.testing.assert_allclose(two.difference(), codes[groups == 1].mean(0) - codes[groups == 0].mean(0))


def test_records_on_a_way_go_from_one_end_to_the_other(detector: Detector, digits_detector: Detector) -> None:
    """The ends are the reconstructions, and what lies between has values between."""
    records = detector.interpolate(ROWS[0], ROWS[1], steps=9)
    assert records[0] == detector.reconstruct(ROWS[0])[0]
    assert records[-1] == detector.reconstruct(ROWS[1])[0]
    pictures = digits_detector.decode(np.random.default_rng(0).normal(size=(2, digits_detector.latent.size)))
    assert digits_detector.interpolate(pictures[0], pictures[1], steps=4).shape == (4, 8, 8, 1)
    for first, last, steps in ((ROWS[0], ROWS[:2], 5), (ROWS[0], ROWS[1], 1), ([], ROWS[1], 3)):
        with pytest.raises(KilterError, match="from one record to another, in two steps or more"):
            detector.interpolate(first, last, steps=steps)


def test_an_edit_moves_records_along_a_direction(detector: Detector) -> None:
    """The direction from cool rows to warm ones makes a row warmer, and its opposite cooler; by 0 nothing happens."""
    cool, warm = ([row for row in ROWS if (row["temperature"] > 70) == which] for which in (False, True))
    direction = detector.direction(cool, warm)
    at = {strength: detector.edit(ROWS, direction, strength) for strength in (-2, 0, 2)}
    assert at[0] == detector.reconstruct(ROWS)
    means = [np.mean([row["temperature"] for row in at[strength]]) for strength in (-2, 0, 2)]
    assert means[0] < means[1] - 0.2 < means[2] - 0.4
    with pytest.raises(KilterError, match="a code of the model plant has 16 numbers"):
        detector.edit(ROWS, [1.0, 2.0])


def test_a_record_on_its_way_begins_where_it_is_and_ends_moved(detector: Detector, digits_detector: Detector) -> None:
    """In as many steps as are wanted."""
    direction = detector.direction(ROWS[:3], ROWS[3:])
    way = detector.edit(ROWS[0], direction, 1.5, steps=4)
    assert len(way) == 4
    assert way[0] == detector.reconstruct(ROWS[0])[0]
    assert way[-1] == detector.edit(ROWS[0], direction, 1.5)[0]
    shift = np.full(digits_detector.latent.size, 0.1)
    assert digits_detector.edit(digits_detector.decode(shift), shift, steps=3).shape[0] == 3
    for data, steps in ((ROWS[:2], 3), (ROWS[:1], 1)):
        with pytest.raises(KilterError, match="one record is shown on its way, in two steps or more"):
            detector.edit(data, direction, steps=steps)


def test_a_direction_along_groups_is_that_between_them(detector: Detector) -> None:
    """What is not known is left out; numbers lead to a standard deviation more."""
    flags = np.array([False, False, False, *[True] * (len(ROWS) - 3)])
    np.testing.assert_allclose(detector.direction(ROWS, along=flags), detector.direction(ROWS[:3], ROWS[3:]), atol=1e-9)
    numbers = np.arange(len(ROWS), dtype=float)
    once = detector.direction(ROWS, along=numbers)
    np.testing.assert_allclose(detector.direction(ROWS, along=3 * numbers + 1), once, atol=1e-9)
    lacking = np.where(numbers == 1, np.nan, numbers)
    rest = [row for i, row in enumerate(ROWS) if i != 1]
    np.testing.assert_allclose(
        detector.direction(ROWS, along=lacking), detector.direction(rest, along=np.delete(numbers, 1)), atol=1e-9
    )
    wrong: list[tuple[dict[str, Any], str]] = [
        ({}, "give one of the two"),
        ({"target": ROWS, "along": numbers}, "give one of the two"),
        ({"along": numbers[:2]}, "one value for each of"),
        ({"along": np.ones(len(ROWS))}, "no direction where all known values are the same"),
    ]
    for arguments, words in wrong:
        with pytest.raises(KilterError, match=words):
            detector.direction(ROWS, **arguments)
