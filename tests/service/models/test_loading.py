"""Loading: a version is verified before it takes the place of another, and what cannot be loaded changes nothing."""

import logging
import threading
from pathlib import Path

import pytest

from kilter.service.detector import KilterError, store
from kilter.service.models.loading import Loader
from kilter.service.models.registry import NotThereError, RefusedError, Registry
from kilter.service.monitoring.metrics import Metrics
from tests.support.versions import NAME, add, damage


@pytest.fixture(name="metrics")
def _metrics() -> Metrics:
    return Metrics()


@pytest.fixture(name="loader")
def _loader(tmp_path: Path, metrics: Metrics) -> Loader:
    """A loader of a folder with one version, which serves; two versions of a model may be loaded at once."""
    add(tmp_path)
    loader = Loader(Registry(metrics, max_versions=2), tmp_path, "cpu")
    loader.load_all()
    return loader


def serves(loader: Loader) -> int | None:
    serving = loader.registry.get(NAME)
    return None if serving is None else serving.detector.version


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_a_new_version_takes_the_place_of_the_old_one(loader: Loader) -> None:
    """Whoever holds the old one goes on with it."""
    held = loader.registry.get(NAME)
    add(loader.folder)
    loader.load(NAME)
    assert held is not None
    assert (held.detector.version, serves(loader)) == (1, 2)
    assert loader.registry.versions(NAME) == [2]
    assert held.detector.score(held.detector.probes.records).score.tolist() == pytest.approx(
        held.detector.probes.scores
    )


def test_the_pinned_version_serves(loader: Loader) -> None:
    """Whatever is higher, and until another is pinned."""
    add(loader.folder)
    store.pin(loader.folder / NAME, 1)
    loader.load(NAME)
    assert serves(loader) == 1
    store.unpin(loader.folder / NAME)
    loader.load(NAME)
    assert serves(loader) == 2


def test_a_version_is_loaded_beside_the_one_that_serves(loader: Loader) -> None:
    """It is found by its number, up to so many; unloaded by its number it is gone."""
    store.pin(loader.folder / NAME, 1)
    for _ in range(2):
        add(loader.folder)
    loader.load(NAME, 2)
    beside = loader.registry.get(NAME, 2)
    assert beside is not None
    assert (beside.detector.version, serves(loader), loader.registry.versions(NAME)) == (2, 1, [1, 2])
    with pytest.raises(RefusedError, match=r"2 versions of plant are loaded, 1, 2, and KILTER_MAX_VERSIONS is 2"):
        loader.load(NAME, 3)
    assert loader.unload(NAME, 2) == [2]
    assert loader.registry.get(NAME, 2) is None
    with pytest.raises(RefusedError, match="version 1 of plant serves"):
        loader.unload(NAME, 1)
    with pytest.raises(NotThereError, match="versions 1 loaded, not 2"):
        loader.unload(NAME, 2)


def test_a_version_beside_that_is_to_serve_goes_on_by_both_ways(loader: Loader) -> None:
    """At no moment is it not to be found by its number."""
    store.pin(loader.folder / NAME, 1)
    add(loader.folder)
    loader.load(NAME, 2)
    store.pin(loader.folder / NAME, 2)
    loader.load(NAME)
    assert loader.registry.get(NAME, 2) is loader.registry.get(NAME)
    assert loader.registry.versions(NAME) == [2]


def test_what_cannot_be_loaded_changes_nothing(
    loader: Loader, metrics: Metrics, caplog: pytest.LogCaptureFixture
) -> None:
    """It is told, counted and logged, and the version before goes on serving."""
    damage(loader.folder, add(loader.folder))
    with caplog.at_level(logging.ERROR), pytest.raises(KilterError, match=r"score\.onnx is damaged"):
        loader.load(NAME)
    assert serves(loader) == 1
    assert loader.registry.failures.keys() == {NAME}
    assert sample(metrics, "kilter_model_load_failing", model=NAME) == 1
    assert sample(metrics, "kilter_model_loads_total", outcome="failed") == 1
    assert len(caplog.records) == 1
    add(loader.folder)
    loader.load(NAME)
    assert (serves(loader), dict(loader.registry.failures)) == (3, {})
    assert sample(metrics, "kilter_model_load_failing", model=NAME) == 0


def test_a_version_beside_that_fails_is_no_failure_of_the_model(loader: Loader, metrics: Metrics) -> None:
    """Who asked for it is told, and nobody is woken."""
    store.pin(loader.folder / NAME, 1)
    damage(loader.folder, add(loader.folder))
    with pytest.raises(KilterError, match="damaged"):
        loader.load(NAME, 2)
    assert sample(metrics, "kilter_model_load_failing", model=NAME) == 0
    assert not loader.registry.failures


def test_a_version_under_another_number_is_refused(loader: Loader) -> None:
    """The number in the manifest is the one that verdicts carry."""
    (loader.folder / NAME / "1").rename(loader.folder / NAME / "7")
    with pytest.raises(KilterError, match="holds version 1: rename the folder"):
        loader.load(NAME)


@pytest.mark.parametrize("name", ["other", "../plant", "plant/1", "..", "", "/etc", "plant\n", "p" * 64])
def test_only_names_of_models_lead_to_the_folder(loader: Loader, name: str) -> None:
    """Whatever else is asked for is not there."""
    with pytest.raises(NotThereError, match="there is no model"):
        loader.load(name)
    with pytest.raises(NotThereError):
        loader.cast(name, 1)
    with pytest.raises(NotThereError):
        loader.unload(name)
    with pytest.raises(NotThereError, match="has versions 1 in"):
        loader.load(NAME, 2)


def test_an_unloaded_model_is_gone_until_it_is_loaded(loader: Loader, metrics: Metrics) -> None:
    """With its versions beside, its rate and its alert; the reason why nothing serves is told."""
    store.pin(loader.folder / NAME, 1)
    add(loader.folder)
    loader.load(NAME, 2)
    assert loader.unload(NAME) == [1, 2]
    assert (serves(loader), loader.registry.why_not_ready) == (None, "every model was unloaded")
    assert sample(metrics, "kilter_model_load_failing", model=NAME) is None
    with pytest.raises(RefusedError, match="load the model first"):
        loader.load(NAME, 2)
    loader.load(NAME)
    assert (serves(loader), loader.registry.why_not_ready) == (1, None)


def test_states_tell_of_the_folder_and_of_what_is_loaded(loader: Loader) -> None:
    """Version by version, with the reason where one that is to serve does not."""
    damage(loader.folder, add(loader.folder))
    with pytest.raises(KilterError):
        loader.load(NAME)
    first, second = loader.states()
    assert (first.version, first.loaded, first.why) == (1, True, "")
    assert (second.version, second.loaded) == (2, False)
    assert "damaged" in second.why
    loader.unload(NAME)
    assert {(state.loaded, state.why) for state in loader.states()} == {(False, "unloaded")}


def test_loads_at_the_same_time_come_one_after_the_other(loader: Loader, metrics: Metrics) -> None:
    """All of them succeed, and in the end what the folder says serves."""
    before = sample(metrics, "kilter_model_loads_total", outcome="loaded") or 0
    add(loader.folder)
    threads = [threading.Thread(target=loader.load, args=(NAME,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert serves(loader) == 2
    assert sample(metrics, "kilter_model_loads_total", outcome="loaded") == before + 8
