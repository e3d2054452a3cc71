"""Tests of `pictures.column`: pictures are judged as records are, whatever their form, and made up for probes."""

from base64 import b64decode, b64encode
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest

from kilter.service.detector import KilterError, RecordsError, Region
from kilter.service.detector.detector import Detector
from kilter.service.detector.errors import ArtifactError
from kilter.service.detector.pictures.column import ImageColumn, base64_of
from kilter.service.detector.pictures.pixels import content_of, size_of, to_pixels, upright
from kilter.service.detector.schema import Schema
from kilter.training.pipeline import PLAIN, make_probes, probe_records
from tests.support.picture_model import dark, picture_detector, spotted
from tests.support.pictures import COLOUR, GREY, encoded

SPOT = spotted()


def base64(content: bytes) -> str:
    return b64encode(content).decode()


def test_every_form_gets_the_same_verdict() -> None:
    """Base64 with and without the head of a URL and in lines, bytes, arrays, a batch, a frame."""
    detector = picture_detector()
    content = encoded(SPOT)
    text = base64(content)
    lines = "\r\n".join(text[i : i + 76] for i in range(0, len(text), 76))
    forms: list[Any] = [
        text,
        lines,
        "data:image/png;base64," + text,
        "DATA:;base64," + text,
        content,
        bytearray(content),
        memoryview(content),
        SPOT,
        SPOT[:, :, 0],
        SPOT.astype(np.float64),
    ]
    wanted = detector.score(SPOT)
    assert wanted.anomaly.tolist() == [True]
    for form in forms:
        assert detector.score([{"image": form}]).score == wanted.score
    many = detector.score([{"image": form} for form in forms])
    np.testing.assert_array_equal(many.score, np.repeat(wanted.score, len(forms)))
    np.testing.assert_array_equal(detector.score(np.stack([SPOT] * 3)).score, np.repeat(wanted.score, 3))
    frame = pd.DataFrame({"image": [text, content, SPOT], "other": 1})
    np.testing.assert_array_equal(detector.score(frame).score, np.repeat(wanted.score, 3))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (None, "not null"),
        (3, "not the number 3"),
        (True, "not the boolean true"),
        ([1, 2], "not a list"),
        ({}, "not an object"),
        ("", "empty"),
        ("not base64!", "no base64"),
        ("data:image/png;base64,@@", "no base64"),
        (base64(b"hello"), "it is no picture"),
        (base64(encoded(SPOT)[:60]), "cut short"),
        (b"", "empty"),
        (np.zeros((3, 4, 5, 6)), "array of shape"),
        (np.full((4, 4), 9e9), "send finite numbers"),
    ],
)
def test_what_is_no_picture_is_a_problem_of_its_record(value: Any, told: str) -> None:
    """Named by record and field, and nothing is judged; or it is marked, and the others are judged."""
    detector = picture_detector()
    records = [{"image": SPOT}, {"image": value}]
    with pytest.raises(RecordsError, match=f"record 1, field 'image': .*{told}"):
        detector.score(records)
    marked = detector.score(records, errors="mark", reasons=2)
    assert np.isnan(marked.score).tolist() == [False, True]
    assert marked.anomaly.tolist() == [True, False]
    assert marked.reasons is not None
    assert [len(found) > 0 for found in marked.reasons] == [True, False]


def test_records_have_the_picture_and_nothing_else() -> None:
    """As a table's records have their fields."""
    for record, told in (
        ({}, "the field is missing"),
        ({"image": SPOT, "x": 1}, "no such field"),
        ("text", "a record is an object"),
        ({"picture": SPOT}, "the field is missing"),
    ):
        with pytest.raises(RecordsError, match=told):
            picture_detector().score([record])
    with pytest.raises(KilterError, match="pictures are an array of shape"):
        picture_detector().score(np.zeros(3))


