"""Fixtures of the tests of training: a model that may be written to, and new rows for it."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.support.data import write_csv


@pytest.fixture
def model(model_folder: Path, tmp_path: Path) -> Path:
    """A copy of the model `plant`."""
    return Path(shutil.copytree(model_folder, tmp_path / "models" / "plant"))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A file of 150 new normal rows."""
    return write_csv(tmp_path / "new.csv", np.random.default_rng(7), 150)
