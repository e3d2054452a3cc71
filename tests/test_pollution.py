"""Polluted CSV files are read as the clean tables that they are; what cannot be is named, not trained on in silence."""

import re
from collections.abc import Callable
from pathlib import Path
from random import Random

import polars as pl
import pytest

from kilter.service.detector import Detector, KilterError, load
from kilter.service.formats.reading import read_frame
from kilter.service.formats.scoring import score_file
from kilter.training.config import FitConfig, TrainConfig
from kilter.training.data.source import TrainingSource
from kilter.training.data.tables import read_tables
from kilter.training.pipeline import train_model
from tests.support.pollution import FIELDS, POLLUTIONS, Polluted, Rows, clean_table, written

DOCUMENT = Path(__file__).parent.parent / "docs/files.md"
SEEDS = range(20)
RIGHT = 0.9
Pollution = Callable[[Random, list[str], Rows], Polluted]


def polluted(pollution: Pollution, seed: int) -> Polluted:
    random = Random(f"{pollution.__name__} {seed}")
    return pollution(random, *clean_table(random))


def is_read_right(path: Path, file: Polluted) -> bool:
    """Whether names and cells are those of the clean table, and the lines that are no records are told."""
    path.write_bytes(file.data)
    frame, _, _, notes, *_ = read_frame([path])
    header = file.header or [f"column_{i + 1}" for i in range(len(file.rows[0]))]
    named = file.lost == 0 or any(f"{file.lost} row" in note and re.search(r"line \d+", note) for note in notes)
    return named and frame.columns == header and [*map(list, frame.rows())] == file.rows


def is_noted(path: Path) -> bool:
    """Whether training on a file says anything about how it was read, or refuses it."""
    try:
        return len(read_tables(TrainingSource((path,))).notes) > 0
    except KilterError:
        return True


def test_what_is_usual_is_read_right_and_nothing_else_silently(tmp_path: Path) -> None:
    """At least nine of ten polluted files are read right, of each kind half; of the others each draws a note."""
    path = tmp_path / "table.csv"
    right: dict[str, int] = {}
    silent = []
    for pollution in POLLUTIONS:
        for seed in SEEDS:
            if is_read_right(path, polluted(pollution, seed)):
                right[pollution.__name__] = right.get(pollution.__name__, 0) + 1
            elif not is_noted(path):
                silent.append((pollution.__name__, seed))
    assert silent == []
    assert sum(right.values()) >= RIGHT * len(SEEDS) * len(POLLUTIONS), right
    assert min(right.get(pollution.__name__, 0) for pollution in POLLUTIONS) >= len(SEEDS) / 2, right


def test_clean_files_draw_no_note(tmp_path: Path) -> None:
    """A note on what is plain would teach people not to read them."""
    path = tmp_path / "table.csv"
    for seed in SEEDS:
        header, rows = clean_table(Random(seed))
        path.write_text(written([header, *rows], Random(seed).choice(",;\t|")))
        frame, _, _, notes, *_ = read_frame([path])
        assert ([*map(list, frame.rows())], notes) == (rows, ())


def test_the_document_lists_every_kind() -> None:
    """With what happens to it."""
    listed = re.findall(r"^\| ([a-z ]+) \| .+ \|$", DOCUMENT.read_text(), re.MULTILINE)
    assert [*listed] == ["pollution", *(pollution.__name__.replace("_", " ") for pollution in POLLUTIONS)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Detector:
    """A model of clean tables with every field."""
    folder, random = tmp_path_factory.mktemp("model"), Random(0)
    rows = [[make(random) for make in FIELDS.values()] for _ in range(300)]
    (folder / "clean.csv").write_text(written([[*FIELDS], *rows]))
    config = TrainConfig(target_fpr=0.05, split="random", fit=FitConfig(steps=40))
    train_model(TrainingSource((folder / "clean.csv",)), "plant", folder, config)
    return load(folder / "plant")


@pytest.mark.parametrize("pollution", POLLUTIONS, ids=lambda pollution: pollution.__name__)
def test_a_polluted_file_is_scored_as_the_clean_one(pollution: Pollution, model: Detector, tmp_path: Path) -> None:
    """Each record gets its verdict, in its place in a file that is read again; what is no record has an error."""
    random = Random(pollution.__name__)
    header = [*FIELDS, "site"]
    rows = [[*(make(random) for make in FIELDS.values()), random.choice(("north", "upper hall"))] for _ in range(30)]
    file = pollution(random, header, rows)
    clean, dirty = tmp_path / "clean.csv", tmp_path / "dirty.csv"
    clean.write_text(written([header, *([row[-len(header) :] for row in file.rows])]))
    dirty.write_bytes(file.data)
    expected = tmp_path / "expected.parquet"
    score_file(model, clean, expected)
    if file.header is None:
        with pytest.raises(KilterError, match="it has no header line, so add one with the names"):
            score_file(model, dirty, tmp_path / "out.csv")
        return
    summary = score_file(model, dirty, tmp_path / "out.csv")
    assert summary.errors == file.lost
    scores = pl.read_parquet(expected)["kilter_score"].to_list()
    for name in ("out.csv", "out.parquet"):
        score_file(model, dirty, tmp_path / name, force=True)
        frame = read_frame([tmp_path / name]).frame
        good = frame.filter(pl.col("kilter_error").fill_null("") == "")
        assert good["kilter_score"].cast(pl.Float64).to_list() == pytest.approx(scores, abs=1e-4)
        assert good["temperature"].cast(pl.Float64).to_list() == pl.read_parquet(expected)["temperature"].to_list()
