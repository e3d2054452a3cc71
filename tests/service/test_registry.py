"""The registry: what can be loaded serves, what cannot is told."""

import logging
import shutil
from pathlib import Path

import pytest

from service.loading import Loader
from service.metrics import Metrics
from service.registry import Registry
from tests.support.serving import detector


@pytest.fixture(name="folder")
def _folder(model_folder: Path, tmp_path: Path) -> Path:
    """A folder with one good model."""
    shutil.copytree(model_folder, tmp_path / "models" / model_folder.name)
    return tmp_path / "models"


def loads(metrics: Metrics, outcome: str) -> float | None:
    return metrics.registry.get_sample_value("kilter_model_loads_total", {"outcome": outcome})


def test_the_models_of_a_folder_serve(folder: Path) -> None:
    """After loading, a model is found by its name and counted."""
    metrics = Metrics()
    registry = Registry(metrics)
    before = registry.why_not_ready
    Loader(registry, folder, "cpu").load_all()
    assert (before, registry.why_not_ready) == ("the models are not loaded yet", None)
    assert registry.names == ["plant"]
    serving = registry.get("plant")
    assert serving is not None
    assert serving.detector.version == 1
    assert loads(metrics, "loaded") == 1
    assert registry.get("other") is None


def test_a_model_that_fails_does_not_keep_others_from_serving(
    folder: Path, model_folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is counted, logged, and listed with the reason; a folder that is no model is passed over."""
    shutil.copytree(model_folder, folder / "damaged")
    program = folder / "damaged" / "1" / "program.onnx"
    program.write_bytes(program.read_bytes()[:-1] + b"x")
    shutil.copytree(model_folder, folder / "renamed")
    (folder / "notes").mkdir()
    metrics = Metrics()
    registry = Registry(metrics)
    with caplog.at_level(logging.ERROR):
        Loader(registry, folder, "cpu").load_all()
    assert registry.names == ["plant"]
    assert registry.why_not_ready is None
    assert registry.failures.keys() == {"damaged", "renamed"}
    assert "program.onnx is damaged" in registry.failures["damaged"]
    assert "is called plant: rename the folder" in registry.failures["renamed"]
    assert (loads(metrics, "loaded"), loads(metrics, "failed")) == (1, 2)
    assert len(caplog.records) == 2


def test_a_folder_without_models_is_told_apart(tmp_path: Path) -> None:
    """No folder, an empty one, and one of which nothing loads each have their reason and remedy."""
    reasons = []
    for content in ("absent", "empty", "damaged"):
        folder = tmp_path / content
        if content != "absent":
            folder.mkdir()
        if content == "damaged":
            (folder / "bad" / "1").mkdir(parents=True)
            (folder / "bad" / "1" / "SHA256SUMS").write_text("x")
        registry = Registry(Metrics())
        Loader(registry, folder, "cpu").load_all()
        reasons.append(registry.why_not_ready or "")
    assert reasons[0].startswith("there is no models folder")
    assert "holds no model: `kilter train" in reasons[1]
    assert "SHA256SUMS is damaged" in reasons[2]


def test_detectors_that_are_given_serve() -> None:
    """A registry can be made of detectors in memory."""
    registry = Registry(Metrics(), [detector("b"), detector("a")])
    assert registry.names == ["a", "b"]
    assert registry.why_not_ready is None
