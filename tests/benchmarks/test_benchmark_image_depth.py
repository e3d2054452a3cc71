"""Tests of the benchmark of pictures of more than 8 bits, which is the proof that their depth costs no detection."""

import numpy as np
import pytest

from benchmarks.image_depth import SIZE, WHITE, measured, scenes
from kilter.training.config import FitConfig, TrainConfig


def test_scenes_fill_what_the_camera_has() -> None:
    """Twelve bits, and no more; a defect changes few of the pixels."""
    good, odd = (scenes(3, np.random.default_rng(0), defective=defective) for defective in (False, True))
    assert good.shape == (3, SIZE, SIZE)
    assert good.max() <= WHITE
    assert not np.array_equal(good, odd)


@pytest.mark.e2e
def test_twelve_bits_in_sixteen_are_judged_as_if_stretched_first() -> None:
    """Files and arrays give one verdict, and rank as well as what was stretched; all 16 bits as 8 rank worse."""
    config = TrainConfig(target_fpr=0.1, baselines=False, fit=FitConfig(steps=20))
    found = measured(80, config, 0)
    assert found.differing == 0
    assert found.roc_auc["files"] == found.roc_auc["array"]
    assert found.roc_auc["files"] == pytest.approx(found.roc_auc["stretched"], abs=0.02)
    assert found.roc_auc["files"] > found.roc_auc["dark"] + 0.05
