"""Tests of `training.modality`: which kind of records a source or a model is of, and how much of it is examined."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import KilterError
from kilter.service.detector.pictures.column import ImageColumn
from kilter.service.detector.schema import Schema
from kilter.training.config import TrainConfig
from kilter.training.data.source import TrainingSource
from kilter.training.evaluation.checkup import Examined
from kilter.training.modality import (
    LATENT_PICTURES,
    MOST_LATENT_ROWS,
    PICTURES,
    TRAINING_MODALITIES,
    PictureTraining,
    TableTraining,
    modality_of_model,
    modality_of_source,
)
from kilter.training.pipeline import learn
from kilter.training.reporting.report import TEMPLATES
from tests.support import detectors
from tests.support.digits import shuffled, write_pictures
from tests.support.picture_model import picture_detector


def test_a_source_is_of_pictures_if_one_of_its_paths_is(tmp_path: Path) -> None:
    """A folder or an array of images; anything else is a table, a frame included."""
    table, array = tmp_path / "a.csv", tmp_path / "a.npy"
    table.write_text("a\n1\n")
    np.save(array, np.zeros((2, 8, 8), np.uint8))
    for source, kind in (
        (TrainingSource((tmp_path,)), PictureTraining),
        (TrainingSource((table, array)), PictureTraining),
        (TrainingSource((table,)), TableTraining),
        (TrainingSource(frame=pl.DataFrame({"a": [1]})), TableTraining),
    ):
        assert type(modality_of_source(source)) is kind


def test_a_model_is_of_the_modality_that_its_schema_says() -> None:
    """That of the records which the detector takes."""
    assert type(modality_of_model(detectors.detector().manifest)) is TableTraining
    assert type(modality_of_model(picture_detector().manifest)) is PictureTraining


@pytest.mark.parametrize("modality", [TableTraining, PictureTraining])
def test_each_modality_has_the_words_of_its_documents(modality: type[TableTraining | PictureTraining]) -> None:
    """A template of its name."""
    assert modality in TRAINING_MODALITIES.values()
    assert (TEMPLATES / f"{modality.kind}.jinja").is_file()


@given(st.integers(0, 900), st.integers(0, 900), st.integers(0, 9))
def test_of_pictures_as_many_anomalies_as_normal_ones_are_drawn(normal: int, anomalous: int, seed: int) -> None:
    """Each once, in order, and no more than the page can bear."""
    order = np.random.default_rng(seed).permutation(normal + anomalous)
    odd = np.arange(normal + anomalous) >= normal
    rows = PictureTraining().latent_rows(order, odd)
    assert (np.diff(rows) > 0).all()
    half = LATENT_PICTURES // 2
    assert (int((~odd[rows]).sum()), int(odd[rows].sum())) == (min(normal, half), min(anomalous, half))
    table = TableTraining().latent_rows(order, odd)
    assert (np.diff(table) > 0).all()
    assert len(table) == min(normal + anomalous, MOST_LATENT_ROWS)


@pytest.mark.parametrize(("side", "most"), [(8, PICTURES[1]), (256, 341)])
def test_of_large_pictures_fewer_are_examined(side: int, most: int) -> None:
    """So that they fit into memory."""
    rows = np.arange(3_000)
    schema = Schema((ImageColumn("image", side, side, 3),), 3_000)
    examined = PictureTraining().examined(Examined(rows, rows, rows[:5]), schema, 0)
    assert [len(part) for part in examined] == [most, most, 5]


def test_only_a_table_has_columns_to_decide_about(tmp_path: Path) -> None:
    """Of pictures no column is taken for anything."""
    assert (TableTraining.has_columns, PictureTraining.has_columns) == (True, False)
    pictures = write_pictures(tmp_path, shuffled()[:12])
    with pytest.raises(KilterError, match=r"--numeric names a column of a table, and .* holds pictures"):
        learn(TrainingSource((pictures,)), TrainConfig(numeric=("a",)))


def test_pictures_are_not_called_rows() -> None:
    """Nor is a row of a table anything else."""
    sentence = "Rows left out: 3 rows of 5; a row. It rowed, narrowly."
    assert PictureTraining().worded(sentence) == "Pictures left out: 3 pictures of 5; a picture. It rowed, narrowly."
    assert TableTraining().worded(sentence) == sentence
