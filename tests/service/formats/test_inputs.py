"""What is stated becomes tables, each with one place to go to."""

from pathlib import Path

import pytest

from kilter.service.detector import KilterError
from kilter.service.formats.inputs import (
    OutputFile,
    ScoringInput,
    Shard,
    find_inputs,
    find_target,
    output_name,
    take_shard,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with tables of several kinds, and with what is none."""
    place = tmp_path / "in"
    for name in (
        "b.csv",
        "a.parquet",
        "x/c.csv.gz",
        "x/y/d.jsonl",
        "_SUCCESS",
        ".hidden.csv",
        "notes.md",
        "_tmp/e.csv",
    ):
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"a\n1\n")
    return place


def test_the_tables_of_a_folder(folder: Path) -> None:
    """All of them, below it too, in the order of their names; not what is hidden or no table."""
    assert [one.name for one in find_inputs([folder])] == ["a.parquet", "b.csv", "x/c.csv.gz", "x/y/d.jsonl"]


def test_files_and_patterns(folder: Path) -> None:
    """In the order in which they are stated; a file may be called as it likes, and look like a pattern."""
    odd = folder / "a[1].csv"
    odd.write_bytes(b"a\n")
    found = find_inputs([folder / "*.csv", odd, "-", folder / "notes.md"])
    assert [one.name for one in found] == ["a[1].csv", "b.csv", "a[1].csv", "-", "notes.md"]


def test_what_is_not_there_is_said(folder: Path, tmp_path: Path) -> None:
    """A pattern that fits nothing and a folder without tables; of a file whoever opens it says so."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(KilterError, match=r"no file is called like .*\*\.tsv"):
        find_inputs([folder / "*.tsv"])
    with pytest.raises(KilterError, match=r"empty holds no tables: their names end in \.json, \.csv"):
        find_inputs([tmp_path / "empty"])
    assert [one.name for one in find_inputs([tmp_path / "absent.csv"])] == ["absent.csv"]
    with pytest.raises(KilterError, match="one folder, file or stack at a time"):
        find_inputs([folder, folder], tables=False)


@pytest.mark.parametrize(
    ("name", "form", "expected"),
    [
        ("a.csv", None, "a.csv"),
        ("x/a.TSV.gz", None, "x/a.TSV.gz"),
        ("a.parquet", None, "a.parquet"),
        ("a.jsonl", None, "a.jsonl"),
        ("a.jsonl.gz", None, "a.jsonl.gz"),
        ("a.npz", "parquet", "a.parquet"),
        ("a.csv.gz", "parquet", "a.parquet"),
        ("a.parquet", "csv", "a.csv"),
        ("a.feather", "arrow", "a.feather"),
        ("data", None, "data.csv"),
        ("2024.01.data", None, "2024.01.data.csv"),
        ("-", None, "table.csv"),
    ],
)
def test_names_of_outputs(name: str, form: str | None, expected: str) -> None:
    """The input's own, but for the ending where another format is written."""
    assert output_name(name, form) == expected


def test_one_file_or_a_folder(folder: Path, tmp_path: Path) -> None:
    """The ending of a format makes it one file; what is a folder, or has several inputs and no ending, is a folder."""
    one, many = [folder / "b.csv"], [folder]
    for stated, out in ((one, "out.csv"), (many, "out.csv"), (many, "-"), (one, "-")):
        inputs = find_inputs(stated)
        assert find_target(inputs, stated, Path(out), None)[:2] == (
            (OutputFile(Path(out), (*range(len(inputs)),)),),
            None,
        )
    inputs = find_inputs(many)
    target = find_target(inputs, many, tmp_path / "out", "csv")
    assert target.folder == tmp_path / "out"
    names = ["a.csv", "b.csv", "x/c.csv.gz", "x/y/d.csv"]
    assert target.files == tuple(OutputFile(tmp_path / "out" / name, (i,)) for i, name in enumerate(names))
    (tmp_path / "there").mkdir()
    assert find_target(find_inputs(one), one, tmp_path / "there", None).folder == tmp_path / "there"
    assert find_target(find_inputs(one), one, tmp_path / "x", None).folder is None


def test_targets_that_cannot_be(folder: Path, tmp_path: Path) -> None:
    """Two inputs for one file, a folder among what is read, and a format that the ending says too."""
    inputs = [ScoringInput(folder / "b.csv", "b.csv"), ScoringInput(tmp_path / "b.csv", "b.csv")]
    with pytest.raises(KilterError, match=r"in/b\.csv and .*/b\.csv would both be written to .*two folders"):
        find_target(inputs, [], tmp_path / "out", None)
    with pytest.raises(KilterError, match=r"lies in .*, whose tables are read"):
        find_target(find_inputs([folder]), [folder], folder / "out", None)
    with pytest.raises(KilterError, match="--format is for a folder"):
        find_target(inputs, [], tmp_path / "out.csv", "parquet")


def test_shards_share_the_files(folder: Path, tmp_path: Path) -> None:
    """Each belongs to one."""
    inputs = find_inputs([folder])
    target = find_target(inputs, [folder], tmp_path / "out", None)
    shards = [take_shard(target, Shard(place, 3)) for place in range(3)]
    assert sorted(file for shard in shards for file in shard.files) == sorted(target.files)
    assert [str(shard.shard) for shard in shards] == ["0-of-3", "1-of-3", "2-of-3"]
