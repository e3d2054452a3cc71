"""Loading: a version is verified before it takes the place of another, and what cannot be loaded changes nothing."""

import logging
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from kilter.service.detector import KilterError, store
from kilter.service.models.loading import Loader, Watch, shadows_of
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


class Watched:
    """A folder with one version, which serves, and a watch that looks when it is told to."""

    def __init__(self, folder: Path, shadow: str | None = None) -> None:
        add(folder)
        self.folder = folder
        self.metrics = Metrics()
        self.loader = Loader(Registry(self.metrics), folder, "cpu")
        self.loader.load_all()
        self.watch = Watch(self.loader, 0, shadows_of(shadow))

    def look(self, times: int = 2) -> int | None:
        """Look so often, and return the version that serves."""
        for _ in range(times):
            self.watch.poll()
            self.watch.cast()
        serving = self.loader.registry.get(NAME)
        return None if serving is None else serving.detector.version

    def shadow(self) -> int | None:
        """The version in the shadow."""
        serving = self.loader.registry.get(NAME)
        return serving.shadow.candidate.version if serving is not None and serving.shadow is not None else None

    def loads(self, outcome: str) -> float | None:
        return self.metrics.registry.get_sample_value("kilter_model_loads_total", {"outcome": outcome})


@pytest.fixture(name="watched")
def _watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path)


def eventually(what: Callable[[], bool]) -> None:
    """Wait until it holds."""
    ends = time.monotonic() + 30
    while not what():
        assert time.monotonic() < ends
        time.sleep(0.005)


def test_what_has_not_changed_is_left_alone(watched: Watched) -> None:
    """However often one looks."""
    assert watched.look(5) == 1
    assert watched.loads("loaded") == 1


def test_a_new_version_serves_once_it_looks_the_same_twice(watched: Watched) -> None:
    """It may be on its way still when it is first seen."""
    add(watched.folder)
    assert watched.look(1) == 1
    assert watched.look(1) == 2
    assert watched.look(3) == 2
    assert watched.loads("loaded") == 2


def test_a_new_model_serves(watched: Watched) -> None:
    """Not only those that were there at the start."""
    add(watched.folder, "other")
    watched.look()
    assert watched.loader.registry.names == ["other", NAME]


def test_a_pin_is_followed(watched: Watched) -> None:
    """A higher version waits, and a pin back to an older one is as good as a new version."""
    store.pin(watched.folder / NAME, 1)
    add(watched.folder)
    assert watched.look() == 1
    store.pin(watched.folder / NAME, 2)
    assert watched.look() == 2
    assert store.rollback(watched.folder / NAME) == 1
    assert watched.look() == 1
    store.unpin(watched.folder / NAME)
    assert watched.look() == 2


def test_a_damaged_version_is_told_once_and_the_old_one_serves(
    watched: Watched, caplog: pytest.LogCaptureFixture
) -> None:
    """However often one looks, until it changes again."""
    damage(watched.folder, add(watched.folder))
    with caplog.at_level(logging.ERROR):
        assert watched.look(6) == 1
    assert [record.message for record in caplog.records] == ["model not loaded"]
    assert watched.loads("failed") == 1
    assert watched.metrics.registry.get_sample_value("kilter_model_load_failing", {"model": NAME}) == 1
    damage(watched.folder, 2)  # the same byte again: it is whole
    assert watched.look() == 2
    assert watched.metrics.registry.get_sample_value("kilter_model_load_failing", {"model": NAME}) == 0


