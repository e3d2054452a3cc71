"""Training and scanning by Python: what `kilter train` and `kilter scan` do, from files or a frame."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kilter.service.detector import Detector, Verdicts
from kilter.service.detector.store import check_name
from kilter.service.formats.judge import Explained
from kilter.service.formats.source import Hints
from kilter.training.config import FitConfig, TrainConfig, read_config
from kilter.training.data.source import TrainingSource
from kilter.training.pipeline import train_model
from kilter.training.ranking import agreement_in_words
from kilter.training.scan import FDR, keep_model, scan_source

PathLike = str | os.PathLike[str]


def train(
    data: Any,
    name: str,
    models: PathLike = "models",
    *,
    label: str | None = None,
    normal: Any = None,
    exclude: Sequence[str] = (),
    group_by: str | None = None,
    image_size: tuple[int, int] | None = None,
    backbone: PathLike | None = None,
    delimiter: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
    config: PathLike | Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda line: None,
    **settings: Any,
) -> Detector:
    """Train a model and write it as the next version of `models/name`; return it as loaded from there.

    `data` is a path or several (tables, folders of pictures, arrays of pictures), or a frame: of pandas, or any with an
    Arrow C stream, like those of polars. With `label`, a row counts as normal where that column has the value `normal`;
    `exclude` names columns that are not looked at, and with `group_by` the values of a column have thresholds of their
    own. `delimiter`, `encoding` and `header` say how text tables are written and whether they have a header line, where
    that is not to be found out. `config` is a TOML file of settings or the same as a mapping; `settings` override it:
    `target_fpr`, `detector`, `score`, `split`, `split_by`, `seed`, `device`, `memory_rows`, `baselines`, `fit`,
    `threshold`, those of `fit` by themselves, as `model` and `beta`, and `categorical`, `numeric`, `timestamp` and
    `ignore`, lists of columns to be taken for that, as `docs/training.md` explains them. `say` is called with what was
    decided about the data. Raises KilterError for whatever the caller can put right.
    """
    source = source_of(
        data,
        label=label,
        normal=_as_text(normal),
        exclude=tuple(exclude),
        group_by=group_by,
        image_size=image_size,
        hints=Hints(delimiter, encoding, header),
    )
    place = None if backbone is None else Path(backbone)
    detector, _, _ = train_model(source, name, Path(models), config_of(config, settings), backbone=place, say=say)
    return detector


def scan(
    data: Any,
    *,
    fdr: float = FDR,
    reasons: int = 0,
    label: str | None = None,
    normal: Any = None,
    exclude: Sequence[str] = (),
    delimiter: str | None = None,
    encoding: str | None = None,
    header: bool | None = None,
    keep: str | None = None,
    models: PathLike = "models",
    config: PathLike | Mapping[str, Any] | None = None,
    say: Callable[[str], None] = lambda line: None,
    **settings: Any,
) -> Verdicts:
    """Judge the rows of a table itself, each by a model that saw neither it nor its copies; verdicts in their order.

    `data` is a path, several, or a frame, written and read as those of `train`; anomalies may be among the rows, and no
    labels are needed. Rows are flagged at the false-discovery rate `fdr`; `reasons` is how many each gets at most. A
    `label` column is seen by no model, and `say` is told how the ranking agrees with it. With `keep` a model that was
    fitted and calibrated without the flagged rows becomes the next version of `models/keep`. A row that could not be
    read has a score and p-value of NaN, and a problem. Raises KilterError for whatever the caller can put right.
    """
    hints = Hints(delimiter, encoding, header)
    source = source_of(data, label=label, normal=_as_text(normal), exclude=tuple(exclude), hints=hints)
    settled = config_of(config, settings)
    if keep is not None:
        check_name(keep)
    explained: Explained = "all" if reasons else "none"
    result = scan_source(source, settled, fdr=fdr, explained=explained, limit=reasons, say=say)
    for line in agreement_in_words(result):
        say(line)
    if keep is not None:
        keep_model(result, keep, Path(models), settled, say=say)
    return result.verdicts


def _as_text(normal: Any) -> str | None:
    """The value of a label as texts have it."""
    value = None if normal is None else str(normal)
    return value.lower() if value in ("True", "False") and not isinstance(normal, str) else value


def source_of(data: Any, **columns: Any) -> TrainingSource:
    """What to train on: a path, several, or a frame. Raises TypeError if it is none of these."""
    if isinstance(data, str | os.PathLike):
        return TrainingSource((Path(data),), **columns)
    if hasattr(data, "columns") or hasattr(data, "__arrow_c_stream__"):
        return TrainingSource(frame=data, **columns)
    if isinstance(data, Sequence) and data and all(isinstance(path, str | os.PathLike) for path in data):
        return TrainingSource(tuple(map(Path, data)), **columns)
    raise TypeError(f"train on a path, a list of paths, or a frame, not on {type(data).__name__}")


def config_of(config: PathLike | Mapping[str, Any] | None, settings: Mapping[str, Any]) -> TrainConfig:
    """The configuration of a file or a mapping, with settings before it. Raises TypeError for unknown ones."""
    known = (*TrainConfig.__struct_fields__, *FitConfig.__struct_fields__)
    unknown = settings.keys() - set(known)
    if unknown:
        raise TypeError(f"there is no setting {min(unknown)!r}: there are {', '.join(known)}")
    if isinstance(config, Mapping):
        return read_config(None, **{**config, **settings})
    return read_config(None if config is None else Path(config), **settings)
