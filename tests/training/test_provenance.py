from pathlib import Path

from training.provenance import file_digest, file_names, was_trained_on


def test_a_training_file_is_known_again_by_its_content(tmp_path: Path) -> None:
    """Under any name; nothing is known where nothing was recorded."""
    path = tmp_path / "renamed.csv"
    path.write_bytes(b"abc")
    digest = file_digest(path)
    assert digest == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    training = {"files": [{"name": "a.csv", "sha256": digest}, {"name": "b.csv"}]}
    assert was_trained_on(training, digest)
    assert not was_trained_on({"files": [{"name": "a.csv", "sha256": "0" * 64}]}, digest)
    assert not was_trained_on({}, digest)
    assert file_names(training) == ["a.csv", "b.csv"]
