"""The registry: what can be loaded serves, what cannot is told."""

import gc
import logging
import shutil
from pathlib import Path

import pytest

from kilter.service.detector import KilterError
from kilter.service.models.loading import Loader
from kilter.service.models.registry import NotThereError, RefusedError, Registry
from kilter.service.monitoring.metrics import Metrics
from tests.support.serving import RECORD, detector
from tests.support.versions import add, damage


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    """A folder with one good model."""
    add(tmp_path / "models")
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


def test_a_model_that_fails_does_not_keep_others_from_serving(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It is counted, logged, and listed with the reason; a folder that is no model is passed over."""
    damage(folder, add(folder, "damaged"), "damaged")
    shutil.copytree(folder / "plant", folder / "renamed")
    (folder / "notes").mkdir()
    metrics = Metrics()
    registry = Registry(metrics)
    with caplog.at_level(logging.ERROR):
        Loader(registry, folder, "cpu").load_all()
    assert registry.names == ["plant"]
    assert registry.why_not_ready is None
    assert registry.failures.keys() == {"damaged", "renamed"}
    assert "score.onnx is damaged" in registry.failures["damaged"]
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


def series(metrics: Metrics, version: int) -> set[str]:
    """The metrics that have a series of that version of `shop`."""
    gc.collect()
    labels = {"model": "shop", "version": str(version)}
    return {
        family.name
        for family in metrics.registry.collect()
        for sample in family.samples
        if labels.items() <= sample.labels.items()
    }


def test_the_series_of_a_version_are_there_for_as_long_as_a_request_holds_it() -> None:
    """What it still judges is counted; then nothing of it is left, and the new one has the same series."""
    metrics = Metrics()
    registry = Registry(metrics, [detector(version=1)])
    expected = series(metrics, 1)
    held = registry.get("shop")
    registry.place(detector(version=2))
    assert held is not None
    table = held.detector.table([RECORD])
    held.judged(table, held.detector.score(table), 0.1)
    labels = {"model": "shop", "version": "1", "result": "normal"}
    assert metrics.registry.get_sample_value("kilter_records_total", labels) == 1
    assert series(metrics, 1) == series(metrics, 2) == expected
    assert len(expected) > 10
    del held
    assert series(metrics, 1) == set()
    assert series(metrics, 2) == expected


def test_a_version_that_is_loaded_again_goes_on_counting() -> None:
    """Its series are those of before; of a version that comes back later they begin anew."""
    metrics = Metrics()
    registry = Registry(metrics, [detector(version=1)])
    for again in range(3):
        serving = registry.get("shop")
        assert serving is not None
        table = serving.detector.table([RECORD])
        serving.judged(table, serving.detector.score(table), 0.1)
        registry.place(detector(version=1))
        labels = {"model": "shop", "version": "1"}
        assert metrics.registry.get_sample_value("kilter_p_value_count", labels) == again + 1
        assert metrics.registry.get_sample_value("kilter_batch_records_count", labels) == again + 1


def test_another_rate_is_in_force_everywhere(caplog: pytest.LogCaptureFixture) -> None:
    """In verdicts, in metrics, for the version beside and in the log; taken back, the artifact's own is again."""
    metrics = Metrics()
    registry = Registry(metrics, [detector(version=1)])
    registry.put_beside(detector(version=2))
    own = registry.all[0]
    with caplog.at_level(logging.WARNING):
        registry.rate("shop", 0.2, {"token": "operator", "request_id": "r1"})
    for version in (1, 2):
        serving = registry.get("shop", version)
        assert serving is not None
        assert serving.detector.calibration.target_fpr == 0.2
        labels = {"model": "shop", "version": str(version)}
        assert metrics.registry.get_sample_value("kilter_target_fpr", labels) == 0.2
        upper = metrics.registry.get_sample_value("kilter_expected_anomaly_ratio_upper", labels)
        assert upper == serving.detector.manifest.calibration.upper_fpr > 0.2
    (record,) = caplog.records
    assert record.__dict__["fields"] == {
        "model": "shop",
        "version": 1,
        "token": "operator",
        "request_id": "r1",
        "old_target_fpr": 0.05,
        "new_target_fpr": 0.2,
        "old_threshold": own.detector.calibration.threshold,
        "new_threshold": registry.all[0].detector.calibration.threshold,
    }
    assert own.detector.calibration.target_fpr == 0.05
    registry.rate("shop", None, {})
    assert registry.all[0].detector is own.detector
    assert registry.all[0].rate is None


def test_a_rate_that_cannot_be_supported_changes_nothing() -> None:
    """It is refused with the number of records that it needs; and so is one for a model that does not serve."""
    registry = Registry(Metrics(), [detector()])
    before = registry.get("shop")
    with pytest.raises(KilterError, match=r"needs at least 999 calibration records; there are 199.*0\.005"):
        registry.rate("shop", 0.001, {})
    assert registry.get("shop") is before
    with pytest.raises(NotThereError):
        registry.rate("other", 0.1, {})


def test_a_rate_outlives_the_version_that_it_was_asked_of(caplog: pytest.LogCaptureFixture) -> None:
    """A version that cannot support it serves at its own, which the log tells; the next one that can has it again."""
    registry = Registry(Metrics(), [detector(version=1)])
    registry.rate("shop", 0.01, {})
    with caplog.at_level(logging.WARNING):
        registry.place(detector(version=2, size=39))
    assert registry.all[0].detector.calibration.target_fpr == 0.05
    assert "cannot support the rate" in caplog.text
    registry.place(detector(version=3))
    assert registry.all[0].detector.calibration.target_fpr == 0.01
    registry.remove("shop")
    registry.place(detector(version=3))
    assert registry.all[0].detector.calibration.target_fpr == 0.05


def test_a_shadow_stays_until_it_serves() -> None:
    """Compared anew with each version that serves and at each rate, at which it judges as well."""
    registry = Registry(Metrics(), [detector(version=1)])
    with pytest.raises(RefusedError, match="version 1 of shop serves"):
        registry.cast(detector(version=1))
    first = registry.cast(detector(version=4)).shadow
    registry.rate("shop", 0.1, {})
    second = registry.shadowed("shop").shadow
    assert (second.candidate.version, second.candidate.calibration.target_fpr) == (4, 0.1)
    assert second is not first
    registry.place(detector(version=2))
    assert registry.shadowed("shop").shadow.candidate.version == 4
    registry.place(detector(version=4))
    with pytest.raises(NotThereError, match="no version is in the shadow of shop"):
        registry.shadowed("shop")
    with pytest.raises(NotThereError):
        registry.uncast("shop")
