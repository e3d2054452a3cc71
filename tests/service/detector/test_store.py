from pathlib import Path

import pytest

from kilter.service.detector import ArtifactError, KilterError, store


def add(models: Path, name: str = "plant", content: bytes = b"x") -> Path:
    """Add a version of one file and its checksums, which need not be true here."""
    return store.add(models, name, lambda version: {"a.txt": content + str(version).encode(), store.SUMS: b"sums\n"})


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A model with the versions 1, 2 and 3."""
    for _ in range(3):
        add(tmp_path)
    return tmp_path / "plant"


def test_versions_count_up(model: Path) -> None:
    """Each version that is added is the next whole number, and the highest serves."""
    assert store.versions(model) == [1, 2, 3]
    assert store.serving_version(model) == 3
    assert (model / "3" / "a.txt").read_bytes() == b"x3"
    assert store.models(model.parent) == ["plant"]


def test_versions_are_compared_as_numbers(model: Path) -> None:
    """Version 10 is higher than version 9."""
    for _ in range(7):
        add(model.parent)
    assert store.serving_version(model) == 10


def test_a_version_without_checksums_is_not_there(model: Path) -> None:
    """A folder that is not complete counts neither as a version nor as a model."""
    (model / "4").mkdir()
    (model / "4" / "manifest.json").write_text("{}")
    (model.parent / "other" / "1").mkdir(parents=True)
    assert store.versions(model) == [1, 2, 3]
    assert store.models(model.parent) == ["plant"]


def test_the_number_of_a_version_that_is_not_whole_is_not_used_again(model: Path) -> None:
    """A new version has the next number."""
    last = store.versions(model)[-1]
    (model / str(last) / store.SUMS).unlink()
    assert add(model.parent) == model / str(last + 1)


def test_a_pinned_version_serves_until_it_is_unpinned(model: Path) -> None:
    """A pin outlives new versions, and every user can read it."""
    store.pin(model, 2)
    add(model.parent)
    assert (store.serving_version(model), store.pinned_version(model)) == (2, 2)
    assert (model / store.PINNED).stat().st_mode & 0o777 == 0o644
    store.unpin(model)
    store.unpin(model)
    assert (store.serving_version(model), store.pinned_version(model)) == (4, None)


def test_only_a_version_that_is_there_can_be_pinned(model: Path) -> None:
    """The error lists those that are."""
    with pytest.raises(KilterError, match="has no version 7; it has 1, 2, 3"):
        store.pin(model, 7)
    assert store.serving_version(model) == 3


@pytest.mark.parametrize("text", ["", "9", "two", "-1", "²"])
def test_a_pin_that_names_no_version_is_an_error(model: Path, text: str) -> None:
    """It does not fall back to a version that nobody asked for."""
    (model / store.PINNED).write_text(text)
    with pytest.raises(KilterError, match="which is not there"):
        store.serving_version(model)


def test_rolling_back_steps_down_one_version_at_a_time(model: Path) -> None:
    """Until there is none."""
    assert [store.rollback(model), store.rollback(model)] == [2, 1]
    with pytest.raises(KilterError, match="no version before 1"):
        store.rollback(model)
    assert store.serving_version(model) == 1


def test_pruning_keeps_the_highest_versions_and_the_one_that_serves(model: Path) -> None:
    """Nothing hidden is left behind."""
    store.pin(model, 1)
    assert store.prune(model, 1) == [2]
    assert store.versions(model) == [1, 3]
    assert store.prune(model, 5) == []
    assert sorted(path.name for path in model.iterdir()) == ["1", "3", store.PINNED]
    with pytest.raises(KilterError, match="at least one"):
        store.prune(model, 0)


def test_resolve_takes_a_model_or_a_version(model: Path) -> None:
    """A model's folder means the version that serves, a version's itself."""
    store.pin(model, 2)
    assert store.resolve(model) == model / "2"
    assert store.resolve(model / "1") == model / "1"
    with pytest.raises(ArtifactError, match="there is nothing at"):
        store.resolve(model / "9")
    with pytest.raises(ArtifactError, match="no model at"):
        store.resolve(model.parent)


@pytest.mark.parametrize("name", ["", "Plant", "-plant", "../plant", "a" * 64, "plant_1"])
def test_a_model_is_named_so_that_it_can_stand_in_an_address(tmp_path: Path, name: str) -> None:
    """Any other name is refused before anything is written."""
    with pytest.raises(KilterError, match="a model's name is"):
        add(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_what_fails_half_way_leaves_no_trace(model: Path, error: type[BaseException]) -> None:
    """A version appears whole or not at all, whatever stops its writing."""

    def files(version: int) -> dict[str, bytes]:
        raise error

    with pytest.raises(error):
        store.add(model.parent, "plant", files)
    assert sorted(path.name for path in model.iterdir()) == ["1", "2", "3"]


def test_a_version_that_another_process_adds_meanwhile_is_not_overwritten(model: Path) -> None:
    """The later one becomes the version after it."""
    meanwhile: list[int] = []

    def files(version: int) -> dict[str, bytes]:
        if not meanwhile:
            meanwhile.append(version)
            add(model.parent, content=b"theirs")
        return {"a.txt": b"ours", store.SUMS: b"sums\n"}

    assert store.add(model.parent, "plant", files) == model / "5"
    assert (model / "4" / "a.txt").read_bytes() == b"theirs4"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """The user learns where and why."""
    (tmp_path / "plant").write_text("a file stands in the way")
    with pytest.raises(KilterError, match=r"cannot write the model to .*plant"):
        add(tmp_path)
