"""The interface of a modality: how records are read, encoded and scored, and what is watched of them."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

import numpy as np

from kilter.service.detector.arrays import Array, Floats, Matrix
from kilter.service.detector.columns import Feature
from kilter.service.detector.columns.base import missing_values
from kilter.service.detector.errors import KilterError
from kilter.service.detector.inputs import Table, from_frame, from_records
from kilter.service.detector.runtime import Program
from kilter.service.detector.schema import Schema

if TYPE_CHECKING:
    from kilter.service.detector.modalities.pictures import Region
    from kilter.service.detector.modalities.tables import Reason
    from kilter.service.detector.verdicts import Verdicts


class Watched(NamedTuple):
    """A value of each record that is compared with the fitting rows while a model serves."""

    name: str
    position: int
    """Its position among those that `Modality.figures` gives."""
    feature: Feature
    comparable: bool = True
    """Whether its values are compared; if not, only the missing ones are counted."""
    missing: float = 0.0
    """Share of the fitting rows in which it was missing."""
    unseen: float | None = None
    """Share of normal records that are expected to have a new level; None for a value without levels."""
    low: float = -np.inf
    """Between this and `high` lies every value of the fitting rows."""
    high: float = np.inf


class Scores(NamedTuple):
    """The scores of n records, and what they come from."""

    score: Floats
    reasons: "Sequence[Sequence[Reason | Region]] | None"
    """None where none were asked for."""
    table: Table
    features: Matrix
    """`Modality.figures` of the records."""
    evidence: Floats | None = None
    """The evidence against each place of pictures, (n, rows * columns) of the grid; None without reasons."""


def _in_python(table: Table) -> Table:
    """A table whose problems call an unknown value what it is in Python: null is a word of JSON."""
    if not table.problems:
        return table
    problems = [
        problem._replace(message=re.sub(r"\b(send|use) null\b", r"\1 None or NaN", problem.message))
        for problem in table.problems
    ]
    return table._replace(problems=problems)


class Modality(ABC):
    """See `detector.modalities`."""

    name: ClassVar[str]
    decodes: ClassVar[bool] = False
    """Whether a record is a file that is decoded before it is judged, which takes time and memory."""
    draws: ClassVar[bool] = False
    """Whether the evidence against a record can be drawn over it."""
    has_fields: ClassVar[bool] = False
    """Whether a record is made of fields that can be changed one by one."""
    watched: tuple[Watched, ...]

    def __init__(self, schema: Schema, grid: tuple[int, int] | None = None) -> None:
        """`grid` is the grid of rows and columns in which a score gives evidence, if it gives evidence of places."""
        self.schema = schema
        self.grid = grid

    @property
    def weight(self) -> int:
        """How many ordinary records take as much memory as one of these."""
        return 1

    def most_records(self, limit: int) -> int:
        """How many records may be in memory at once, where `limit` ordinary ones may be."""
        return limit

    @abstractmethod
    def rows_per_call(self, device: str) -> int:
        """How many records a program takes at once on a device."""

    def read(self, data: Any) -> Table:
        """Read records, one record, an array, or a frame (of pandas, or with an Arrow C stream). Raises KilterError."""
        if isinstance(data, Table):
            return data
        if isinstance(data, np.ndarray):
            return self.read_array(data)
        if hasattr(data, "columns") or (hasattr(data, "__arrow_c_stream__") and not hasattr(data, "to_dict")):
            return from_frame(self.schema, data)
        if (
            hasattr(data, "to_dict")
            and hasattr(data, "index")
            and not set(map(str, data.index)) & set(self.schema.names)
        ):
            raise KilterError(
                "a Series is one record, and its index the names of the fields: for a column give a frame"
            )
        if isinstance(data, Mapping) or hasattr(data, "_asdict") or hasattr(data, "to_dict"):
            return _in_python(from_records(self.schema, [data]))
        if isinstance(data, Sequence) and not isinstance(data, str | bytes):
            return _in_python(from_records(self.schema, data))
        raise KilterError(f"records come as a list of dicts, an array or a frame, not as {type(data).__name__}")

    @abstractmethod
    def read_array(self, data: Array) -> Table:
        """Read an array. Raises KilterError if its shape does not fit."""

    @abstractmethod
    def encode(self, table: Table) -> Iterator[Matrix]:
        """The encoded records, (n, width), NaN where a value is missing, as many at a time as memory allows."""

    @abstractmethod
    def figures(self, x: Matrix) -> Matrix:
        """The values of encoded records that are watched, (n, ...); see `Watched.position`."""

    @abstractmethod
    def score(self, program: Program, table: Table, reasons: int) -> Scores:
        """Score records, with up to `reasons` reasons for each."""

    def decode(self, x: Matrix) -> Table:
        """The records whose encoded values these are, (n, width); fields that the network does not see are missing."""
        columns: dict[str, Array] = {}
        start = 0
        for index, column in enumerate(self.schema.columns):
            width = sum(feature.size for feature in column.features(index))
            columns[column.name] = column.decode(x[:, start : start + width].astype(np.float64))
            start += width
        columns |= {column.name: missing_values(column, len(x)) for column in self.schema.aside}
        return Table(columns, len(x), [])

    def records(self, table: Table) -> list[dict[str, Any]]:
        """The records of a table as JSON holds them."""
        cells = [list(map(column.cell, table.columns[column.name])) for column in self.schema.fields]
        return [dict(zip(self.schema.names, row, strict=True)) for row in zip(*cells, strict=True)]

    def given(self, table: Table) -> Any:
        """The records of a table in a form that `read` takes and Python's users work with."""
        return self.records(table)

    def reasons(
        self, verdicts: "Verdicts", rows: Iterable[int], limit: int, sizes: Sequence[Any] | None = None
    ) -> "list[Sequence[Reason | Region]]":
        """Up to `limit` reasons for some rows of verdicts that have reasons; `sizes` are their records' own sizes."""
        return [] if verdicts.reasons is None else [verdicts.reasons[row][:limit] for row in rows]

    def size(self, cell: Any) -> tuple[int, int]:
        """Width and height of a record that is one cell. Raises KilterError if it has none."""
        raise KilterError(f"a record of the modality {self.name} has no size")

    def draw(self, cell: Any, evidence: Floats, pixels: int | None = None) -> bytes:
        """A PNG of a record of at most `pixels` pixels with the evidence against it, (places,). Raises KilterError."""
        raise KilterError(f"a record of the modality {self.name} cannot be drawn")

    def check(self, program: Program, x: Matrix) -> None:  # noqa: B027 (most have nothing to check)
        """Raise ArtifactError if the evidence that a program gives for encoded records, x, does not fit the model."""

    def likelier(self, program: Program, records: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Records as the network expects them, by what they hold; by default as they are."""
        return records

    def example_tensors(self, probe: Mapping[str, Any]) -> list[tuple[str, list[int], list[Any]]]:
        """Name, shape and flat values of the tensors of an example request, made from one of the probes."""
        return [(column.name, [1], [probe[column.name]]) for column in self.schema.fields]

    def example(self, probe: Mapping[str, Any]) -> dict[str, Any]:
        """The record of an example request, made from one of the model's probes."""
        return dict(probe)
