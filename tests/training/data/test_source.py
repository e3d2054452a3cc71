from pathlib import Path

import msgspec

from kilter.service.detector.findings import SourceFile, Training
from kilter.training.data.source import provenance, source_digest
from tests.support.manifests import training


def trained_on(*files: SourceFile) -> Training:
    return training(files=files)


def test_a_training_file_is_known_again_by_its_content(tmp_path: Path) -> None:
    """Under any name; nothing is known where nothing was recorded."""
    path = tmp_path / "renamed.csv"
    path.write_bytes(b"abc")
    digest = source_digest(path)
    assert digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert trained_on(SourceFile("a.csv", 3, digest), SourceFile("b.csv", 3, "")).was_trained_on(digest)
    assert not trained_on(SourceFile("a.csv", 3, "0" * 64)).was_trained_on(digest)
    assert not trained_on().was_trained_on(digest)
    assert provenance(path) == SourceFile("renamed.csv", 3, digest)


def test_a_folder_is_known_by_its_pictures_and_their_names(tmp_path: Path) -> None:
    """One checksum over all of them, whatever else lies there; another name, content or place is another folder."""
    for folder in ("a", "b"):
        (tmp_path / folder / "good").mkdir(parents=True)
        for name in ("good/1.png", "2.png"):
            (tmp_path / folder / name).write_bytes(b"\x89PNG\r\n\x1a\n" + name.encode())
    (tmp_path / "b" / "notes.txt").write_text("nothing to do with it")
    about = provenance(tmp_path / "a")
    assert about == msgspec.structs.replace(provenance(tmp_path / "b"), name="a")
    assert (about.name, about.pictures, about.bytes) == ("a", 2, 31)
    assert trained_on(about).was_trained_on(source_digest(tmp_path / "b"))
    changed = tmp_path / "b" / "3.png"
    digests = [source_digest(tmp_path / "b")]
    (tmp_path / "b" / "2.png").rename(changed)
    digests.append(source_digest(tmp_path / "b"))
    changed.write_bytes(b"\x89PNG\r\n\x1a\n3.png")
    digests.append(source_digest(tmp_path / "b"))
    changed.unlink()
    digests.append(source_digest(tmp_path / "b"))
    assert len(set(digests)) == len(digests)
