"""Frames with their verdicts: the work of scoring as one function, for engines that bring records as frames."""

from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import polars as pl

from kilter.service.detector import Detector, KilterError, load
from kilter.service.detector.names import check_fields, own_names
from kilter.service.detector.store import SUMS, resolve
from kilter.service.formats.judge import REASONS, BatchJudge, Explained
from kilter.service.formats.lines import COLUMNS, NEAREST, TAIL, VerdictColumns
from kilter.service.formats.reading import Batch

FrameT = TypeVar("FrameT")
"""A frame of polars or pandas, or a table or record batch of pyarrow."""


def score_frame(
    model: Detector | str | Path,
    frame: FrameT,
    *,
    reasons: Explained = "anomalies",
    limit: int = REASONS,
    tails: bool = False,
    keep: tuple[str, ...] | None = None,
) -> FrameT:
    """A frame of records with the columns appended that `kilter score` appends, of the same kind and in the same order.

    It depends on the frame alone and changes nothing; frames that are scored apart give what they give together, but
    for the last digits of a score. A model that is given by its path is loaded once in each process, on a CPU. Other
    columns are passed on as they are; a record that cannot be scored has its error, and no verdict. `reasons` says
    which records get reasons, up to `limit`; `tails` and `keep` append tail probabilities and nearest normals, in which
    the fields of the names in `keep` stay as they are. Raises KilterError if a column that is needed is not there, or
    one that is to be appended is.
    """
    detector = model if isinstance(model, Detector) else _loaded(*_place(Path(model)))
    if detector.schema.columns[0].shape:
        raise KilterError(f"the model {detector.name} judges pictures, and a frame holds records of fields")
    if keep is not None:
        detector.normals.kept(keep)
    names = _names(frame)
    appended = [*COLUMNS, *[TAIL] * tails, *[NEAREST] * (keep is not None)]
    present = [name for name in appended if name in names]
    if present:
        raise KilterError(f"the frame has a column {present[0]!r} already: take it out, or score the original one")
    check_fields("the frame", detector.schema.names, names)
    own = own_names(detector.schema.names, names)
    needed = [own.get(name, name) for name in detector.schema.names]
    judge = BatchJudge(detector, reasons, limit, tails=tails, keep=keep)
    made: FrameT = _with_columns(frame, judge(Batch(_read(frame, needed), 0)).verdicts)
    return made


def _place(path: Path) -> tuple[Path, bytes]:
    """The folder of the version that a path means, and what it holds, by its checksums."""
    folder = resolve(path)
    return folder, (folder / SUMS).read_bytes()


@lru_cache(maxsize=8)
def _loaded(folder: Path, sums: bytes) -> Detector:  # noqa: ARG001
    return load(folder)


def _kind(frame: Any) -> str:
    """The library that a frame is of. Raises KilterError for anything else."""
    library = type(frame).__module__.partition(".")[0]
    if library not in ("polars", "pandas", "pyarrow") or not hasattr(frame, "columns"):
        raise KilterError(f"records are a frame of polars or pandas, or a table of pyarrow, not {type(frame).__name__}")
    return library


def _names(frame: Any) -> list[str]:
    names = frame.schema.names if _kind(frame) == "pyarrow" else list(frame.columns)
    other = [name for name in names if not isinstance(name, str)]
    if other or len({*names}) < len(names):
        raise KilterError("each column of a frame needs a name of its own, and names are texts")
    return names


def _read(frame: Any, needed: list[str]) -> pl.DataFrame:
    """The columns of a frame that are needed."""
    if _kind(frame) != "pandas":
        return pl.DataFrame(frame.select(needed))
    try:
        typed: pl.DataFrame = pl.from_pandas(frame[needed], include_index=False)
    except (TypeError, ValueError) as error:
        raise KilterError(f"the frame cannot be read: {error}; give each column one type") from None
    return typed


def _with_columns(frame: Any, verdicts: VerdictColumns) -> Any:
    """The same frame with its verdicts."""
    columns = verdicts.frame()
    match _kind(frame):
        case "pyarrow":
            for name in columns.columns:
                frame = frame.append_column(name, columns[name].to_arrow())
            return frame
        case "pandas":
            return frame.assign(**{name: columns[name].to_pandas().to_numpy() for name in columns.columns})
        case _:
            return frame.hstack(columns)
