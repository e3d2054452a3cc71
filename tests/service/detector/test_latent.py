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
from kilter.service.detector.latent import FARTHEST, LatentSpace
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
    able = LatentSpace(latent._modality, latent._program, _entry(6), "the model x")
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
    still = LatentSpace(latent._modality, latent._program, _entry(latent.size), "the model x")
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
