from pathlib import Path

import pytest

from kilter.service.detector.findings import SourceFile, Training
from kilter.service.formats import provenance
from kilter.service.formats.provenance import source_bytes, source_digest, was_trained_on
from tests.support.manifests import training


def trained_on(path: Path) -> Training:
    return training(files=(SourceFile(path.name, source_bytes(path), source_digest(path)),))


def test_the_same_content_is_known_under_any_name(tmp_path: Path) -> None:
    """And other content is not, though it is as long."""
    first, copy, other = (tmp_path / name for name in ("a.csv", "b.csv", "c.csv"))
    for path, text in ((first, "x\n1\n"), (copy, "x\n1\n"), (other, "x\n2\n")):
        path.write_text(text)
    training = trained_on(first)
    assert was_trained_on(training, copy)
    assert not was_trained_on(training, other)
    assert not was_trained_on(training, tmp_path / "absent.csv")


def test_a_file_of_another_size_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To look for it among the training files costs nothing."""
    first, other = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text("x\n1\n")
    other.write_text("x\n100\n")
    training = trained_on(first)
    monkeypatch.setattr(provenance, "source_digest", lambda path: pytest.fail("it was read"))
    assert not was_trained_on(training, other)


def test_a_folder_has_the_size_of_its_pictures(tmp_path: Path) -> None:
    """Other files in it do not count."""
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (tmp_path / "notes.txt").write_bytes(b"12345")
    assert source_bytes(tmp_path) == 8
    assert len(source_digest(tmp_path)) == 64
