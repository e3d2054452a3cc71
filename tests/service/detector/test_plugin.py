"""Tests of `detector.plugin`: an entry of a registry is a class, or says where one is."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from kilter.service.detector.columns.base import Column
from kilter.service.detector.modalities import MODALITIES
from kilter.service.detector.modalities.base import Modality
from kilter.service.detector.networks import DEFAULTS, NETWORKS
from kilter.service.detector.networks.base import Network
from kilter.service.detector.plugin import imported
from kilter.service.detector.scores import SCORES
from kilter.service.detector.scores.base import AnomalyScore
from kilter.training.modality import TRAINING_MODALITIES, TrainingModality

ROOT = Path(__file__).parents[3]


def test_a_class_stands_for_itself_and_a_place_for_the_class_that_is_there() -> None:
    """However it was entered."""
    assert imported(Column) is Column
    assert imported("kilter.service.detector.columns.base:Column") is Column


@pytest.mark.parametrize(
    ("place", "error"), [("kilter.nowhere:Thing", ModuleNotFoundError), ("kilter.service:Thing", AttributeError)]
)
def test_a_place_where_nothing_is_is_an_error_when_it_is_used(place: str, error: type[Exception]) -> None:
    """And not before."""
    with pytest.raises(error):
        imported(place)


@pytest.mark.parametrize(
    ("entries", "kind"),
    [
        (MODALITIES.values(), Modality),
        (NETWORKS.values(), Network),
        ([entry.place for entry in SCORES.values() if entry.place is not None], AnomalyScore),
        (TRAINING_MODALITIES.values(), TrainingModality),
    ],
    ids=["modalities", "networks", "scores", "training"],
)
def test_every_entry_of_a_registry_is_of_its_kind(entries: Any, kind: type[Any]) -> None:
    """Each place has a class, and it is what the registry is of."""
    for entry in entries:
        assert issubclass(imported(entry), kind)


def test_modalities_have_a_network_and_a_training_each() -> None:
    """What can be judged can be trained."""
    assert MODALITIES.keys() == DEFAULTS.keys() == TRAINING_MODALITIES.keys()
    for name, kind in DEFAULTS.items():
        assert imported(NETWORKS[kind]).modality == name


@pytest.mark.parametrize("module", ["networks", "scores", "modalities"])
def test_a_registry_is_read_without_torch(module: str) -> None:
    """A service on a CPU never imports it."""
    code = f"import sys, kilter.service.detector.{module}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.split() == ["False"]
