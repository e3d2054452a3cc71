from pathlib import Path

from kilter.training.provenance import described, file_names, source_digest, was_trained_on


def test_a_training_file_is_known_again_by_its_content(tmp_path: Path) -> None:
    """Under any name; nothing is known where nothing was recorded."""
    path = tmp_path / "renamed.csv"
    path.write_bytes(b"abc")
    digest = source_digest(path)
    assert digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    training = {"files": [{"name": "a.csv", "sha256": digest}, {"name": "b.csv"}]}
    assert was_trained_on(training, digest)
    assert not was_trained_on({"files": [{"name": "a.csv", "sha256": "0" * 64}]}, digest)
    assert not was_trained_on({}, digest)
    assert file_names(training) == ["a.csv", "b.csv"]


def test_a_folder_is_known_by_its_pictures_and_their_names(tmp_path: Path) -> None:
    """One checksum over all of them, whatever else lies there; another name, content or place is another folder."""
    for folder in ("a", "b"):
        (tmp_path / folder / "good").mkdir(parents=True)
        for name in ("good/1.png", "2.png"):
            (tmp_path / folder / name).write_bytes(b"\x89PNG\r\n\x1a\n" + name.encode())
    (tmp_path / "b" / "notes.txt").write_text("nothing to do with it")
    about = described(tmp_path / "a")
    assert about == described(tmp_path / "b") | {"name": "a"}
    assert (about["name"], about["pictures"], about["bytes"]) == ("a", 2, 31)
    assert was_trained_on({"files": [about]}, source_digest(tmp_path / "b"))
    changed = tmp_path / "b" / "3.png"
    digests = [source_digest(tmp_path / "b")]
    (tmp_path / "b" / "2.png").rename(changed)
    digests.append(source_digest(tmp_path / "b"))
    changed.write_bytes(b"\x89PNG\r\n\x1a\n3.png")
    digests.append(source_digest(tmp_path / "b"))
    changed.unlink()
    digests.append(source_digest(tmp_path / "b"))
    assert len(set(digests)) == len(digests)
