"""A run that was interrupted leaves what is on the disk, and is continued from there and nowhere else."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.service.detector import KilterError
from kilter.service.formats.addresses import Address
from kilter.service.formats.checkpoints import Checkpoint, FinishedOutput
from kilter.service.formats.counting import ScoredInput, Tally, added_tally
from kilter.service.formats.markers import RemoteMarker
from kilter.service.formats.partial import (
    JOURNAL,
    KEPT,
    Progress,
    UnfinishedError,
    compare_plans,
    keeping,
    remove_folder,
)

PLAN = {"model": "a", "inputs": [1, 2]}


def begun(folder: Path, content: bytes, told: int) -> None:
    """A run that was killed after it wrote some bytes, of which the journal tells the first."""
    progress = Progress(folder, PLAN, resume=False)
    file = progress.open()
    file.write(content[:told])
    progress.save(Checkpoint(size=told, blocks=1, tally=Tally(records=7)))
    file.write(content[told:])
    progress.close(keep=True)


@given(st.binary(max_size=9), st.integers(0, 9))
def test_what_the_journal_does_not_tell_is_written_again(content: bytes, told: int) -> None:
    """And no byte of it is left."""
    with TemporaryDirectory() as folder:
        place = Path(folder)
        told = min(told, len(content))
        begun(place / "p", content, told)
        progress = Progress(place / "p", PLAN, resume=True)
        assert progress.resumed
        assert progress.state == Checkpoint(size=told, blocks=1, tally=Tally(records=7))
        file = progress.open()
        assert file.tell() == told
        file.write(content[told:])
        progress.commit(Checkpoint(output=1), place / "out")
        progress.close(keep=False)
        assert (place / "out").read_bytes() == content
        assert [path.name for path in place.iterdir()] == ["out"]


@pytest.mark.parametrize("parts", [0, 2])
def test_parts_are_those_of_the_output_that_is_next(tmp_path: Path, parts: int) -> None:
    """When one is given its name, those that the journal tells of stay, and no others."""
    progress = Progress(tmp_path / "p", PLAN, resume=False)
    progress.open().write(b"one")
    progress.commit(Checkpoint(output=1), tmp_path / "one")
    progress.open()
    for part in range(3):
        (tmp_path / "p" / f"{part:08d}.part").write_bytes(b"x")
    progress.save(Checkpoint(output=1, parts=parts))
    progress.close(keep=True)
    progress = Progress(tmp_path / "p", PLAN, resume=True)
    progress.settle(tmp_path / "one")
    progress.open()
    assert len([*(tmp_path / "p").glob("*.part")]) == parts
    progress.close(keep=False)


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_half_a_line_of_the_journal_does_not_count(tmp_path: Path, cut: int) -> None:
    """The one before it does."""
    begun(tmp_path / "p", b"abc", 2)
    journal = tmp_path / "p" / JOURNAL
    whole = journal.read_bytes()
    journal.write_bytes(whole + whole[:cut])
    for _ in range(2):
        progress = Progress(tmp_path / "p", PLAN, resume=True)
        assert progress.state.size == 2
        progress.save(progress.state)
        progress.close(keep=True)


def test_without_resume_it_is_begun_anew(tmp_path: Path) -> None:
    """Nothing of before is left."""
    begun(tmp_path / "p", b"abc", 2)
    progress = Progress(tmp_path / "p", PLAN, resume=False)
    assert (progress.resumed, progress.state) == (False, Checkpoint())
    assert progress.open().tell() == 0
    progress.close(keep=False)
    assert not (tmp_path / "p").exists()


def test_inputs_that_are_done_are_known_once(tmp_path: Path) -> None:
    """Over several lines and runs."""
    first, second = ScoredInput("a", 1, "x", 2), ScoredInput("b", 2, "y", 3)
    progress = Progress(tmp_path / "p", PLAN, resume=True)
    progress.save(Checkpoint(inputs=(first,), done=1))
    progress.save(Checkpoint(done=1, blocks=4))
    progress.close(keep=True)
    progress = Progress(tmp_path / "p", PLAN, resume=True)
    progress.save(Checkpoint(inputs=(second,), done=2))
    assert progress.scored == [first, second]
    progress.close(keep=True)
    progress = Progress(tmp_path / "p", PLAN, resume=True)
    assert progress.scored == [first, second]
    progress.close(keep=False)


def test_two_do_not_write_at_once(tmp_path: Path) -> None:
    """The second is refused, and may once the first is done."""
    progress = Progress(tmp_path / "p", PLAN, resume=False)
    with pytest.raises(KilterError, match="another process is writing to"):
        Progress(tmp_path / "p", PLAN, resume=True)
    progress.close(keep=True)
    Progress(tmp_path / "p", PLAN, resume=True).close(keep=False)


def test_a_folder_of_somebody_else_is_not_used(tmp_path: Path) -> None:
    """Among temporary files, where anybody may lay one; nor what a link leads to."""
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "x").write_text("x")
    (tmp_path / "p").symlink_to(tmp_path / "mine")
    with pytest.raises(KilterError, match=r"is not your own: .* TMPDIR"):
        Progress(tmp_path / "p", PLAN, resume=False, marker=RemoteMarker(Address("s3://bucket/out")))
    assert (tmp_path / "mine" / "x").exists()


@pytest.mark.parametrize(
    ("plan", "message"),
    [
        ({"model": "b", "inputs": [1, 2]}, "model differs: it was a and is b"),
        ({"model": "a", "inputs": [1, 3]}, "inputs differs: it was 2 and is 3"),
        ({"model": "a", "inputs": [1]}, "inputs differs: it was 2 of them and is 1 of them"),
    ],
)
def test_what_differs_is_said(tmp_path: Path, plan: dict[str, object], message: str) -> None:
    """And what was begun can still be continued as it was."""
    begun(tmp_path / "p", b"abc", 2)
    with pytest.raises(KilterError, match=rf"{message}\. Leave --resume out"):
        Progress(tmp_path / "p", plan, resume=True)
    Progress(tmp_path / "p", PLAN, resume=True).close(keep=False)
    compare_plans(PLAN, PLAN, "out")


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt(), SystemExit(143)])
@pytest.mark.parametrize("some", [False, True])
def test_an_interrupted_run_is_kept_if_there_is_something_to_keep(
    tmp_path: Path, error: BaseException, some: bool
) -> None:
    """A full disk is an error that says so, and what to do."""
    progress = Progress(tmp_path / "p", PLAN, resume=False)
    expected = KilterError if isinstance(error, OSError) else type(error)
    if some:
        progress.save(Checkpoint(blocks=1))
    with pytest.raises(expected) as raised, keeping(progress, "out.csv"):
        raise error
    assert (tmp_path / "p").exists() == some
    if isinstance(error, OSError):
        assert str(raised.value).startswith("cannot write out.csv: No space left on device. ")
        assert ("add --resume" in str(raised.value)) == some
    with pytest.raises(ValueError, match="x"), keeping(Progress(tmp_path / "q", PLAN, resume=False), "out.csv"):
        raise ValueError("x")
    assert not (tmp_path / "q").exists()


def finished(place: int, records: int) -> FinishedOutput:
    """An output of a run whose outputs have an input each."""
    tally = Tally(records=records, errors=place % 2, first_error=f"of {place}" * (place % 2), blamed={"a": place})
    return FinishedOutput(place, place + 1, f"unit-{place}-x/data", ScoredInput(str(place), 1, "", records), tally)


@settings(max_examples=15)
@given(st.permutations(range(5)), st.integers(0, 5), st.booleans())
def test_outputs_are_finished_in_any_order(order: list[int], kills: int, half: bool) -> None:
    """They get their names; what is counted and noted is in the order of the outputs, after a kill too."""
    with TemporaryDirectory() as name:
        folder, outs = Path(name) / "p", [Path(name) / str(place) for place in range(5)]
        progress = Progress(folder, PLAN, resume=False)
        state = progress.state
        for count, place in enumerate(order):
            if count == kills:
                if half:
                    made(folder, "unit-9-lost")
                progress.close(keep=True)
                progress = Progress(folder, PLAN, resume=True)
                state = progress.take_up(outs)
                assert not (folder / "unit-9-lost").exists()
                assert sorted(progress.ahead) == sorted(order[:count])
            made(folder, f"unit-{place}-x")
            state = progress.finish(state, finished(place, 10 * place), outs[place])
            assert outs[place].read_bytes() == b"all of it"
        assert [one.name for one in progress.scored] == ["0", "1", "2", "3", "4"]
        assert (state.output, state.done) == (5, 5)
        assert state.tally == Tally(100, 0, 2, "of 1", blamed={"a": 10})
        progress.close(keep=False)
        assert not folder.exists()


def made(folder: Path, name: str) -> None:
    (folder / name).mkdir()
    (folder / name / "data").write_bytes(b"all of it")


def test_an_output_that_was_noted_gets_its_name_after_a_kill(tmp_path: Path) -> None:
    """As it stood in the folder when the line was written."""
    progress = Progress(tmp_path / "p", PLAN, resume=False)
    made(tmp_path / "p", "unit-1-x")
    progress.save(Checkpoint(ahead=(finished(1, 3),)))
    progress.close(keep=True)
    progress = Progress(tmp_path / "p", PLAN, resume=True)
    assert progress.take_up([tmp_path / "0", tmp_path / "1"]) == Checkpoint()
    assert (tmp_path / "1").read_bytes() == b"all of it"
    assert not (tmp_path / "p" / "unit-1-x").exists()
    progress.close(keep=False)


def test_what_was_done_of_the_next_output_is_forgotten(tmp_path: Path) -> None:
    """With what was counted of it; what was counted before stays."""
    progress = Progress(tmp_path / "p", PLAN, resume=False)
    progress.open().write(b"half")
    before, own = Tally(5, 1, 1, "first", blamed={"a": 2}), Tally(4, 1, 1, "second", blamed={"a": 1, "b": 1})
    progress.save(Checkpoint(1, done=1, blocks=2, size=4, parts=2, tally=added_tally(before, own), own=own))
    assert progress.forget_next() == progress.state == Checkpoint(1, done=1, tally=before)
    assert not (tmp_path / "p" / "data-0").exists()
    progress.close(keep=True)


def test_work_that_cannot_go_on_is_kept(tmp_path: Path) -> None:
    """If any of it was done, and it is said how to go on; otherwise nothing is left."""
    for done in (False, True):
        progress = Progress(tmp_path / "p", PLAN, resume=False)
        if done:
            progress.save(Checkpoint(1))
        with pytest.raises(UnfinishedError) as raised, keeping(progress, "out"):
            raise UnfinishedError("the scheduler is lost")
        assert (tmp_path / "p").exists() == done
        assert str(raised.value) == "the scheduler is lost" + f". {KEPT}" * done


def test_a_folder_is_removed_while_somebody_writes_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who gives up after a while."""
    left, rmtree = [1, 2], shutil.rmtree

    def slow(folder: Path, *, ignore_errors: bool) -> None:
        if left:
            left.pop()
        else:
            rmtree(folder, ignore_errors=ignore_errors)

    monkeypatch.setattr(shutil, "rmtree", slow)
    (tmp_path / "p").mkdir()
    remove_folder(tmp_path / "p")
    assert not (tmp_path / "p").exists()
