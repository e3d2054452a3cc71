"""Tests of the report and the model card of an image model: what is shown of pictures, and that it stays small."""

import base64
import io
import re
from collections.abc import Iterator

import msgspec
import numpy as np
import pytest
from PIL import Image

from kilter.service.detector.inputs import Table
from kilter.service.detector.manifest import MemoryEntry
from kilter.service.detector.pictures.column import ImageColumn
from kilter.training.reporting.gallery import SHOWN, SIDE, STRANGEST, drawn, evenly_spread, gallery_of, residual
from kilter.training.reporting.run import Scored
from tests.support.picture_runs import picture_run
from tests.support.runs import Made


@pytest.fixture(scope="module")
def made() -> Made:
    """A run on digits."""
    return picture_run()


@pytest.fixture(scope="module")
def page(made: Made) -> str:
    """Its report."""
    return made.page


def images(page: str) -> Iterator[Image.Image]:
    """The pictures that a page embeds."""
    for data in re.findall(r'<img[^>]* src="data:image/png;base64,([^"]+)"', page):
        yield Image.open(io.BytesIO(base64.b64decode(data)))


def test_a_report_shows_pictures_beside_what_was_expected(page: str) -> None:
    """Of normal ones and of anomalies, with heat maps and differences, files and scores; and of suspects."""
    for heading in (
        "What it sees", "Normal pictures on which the threshold was set", "Labelled anomalies", "Suspects",
        "The strangest normal pictures", "Samples from the prior", "The latent map",
        "8 x 8 pixels (height x width), grey",
    ):  # fmt: skip
        assert heading in page
    found = list(images(page))
    assert len(found) > 2 * SHOWN * 4 + 2 * STRANGEST * 2 + 10
    assert {image.size for image in found[: 2 * SHOWN * 4]} == {(SIDE, SIDE)}
    assert re.search(r"good/\d+\.png", page)
    assert re.search(r"bad/\d+\.png", page)
    for absent in ("The columns that matter", "levels are one-hot", "http", "<script"):
        assert absent not in page


def test_pictures_run_from_the_most_ordinary_to_the_strangest(made: Made) -> None:
    """And the strangest come strangest first."""
    column = made.manifest.schema.columns[0]
    assert isinstance(column, ImageColumn)
    gallery = gallery_of(made.run, column)
    for shown, sign in ((gallery.normal, 1), (gallery.anomalous, 1), (gallery.strange, -1), (gallery.suspicious, -1)):
        scores = [sign * one.surprise for one in shown]
        assert scores == sorted(scores)
    assert len(gallery.normal) == SHOWN
    assert {placed.group for placed in gallery.latent} == {"normal", "flagged", "anomaly"}


def test_few_pictures_are_each_shown_once() -> None:
    """And none that could not be read."""
    scores = np.array([3.0, np.nan, 1.0, 2.0])
    assert evenly_spread(Scored(Table({}, 4, []), scores, np.arange(4))).tolist() == [2, 3, 0]


@pytest.mark.parametrize("column", [ImageColumn("image", 256, 256, 3), ImageColumn("image", 40, 250, 3)], ids=str)
def test_a_report_stays_small_however_large_its_pictures(column: ImageColumn) -> None:
    """Even where these are noise, which no format makes smaller."""
    rng = np.random.default_rng(0)
    normal, odd = (rng.integers(0, 256, (count, *column.shape), np.uint8) for count in (60, 40))
    assert len(picture_run(column, normal, odd).page) < 3_000_000


def test_small_pictures_are_enlarged_in_whole_steps_and_large_ones_reduced() -> None:
    """So that each pixel is to be seen, and none is twice as wide as its neighbour."""
    for shape, size in (((8, 8, 1), (96, 96)), ((28, 20, 1), (60, 84)), ((50, 200, 3), (96, 24))):
        data = drawn(np.zeros(shape, np.uint8)).partition(",")[2]
        assert Image.open(io.BytesIO(base64.b64decode(data))).size == size


def test_the_difference_is_white_where_there_is_none() -> None:
    """Darker where it is larger in any channel, black from a third of all shades on."""
    given = np.array([[[10, 20, 30], [0, 0, 255], [0, 10, 3]]], np.uint8)
    expected = np.array([[[10, 20, 30], [0, 0, 0], [0, 0, 0]]], np.uint8)
    assert residual(given, expected).tolist() == [[[255], [0], [225]]]


def test_a_card_speaks_of_pictures(made: Made) -> None:
    """Not of columns."""
    card = " ".join(made.card.split())
    assert "An anomaly detector for pictures" in card
    assert "It looks at pictures of 8 x 8 pixels (height x width), grey" in card
    assert "near-duplicates stand on both sides" in card
    for absent in ("columns", "levels"):
        assert absent not in card
    assert "No memory of training records" in card
    score = msgspec.structs.replace(made.manifest.score, memory=MemoryEntry(1200, "training pictures, reduced"))
    card = " ".join(made._replace(manifest=msgspec.structs.replace(made.manifest, score=score)).card.split())
    assert "A memory of 1,200 training pictures, reduced, is part of the score" in card
