"""Tests of `detector.pictures.synthetic`: probes that are pictures, and replay by the ordinary path."""

import base64

import msgspec
import numpy as np
import pytest

from kilter.service.detector.detector import Detector
from kilter.service.detector.errors import ArtifactError
from kilter.service.detector.pictures import synthetic as made_up
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.pictures.pixels import read_picture
from kilter.service.detector.schema import Schema
from kilter.training.pipeline import PLAIN, make_probes, probe_records
from tests.support.picture_model import picture_detector

COLUMNS = [ImageColumn("image", 8, 8, 1), ImageColumn("image", 64, 40, 3), ImageColumn("image", 200, 256, 1)]


@pytest.mark.parametrize("column", COLUMNS, ids=str)
def test_probes_are_pictures_of_the_model_s_size_and_all_different(column: ImageColumn) -> None:
    """The same for one seed; black and white stand for a picture as they do in its file."""
    schema = Schema((column,), 10)
    records = probe_records(schema, 0)
    assert records == probe_records(schema, 0) != probe_records(schema, 1)
    read = [read_picture(base64.b64decode(record["image"]), column) for record in records]
    assert len({picture.tobytes() for picture in read}) == len(records)
    assert sum(len(record["image"]) for record in records) < 500_000


def test_a_picture_s_text_gives_its_pixels_back() -> None:
    """To the last bit."""
    for column in COLUMNS:
        pixels = np.random.default_rng(0).integers(0, 256, column.shape, np.uint8)
        np.testing.assert_array_equal(read_picture(base64.b64decode(made_up.text(pixels)), column), pixels)


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
