"""An output file appears whole or not at all."""

import io
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kilter.service.detector import KilterError
from kilter.service.formats.writers import check_output, output_format, writing


def test_a_file_appears_when_it_is_complete(tmp_path: Path) -> None:
    """While it is written nothing stands at its place, and afterwards nothing else is left."""
    out = tmp_path / "out.csv"
    with writing(out) as place:
        place.file.write(b"verdicts")
        (place.parts / "part").write_bytes(b"part")
        assert not out.exists()
    assert out.read_bytes() == b"verdicts"
    assert list(tmp_path.iterdir()) == [out]


def write_half(out: Path, error: type[BaseException]) -> None:
    with writing(out) as place:
        place.file.write(b"half")
        raise error


@pytest.mark.parametrize("error", [KilterError, KeyboardInterrupt, RuntimeError])
def test_an_interrupted_output_leaves_nothing(tmp_path: Path, error: type[BaseException]) -> None:
    """An error or Ctrl-C leaves the file that was there before, and nothing half-written."""
    out = tmp_path / "out.csv"
    out.write_bytes(b"before")
    with pytest.raises(error):
        write_half(out, error)
    assert out.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [out]


@contextmanager
def disk_of(size: int) -> Iterator[None]:
    """A disk on which no file can grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    """Where the disk is full the message names the file, and nothing is left behind."""
    out = tmp_path / "out.csv"
    with pytest.raises(KilterError, match=r"cannot write .*out\.csv: File too large"), disk_of(1000), writing(out) as p:
        p.file.write(b"x" * 100_000)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full here")
def test_a_device_is_written_as_it_is() -> None:
    """A device is written to directly; a full one is told."""
    check_output("/dev/full", "in.csv", force=False)
    with pytest.raises(KilterError, match="cannot write /dev/full: No space left on device"), writing("/dev/full") as p:
        p.file.write(b"x")
    with writing(os.devnull) as place:
        place.file.write(b"x")


def test_standard_output_is_not_closed() -> None:
    """What goes to standard output stands there at once, and the stream stays open."""
    stream = io.BytesIO()
    with writing("-", stream) as place:
        place.file.write(b"x")
    assert stream.getvalue() == b"x"


def test_files_are_not_overwritten_unasked(tmp_path: Path) -> None:
    """An existing file needs force; the input, a folder and a place without folder are refused even then."""
    source, out = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_bytes(b"")
    check_output(out, source, force=False)
    check_output("-", "-", force=False)
    out.write_bytes(b"")
    check_output(out, source, force=True)
    with pytest.raises(KilterError, match=r"exists already: .* --force"):
        check_output(out, source, force=False)
    (tmp_path / "link.csv").symlink_to(source)
    for same in (source, tmp_path / "link.csv"):
        with pytest.raises(KilterError, match="is the file that is read"):
            check_output(same, source, force=True)
    with pytest.raises(KilterError, match="is a folder"):
        check_output(tmp_path, source, force=True)
    with pytest.raises(KilterError, match="there is no folder"):
        check_output(tmp_path / "absent" / "out.csv", source, force=True)


def test_endings_say_what_is_written() -> None:
    """The ending chooses format and compression; one that does not is refused with those that do."""
    for out, name, packing in (
        ("a.b/x.csv", "csv", ""),
        ("x.TSV.zst", "csv", ".zst"),
        ("x.parquet", "parquet", ""),
        ("x.feather", "arrow", ""),
        ("-", "csv", ""),
    ):
        form, packed = output_format(out)
        assert (form.name, packed) == (name, packing)
    for out in ("x", "x.gz", "x.json", "x.parquet.gz", "x.npz"):
        with pytest.raises(KilterError, match=r"end it in \.csv"):
            output_format(out)