def test_a_pin_that_leads_nowhere_is_told_once(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """What serves goes on."""
    (watched.folder / NAME / store.PINNED).write_text("9\n")
    with caplog.at_level(logging.ERROR):
        assert watched.look(4) == 1
    assert len(caplog.records) == 1


def test_a_model_that_is_gone_goes_on_serving(watched: Watched, caplog: pytest.LogCaptureFixture) -> None:
    """The log says so, once; when it comes back it is loaded."""
    (watched.folder / NAME).rename(watched.folder / ".aside")
    with caplog.at_level(logging.WARNING):
        assert watched.look(4) == 1
    assert [record.message for record in caplog.records] == ["model gone from the folder: it goes on serving"]
    (watched.folder / ".aside").rename(watched.folder / NAME)
    add(watched.folder)
    assert watched.look() == 2


def test_a_link_that_is_swapped_is_followed(tmp_path: Path) -> None:
    """As the kubelet does it: the folder is a link to a link, which is put in place of another."""
    for at in ("first", "second"):
        add(tmp_path / at)
    add(tmp_path / "second")
    (tmp_path / "..data").symlink_to("first")
    (tmp_path / "models").symlink_to("..data")
    loader = Loader(Registry(Metrics()), tmp_path / "models", "cpu")
    loader.load_all()
    watch = Watch(loader, 0, {})
    (tmp_path / "..new").symlink_to("second")
    (tmp_path / "..new").replace(tmp_path / "..data")
    for _ in range(2):
        watch.poll()
    serving = loader.registry.get(NAME)
    assert serving is not None
    assert serving.detector.version == 2


def test_an_unloaded_model_stays_unloaded(watched: Watched) -> None:
    """Even if it changes; until somebody loads it."""
    watched.loader.unload(NAME)
    add(watched.folder)
    assert watched.look(3) is None
    watched.loader.load(NAME)
    assert watched.look() == 2


def test_the_highest_version_is_in_the_shadow_of_a_lower_one_that_is_pinned(tmp_path: Path) -> None:
    """Each new one takes the place of the one before; pinned, it serves, and there is no shadow."""
    watched = Watched(tmp_path, f"{NAME}=latest,other=3")
    assert (watched.look(), watched.shadow()) == (1, None)
    store.pin(tmp_path / NAME, 1)
    add(tmp_path)
    assert (watched.look(), watched.shadow()) == (1, 2)
    add(tmp_path)
    assert (watched.look(), watched.shadow()) == (1, 3)
    store.pin(tmp_path / NAME, 3)
    assert (watched.look(), watched.shadow()) == (3, None)


def test_a_shadow_that_was_ended_does_not_come_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nor is one that cannot be loaded tried again, until another version is there."""
    watched = Watched(tmp_path, f"{NAME}=latest")
    store.pin(tmp_path / NAME, 1)
    add(tmp_path)
    watched.look()
    watched.loader.registry.uncast(NAME)
    watched.look()
    assert watched.shadow() is None
    damage(tmp_path, add(tmp_path))
    with caplog.at_level(logging.ERROR):
        watched.look(4)
    assert len(caplog.records) == 1
    add(tmp_path)
    watched.look()
    assert watched.shadow() == 4


def test_a_given_version_is_put_in_the_shadow_as_soon_as_it_is_there(tmp_path: Path) -> None:
    """It need not be there at the start."""
    watched = Watched(tmp_path, f"{NAME}=2")
    store.pin(tmp_path / NAME, 1)
    watched.look()
    assert watched.shadow() is None
    add(tmp_path)
    watched.look()
    assert watched.shadow() == 2


def test_it_looks_by_itself_until_it_is_left(tmp_path: Path) -> None:
    """In a thread, which ends; without an interval it puts versions in shadows, once."""
    watched = Watched(tmp_path)
    registry = watched.loader.registry
    with Watch(watched.loader, 0.005, {}):
        add(tmp_path)
        eventually(lambda: registry.versions(NAME) == [2])
    store.pin(tmp_path / NAME, 1)
    watched.loader.load(NAME)
    with Watch(watched.loader, 0, {NAME: None}):
        eventually(lambda: watched.shadow() == 2)
    add(tmp_path)
    assert registry.versions(NAME) == [1]


@pytest.mark.parametrize(
    ("shadow", "why"),
    [
        (f"{NAME}=9", f"{NAME} has versions 1 in FOLDER, not 9: correct KILTER_SHADOW, or add it"),
        ("other=latest", f"there is no model 'other' in FOLDER; there is {NAME}: correct KILTER_SHADOW, or add it"),
    ],
)
def test_a_shadow_that_is_not_there_is_an_error_in_the_log(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, shadow: str, why: str
) -> None:
    """With what is there instead; once, however often it is looked for."""
    watched = Watched(tmp_path, shadow)
    with caplog.at_level(logging.ERROR):
        watched.look(3)
    [record] = caplog.records
    assert record.levelname == "ERROR"
    assert record.message == "shadow not there"
    assert record.__dict__["fields"]["why"] == why.replace("FOLDER", str(tmp_path))
    assert watched.shadow() is None


def test_a_shadow_that_is_there_is_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Nor is one that comes later, from then on; if it goes again, that is told again."""
    watched = Watched(tmp_path, f"{NAME}=2")
    with caplog.at_level(logging.ERROR):
        watched.look()
        store.pin(tmp_path / NAME, 1)
        add(tmp_path)
        watched.look(2)
        assert watched.shadow() == 2
        assert len(caplog.records) == 1
        shutil.rmtree(tmp_path / NAME / "2")
        watched.look(2)
    assert len(caplog.records) == 2


@pytest.mark.parametrize("below", ["", "3"])
def test_a_model_given_for_a_folder_of_models_is_told_from_an_empty_one(tmp_path: Path, below: str) -> None:
    """The remedy is the folder around it."""
    version = tmp_path / "all" / "shop" / "3"
    version.mkdir(parents=True)
    for name in ("manifest.json", "SHA256SUMS"):
        (version / name).write_text("")
    folder = tmp_path / "all" / "shop" / below
    loader = Loader(Registry(Metrics()), folder, "cpu")
    loader.load_all()
    remedy = f"{folder} is a model, not a folder of models: name its parent, with --models {tmp_path / 'all'}"
    assert loader.registry.why_not_ready == remedy
