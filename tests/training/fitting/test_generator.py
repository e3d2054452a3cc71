"""What training keeps of rows for the making of records."""

from pathlib import Path

import numpy as np

from kilter.service.detector import Detector
from kilter.service.detector.artifact import read_artifact
from kilter.service.detector.generation.unmasking import NUMBERS
from kilter.training.fitting.generator import FITS
from kilter.training.modality import TRAINING_MODALITIES


def test_every_modality_has_a_generator() -> None:
    """Under its name."""
    assert FITS.keys() == TRAINING_MODALITIES.keys()


def test_a_generator_is_part_of_the_artifact_and_of_no_other(generating_folder: Path, model_folder: Path) -> None:
    """Its numbers are those of the manifest, and few of them are values of a column that never repeats."""
    made, plain = read_artifact(generating_folder / "1"), read_artifact(model_folder / "1")
    assert made.manifest.generator is not None
    assert made.programs.keys() - plain.programs.keys() == {"unmask"}
    assert NUMBERS not in plain.tensors
    fields = made.manifest.generator.shape["fields"]
    assert sum(field["repeated"] + field["knots"] for field in fields) == len(made.tensors[NUMBERS])


def test_a_mixture_of_codes_is_like_the_codes(digits_detector: Detector) -> None:
    """Its pictures are no stranger to the model than its own reconstructions are."""
    made = digits_detector.generate(100, seed=0)
    scores = digits_detector.score(made).score
    standard = digits_detector.score(digits_detector.generate(100, seed=0, prior="standard")).score
    assert np.median(scores) <= np.median(standard) + 0.1
