"""The exceptions of the detector: each text names the place and the remedy, and is fit to be shown to a user."""

from collections.abc import Sequence
from typing import NamedTuple


class KilterError(Exception):
    """Something that the user can put right."""


class ArtifactError(KilterError):
    """A model on disk is missing, damaged, or of a format that this version cannot read."""


class ColumnsError(KilterError):
    """A table has not the columns that it should have."""


class PictureError(KilterError):
    """A picture cannot be read, or is none that is accepted."""


class SeenRowsWarning(UserWarning):
    """Most of the records that are judged were in the training, and score lower than new ones would."""


class Problem(NamedTuple):
    """What is wrong with one cell, one record (`field` is None) or a whole input (`row` is None too)."""

    row: int | None
    """Position of the record in the input, from 0."""
    field: str | None
    message: str

    def __str__(self) -> str:
        place = [f"record {self.row}"] if self.row is not None else []
        place += [f"field {self.field!r}"] if self.field is not None else []
        return f"{', '.join(place)}: {self.message}" if place else self.message


class RecordsError(KilterError):
    """Records that do not fit the schema; `problems` lists every one that was found."""

    SHOWN = 20

    def __init__(self, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        lines = [str(problem) for problem in self.problems[: self.SHOWN]]
        if len(self.problems) > self.SHOWN:
            lines.append(f"... and {len(self.problems) - self.SHOWN} more")
        super().__init__("\n".join(lines))
