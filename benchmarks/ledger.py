"""Measurements on disk: a CSV that grows row by row, so that an interrupted run is taken up where it was."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Generic, TypeVar

import msgspec

Row = TypeVar("Row", bound=msgspec.Struct)


class Ledger(Generic[Row]):
    """The rows of one kind that were measured so far."""

    def __init__(self, path: Path, kind: type[Row], *, resume: bool) -> None:
        """Open a ledger, and read what it holds. Raises FileExistsError if that is not to be taken up."""
        self._path = path
        self._names = [field.name for field in msgspec.structs.fields(kind)]
        self.rows: list[Row] = []
        if path.exists():
            self.rows = self._read(kind)
            if self.rows and not resume:
                raise FileExistsError(f"{path} holds measurements: take them up with --resume, or name another --out")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", newline="") as file:
            csv.writer(file).writerow(self._names)
        kept, self.rows = self.rows, []
        self.add(kept)

    def add(self, rows: Iterable[Row]) -> None:
        """Append rows, on disk before this returns."""
        new = list(rows)
        with self._path.open("a", newline="") as file:
            csv.writer(file).writerows([_cell(getattr(row, name)) for name in self._names] for row in new)
        self.rows += new

    def _read(self, kind: type[Row]) -> list[Row]:
        """The complete rows of the file; the last line may have been cut short."""
        text = self._path.read_text()
        complete = text[: text.rfind("\n") + 1]
        found = csv.DictReader(complete.splitlines())
        return [
            msgspec.convert({name: cell for name, cell in row.items() if cell}, kind, strict=False) for row in found
        ]


def _cell(value: object) -> str:
    if value is None:
        return ""
    return repr(value) if isinstance(value, float) else str(value)