def test_reasons_are_regions() -> None:
    """In pixels of the model's size, and the evidence itself, in the cells of the grid."""
    detector = picture_detector()
    verdicts = detector.score([{"image": SPOT}, {"image": dark()}], reasons=3)
    assert verdicts.evidence is not None
    assert verdicts.evidence.shape == (2, 16)
    assert verdicts.reasons is not None
    [region] = verdicts.reasons[0]
    assert isinstance(region, Region)
    assert (region.box.left, region.box.top, region.box.width, region.box.height) == (4, 8, 4, 8)
    assert region.share == 1.0
    assert list(verdicts.reasons[1]) == []
    plain = detector.score([{"image": SPOT}])
    assert plain.reasons is None
    assert plain.evidence is None
    assert plain.score[0] == verdicts.score[0]


def test_many_pictures_are_encoded_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """And what stays of each are the figures that are watched; no batch changes a verdict."""
    detector = picture_detector()
    pictures = np.stack([dark(seed=seed) for seed in range(50)] + [spotted(16, 16)])
    whole = detector.score(pictures, reasons=1)
    monkeypatch.setattr("kilter.service.detector.modalities.pictures.FLOATS", 256 * 7)
    parts = detector.score(pictures, reasons=1)
    np.testing.assert_array_equal(parts.score, whole.score)
    np.testing.assert_array_equal(parts.features, whole.features)
    np.testing.assert_array_equal(parts.evidence, whole.evidence)
    assert parts.reasons == whole.reasons
    assert parts.features.shape == (51, 3)
    np.testing.assert_array_equal(detector.scorer.figures(detector.table(pictures)), parts.features)
    assert detector.scorer.outputs(pictures, ("expected",))[0].shape == (51, 256)
    none = detector.score([], reasons=1)
    assert none.features.shape == (0, 3)
    assert none.reasons == []


def test_a_cell_knows_its_own_size_and_content() -> None:
    """For boxes, and for what is drawn over it."""
    content = encoded(SPOT)
    for value in (content, base64(content), SPOT):
        assert size_of(value) == (96, 64)
        assert upright(value, GREY).size == (96, 64)
        assert to_pixels(value, COLOUR).shape == COLOUR.shape
    assert content_of("data:image/png;base64," + base64(content)) == content


def test_a_larger_model_is_no_different() -> None:
    """In colour, and not square."""
    column = ImageColumn("image", 24, 40, 3)
    detector = picture_detector(column=column)
    picture = spotted(channels=3)
    assert detector.score([{"image": encoded(picture)}]).score == detector.score(picture).score


COLUMNS = [ImageColumn("image", 8, 8, 1), ImageColumn("image", 64, 40, 3), ImageColumn("image", 200, 256, 1)]


@pytest.mark.parametrize("column", COLUMNS, ids=str)
def test_probes_are_pictures_of_the_model_s_size_and_all_different(column: ImageColumn) -> None:
    """The same for one seed; black and white stand for a picture as they do in its file."""
    schema = Schema((column,), 10)
    records = probe_records(schema, 0)
    assert records == probe_records(schema, 0) != probe_records(schema, 1)
    read = [to_pixels(b64decode(record["image"]), column) for record in records]
    assert len({picture.tobytes() for picture in read}) == len(records)
    assert sum(len(record["image"]) for record in records) < 500_000


def test_a_picture_s_text_gives_its_pixels_back() -> None:
    """To the last bit."""
    for column in COLUMNS:
        pixels = np.random.default_rng(0).integers(0, 256, column.shape, np.uint8)
        np.testing.assert_array_equal(to_pixels(b64decode(base64_of(pixels)), column), pixels)


def test_probes_of_pictures_replay() -> None:
    """And a detector that scores otherwise is found out."""
    detector = picture_detector()
    probes = make_probes(detector, 0)
    assert probes.p_values[0] == max(probes.p_values[:PLAIN])
    program, calibration = detector.scorer.program, detector.calibration
    Detector(detector.manifest, program, calibration, probes, None, detector.reference).replay()
    other = Detector(
        detector.manifest, program, calibration, msgspec.structs.replace(probes, scores=[0.0] * 24), None, None
    )
    with pytest.raises(ArtifactError, match=r"probes\.json: probe 0 scores"):
        other.replay()
