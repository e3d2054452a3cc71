"""An output says what it was made of, once it is complete."""

from pathlib import Path

import msgspec
import pytest

from kilter.service.detector import KilterError
from kilter.service.formats.counting import ScoredInput, Tally
from kilter.service.formats.inputs import find_inputs, find_target
from kilter.service.formats.success import check_destination, finished_run, plan_of, success_file, write_success
from tests.support.detectors import detector


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "in" / "a.csv"
    path.parent.mkdir()
    path.write_text("amount,age,colour\n1,2,red\n")
    return path


def test_the_plan_is_of_all_that_decides(source: Path) -> None:
    """Another model, another content or another option makes another plan; the folder of the input does not."""
    plans = [
        plan_of(model, find_inputs([source]), options)
        for model in (detector(), detector(target_fpr=0.1))
        for options in ({"tails": False}, {"tails": True})
    ]
    assert len({str(plan) for plan in plans}) == 4
    source.write_text(source.read_text() + "1,2,blue\n")
    assert plan_of(detector(), find_inputs([source]), {"tails": False}) not in plans
    assert str(source.parent) not in str(plans)


@pytest.mark.parametrize("name", ["out.csv", "out"])
def test_a_finished_output_is_known_again(source: Path, tmp_path: Path, name: str) -> None:
    """While it is there, and was made in the same way."""
    stated = [source.parent]
    inputs, made = find_inputs(stated), {"model": "a"}
    target = find_target(inputs, stated, tmp_path / name, None)
    assert finished_run(target, made) is None
    written, said_in = Path(str(target.files[0].path)), Path(str(success_file(target)))
    written.parent.mkdir(exist_ok=True)
    written.write_text("verdicts")
    tally = Tally(records=3, anomalies=2, errors=1, first_error="record 0: no")
    write_success(target, made, [ScoredInput("a.csv", 9, "ab", 3, 2, 1)], tally)
    assert finished_run(target, made) == (3, 2, 1, "record 0: no")
    said = msgspec.json.decode(success_file(target).read_bytes())
    assert said["inputs"][0]["output"] == target.files[0].path.name
    with pytest.raises(KilterError, match="model differs: it was a and is b"):
        finished_run(target, {"model": "b"})
    with pytest.raises(KilterError, match="already"):
        check_destination(target, inputs, force=False, resume=False)
    check_destination(target, inputs, force=True, resume=False)
    assert not success_file(target).exists()
    said_in.write_text("{}")
    with pytest.raises(KilterError, match="does not say what the output was made of"):
        finished_run(target, made)
    target.files[0].path.unlink()
    assert finished_run(target, made) is None


def test_targets_that_cannot_be_written(source: Path, tmp_path: Path) -> None:
    """A folder that is the input's own, is a file, or has no place."""
    stated = [source.parent / "*.csv"]
    inputs = find_inputs(stated)
    own = find_target(inputs, stated, source.parent, None)
    with pytest.raises(KilterError, match="is a file that is read"):
        check_destination(own, inputs, force=True, resume=False)
    nowhere = find_target(inputs, stated, tmp_path / "in", None)._replace(folder=tmp_path / "x" / "out")
    with pytest.raises(KilterError, match=r"there is no folder .* to make out in"):
        check_destination(nowhere, inputs, force=False, resume=False)
    with pytest.raises(KilterError, match="is a file: name a folder"):
        check_destination(nowhere._replace(folder=source), inputs, force=False, resume=False)
