"""Tests of `data.decoding`: the same pictures in the same order, however many processes decode them."""

import os
import signal
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from kilter.service.detector.errors import KilterError, PictureError
from kilter.service.detector.pictures.pixels import to_pixels
from kilter.training.data.decoding import CHUNK, content_of_file, decoded_file, each
from tests.support.pictures import GREY, encoded, scene


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """More pictures than a process is given at once, of several sizes, one of them broken and one not there."""
    folder = tmp_path_factory.mktemp("pictures")
    paths = [folder / f"{i:03d}.png" for i in range(2 * CHUNK + 3)]
    for i, path in enumerate(paths):
        path.write_bytes(encoded(scene(20 + i, 30, seed=i)))
    paths[5].write_bytes(paths[5].read_bytes()[:100])
    paths[7].unlink()
    return paths


@pytest.mark.parametrize("alone", [0, 1 << 40], ids=["processes", "one process"])
def test_pictures_come_in_their_order_and_broken_ones_with_their_reason(paths: list[Path], alone: int) -> None:
    """Each as it is read by itself, with its own size; and progress ends with the last."""
    reports: list[tuple[int, int]] = []
    work = partial(decoded_file, GREY)
    pictures = list(each(work, paths, lambda done, total: reports.append((done, total)), alone=alone))
    assert len(pictures) == len(paths)
    for i, (path, one) in enumerate(zip(paths, pictures, strict=True)):
        if i in (5, 7):
            assert isinstance(one, PictureError)
            continue
        assert not isinstance(one, PictureError)
        assert (one.height, one.width) == (20 + i, 30)
        np.testing.assert_array_equal(one.pixels, to_pixels(path.read_bytes(), GREY))
    assert "cut short" in str(pictures[5])
    assert "No such file" in str(pictures[7])
    assert reports[-1] == (len(paths), len(paths))
    assert [done for done, _ in reports] == sorted({done for done, _ in reports})


def die(path: Path) -> Path:
    """End the process that works on a picture, as a kernel without memory does."""
    os._exit(9)


def test_a_process_that_dies_ends_the_reading_with_what_to_do(paths: list[Path]) -> None:
    """It does not hang, and says what the reason may be."""
    with pytest.raises(KilterError, match="may have run out of memory"):
        list(each(die, paths, lambda done, total: None, alone=0))


def test_a_file_that_is_too_long_is_not_read_into_memory(tmp_path: Path) -> None:
    """Its length is looked at before."""
    path = tmp_path / "long.png"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(PictureError, match="longer than"):
        content_of_file(path)


def deaf(path: Path) -> bool:
    """Whether the process that works on a picture does not hear Ctrl-C."""
    return signal.getsignal(signal.SIGINT) == signal.SIG_IGN


def test_an_interruption_is_heard_by_the_process_that_waits_alone(paths: list[Path]) -> None:
    """So that Ctrl-C ends all in one message, and not in one of each process."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # in the background of a shell it is ignored
    try:
        assert set(each(deaf, paths, lambda done, total: None, alone=0)) == {True}
        assert signal.getsignal(signal.SIGINT) == signal.default_int_handler
        assert not deaf(paths[0])
    finally:
        signal.signal(signal.SIGINT, before)
