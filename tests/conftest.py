"""Fixtures shared by all tests: a small real model of records and one of pictures, each trained once."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

from kilter.service.detector import Detector, load
from tests.support.data import write_csv
from tests.support.digits import shuffled, write_pictures

# The same examples every time, and a busy machine makes no test fail; `make test FUZZ=1` draws others.
settings.register_profile("kilter", deadline=None, derandomize=True)
settings.register_profile("fuzz", deadline=None, derandomize=False)
settings.load_profile("kilter")


@pytest.fixture(scope="session")
def training_csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A CSV of 600 normal rows with every kind of column, missing values and an identifier."""
    return write_csv(tmp_path_factory.mktemp("data") / "training.csv", np.random.default_rng(0), 600)


@pytest.fixture(scope="session")
def models_folder(training_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models that holds `plant`, trained in earnest but briefly."""
    # Imported here, so that tests which need no model start without torch.
    from kilter.training.config import FitConfig, TrainConfig
    from kilter.training.data.source import TrainingSource
    from kilter.training.pipeline import train_model

    folder = tmp_path_factory.mktemp("models")
    config = TrainConfig(target_fpr=0.05, split="random", fit=FitConfig(steps=120))
    train_model(TrainingSource((training_csv,)), "plant", folder, config)
    return folder


@pytest.fixture(scope="session")
def model_folder(models_folder: Path) -> Path:
    """The folder of the model `plant`, which has version 1. Do not write to it: copy it."""
    return models_folder / "plant"


@pytest.fixture(scope="session")
def detector(model_folder: Path) -> Detector:
    """The model `plant`, loaded."""
    return load(model_folder)


@pytest.fixture(scope="session")
def generating_folder(training_csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the model `maker`, trained on the rows of `plant` with a generator; it keeps no row numbers."""
    from kilter.training.config import FitConfig, TrainConfig
    from kilter.training.data.source import TrainingSource
    from kilter.training.pipeline import train_model

    folder = tmp_path_factory.mktemp("generating-models")
    fit = FitConfig(steps=40, members=1)
    config = TrainConfig(target_fpr=0.05, split="random", baselines=False, generator=True, row_numbers=False, fit=fit)
    train_model(TrainingSource((training_csv,)), "maker", folder, config)
    return folder / "maker"


@pytest.fixture(scope="session")
def maker(generating_folder: Path) -> Detector:
    """The model `maker`, loaded."""
    return load(generating_folder)


@pytest.fixture(scope="session")
def digits_models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of models that holds `digits`, trained in earnest but briefly on a folder of pictures."""
    from kilter.training.config import FitConfig, TrainConfig
    from kilter.training.data.source import TrainingSource
    from kilter.training.pipeline import train_model

    pictures = write_pictures(tmp_path_factory.mktemp("pictures"), shuffled()[:400])
    folder = tmp_path_factory.mktemp("digits-models")
    config = TrainConfig(target_fpr=0.05, split="random", generator=True, fit=FitConfig(steps=120))
    train_model(TrainingSource((pictures,)), "digits", folder, config)
    return folder


@pytest.fixture(scope="session")
def digits_detector(digits_models: Path) -> Detector:
    """The model `digits`, loaded."""
    return load(digits_models / "digits")


def pytest_addoption(parser: pytest.Parser) -> None:
    """How often `tests/e2e/test_kills.py` kills a run of each kind."""
    parser.addoption("--kills", type=int, default=3, help="kills of each kind of run in tests/e2e/test_kills.py")
