"""The rows that a score remembers are told by their places in the training files."""

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from kilter.service.detector.inputs import take
from kilter.service.detector.modalities import modality_of
from kilter.service.detector.similar import Origins, origins_of
from kilter.training.config import FitConfig, TrainConfig, with_detector
from kilter.training.data.source import TrainingSource, silent
from kilter.training.fitting.copies import without_copies
from kilter.training.fitting.model import Unexported, fit_unexported
from kilter.training.fitting.origins import remembered_origins
from kilter.training.modality import modality_of_source
from tests.support.data import records
from tests.support.digits import shuffled, write_pictures

ROWS = records(np.random.default_rng(3), 160)


def fitted(source: TrainingSource, **settings: Any) -> tuple[Unexported, Origins | None, Any]:
    """A brief fit, the origins of what it remembers, and the points of all rows."""
    config = TrainConfig(target_fpr=0.1, fit=FitConfig(steps=4, members=1), **{"split": "random", **settings})
    config = with_detector(config, config.detector)
    data = without_copies(modality_of_source(source).read(source, None, silent))
    made = fit_unexported(data, config)
    tensors = remembered_origins(data, made.split, made.module.score)
    if made.module.score.members is None:
        assert tensors == {}
        return made, None, None
    origins = origins_of(tensors, [path.name for path in source.paths], len(made.module.score.members))
    x = np.concatenate([*modality_of(made.schema).encode(take(data.table, np.arange(data.table.rows)))])
    with torch.no_grad():
        return made, origins, made.module.point(torch.from_numpy(x)).numpy()


def memory(made: Unexported) -> Any:
    """The points of the rows that a score remembers."""
    score: Any = made.module.score
    return (score.memory.rows if hasattr(score, "memory") else score.rows).numpy()


@pytest.mark.parametrize(
    "settings", [{}, {"detector": "nearest"}, {"score": "core", "memory_rows": 40}, {"split": "time"}]
)
def test_rows_are_told_by_file_and_number(settings: dict[str, Any], tmp_path: Path) -> None:
    """Of two files, one with a row that cannot be read; anomalies and copies of rows are not remembered."""
    frame = pl.DataFrame([row | {"outcome": "bad" if i % 9 == 0 else "good"} for i, row in enumerate(ROWS)])
    first, second = frame[:70], pl.concat([frame[70:], frame[71:76]])
    lines = first.write_csv().splitlines(keepends=True)
    (tmp_path / "a.csv").write_text("".join([*lines[:30], "1,2,3,4,5,6,7,8,9,10,11\n", *lines[30:]]))
    second.write_csv(tmp_path / "b.csv")
    source = TrainingSource((tmp_path / "a.csv", tmp_path / "b.csv"), "outcome", "good")
    made, origins, points = fitted(source, **settings)
    assert origins is not None
    assert origins.file is not None
    places = [*zip(origins.file.tolist(), origins.rows.tolist(), strict=True)]
    assert len(set(places)) == len(places) == len(memory(made)) > 30
    # Where a row stands among those that could be read, and its place in `frame`.
    read = [70 + row if file else row - (row > 29) for file, row in places]
    assert (0, 29) not in places
    assert not any((row if row < 160 else row - 89) % 9 == 0 for row in read)
    np.testing.assert_allclose(points[read][:, : memory(made).shape[1]], memory(made), atol=1e-3)


def test_pictures_are_told_by_name(tmp_path: Path) -> None:
    folder = write_pictures(tmp_path / "pictures", shuffled()[:60])
    made, origins, points = fitted(TrainingSource((folder,)))
    assert origins is not None
    assert origins.names == [f"{row // 10:02d}/{row:04d}.png" for row in origins.rows.tolist()]
    np.testing.assert_allclose(points[origins.rows], memory(made), atol=1e-5)


def test_rows_of_a_frame_are_told_by_number() -> None:
    """There is no file to name; a score without a memory has none to tell."""
    made, origins, points = fitted(TrainingSource(frame=pl.DataFrame(ROWS)))
    assert origins is not None
    assert origins.files == [None]
    np.testing.assert_allclose(points[origins.rows], memory(made), atol=1e-3)
    assert fitted(TrainingSource(frame=pl.DataFrame(ROWS)), score="elbo")[1] is None
