import shutil
from pathlib import Path

import msgspec
import pytest

from kilter.service.detector import KilterError
from kilter.service.detector.findings import SourceFile, Training
from kilter.service.formats.provenance import source_digest
from kilter.service.formats.reading import read_frame
from kilter.training.data.source import check_sources, provenance, with_tables
from tests.support.manifests import training
from tests.support.stores import BUCKET, s3_server


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


def test_the_same_content_twice_is_refused_whatever_its_name(tmp_path: Path) -> None:
    """Files and folders of pictures; the error names both and says what to do."""
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n" + folder.encode())
    one, other, same = (tmp_path / name for name in ("one.csv", "other.csv", "copy.txt"))
    one.write_text("x\n1\n")
    other.write_text("x\n2\n")
    shutil.copy(one, same)
    shutil.copytree(tmp_path / "b", tmp_path / "c")
    check_sources((one, other))
    check_sources((tmp_path / "a", tmp_path / "b"))
    with pytest.raises(KilterError, match=r"copy\.txt has the same content as .*one\.csv: name it once"):
        check_sources((one, other, same))
    with pytest.raises(KilterError, match=r"one\.csv is named twice: name it once"):
        check_sources((one, other, one))
    with pytest.raises(KilterError, match=r"c has the same content as .*b: name it once"):
        check_sources((tmp_path / "a", tmp_path / "b", tmp_path / "c"))


def test_files_elsewhere_are_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All tables of a folder, each with its size and sum; pictures are not."""
    place = f"s3://{BUCKET}/{tmp_path.name}"
    with s3_server(monkeypatch) as files:
        for name in ("a.csv", "x/b.csv", "notes.md"):
            files.pipe_file(f"{place}/{name}", f"a,b\n1,{name}\n".encode())
        paths = with_tables([Path(place)])
        assert [str(path) for path in paths] == [f"{place}/a.csv", f"{place}/x/b.csv"]
        check_sources(paths)
        (tmp_path / "a.csv").write_bytes(b"a,b\n1,a.csv\n")
        assert provenance(paths[0]) == provenance(tmp_path / "a.csv")
        assert read_frame(paths).frame.rows() == [("1", "a.csv"), ("1", "x/b.csv")]
        with pytest.raises(KilterError, match="has the same content as"):
            check_sources([*paths, tmp_path / "a.csv"])


def test_what_is_empty_or_not_there_is_no_repetition(tmp_path: Path) -> None:
    """The reader has the better error for it."""
    empty = [tmp_path / "a", tmp_path / "b"]
    for folder in empty:
        folder.mkdir()
    files = [tmp_path / "a.csv", tmp_path / "b.csv"]
    for file in files:
        file.touch()
    check_sources((*empty, *files, tmp_path / "none.csv", tmp_path / "none.csv"))
