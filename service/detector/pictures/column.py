"""The one column of a model of pictures."""

from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec
import numpy as np

from kilter.service.detector.arrays import Array, Pixels
from kilter.service.detector.columns.base import Column, Feature
from kilter.service.detector.columns.cells import Decision, TextCells, TrainingCells
from kilter.service.detector.errors import Problem, RecordsError
from kilter.service.detector.pictures import pixels

if TYPE_CHECKING:
    import polars as pl

NO_PICTURES = "a table holds no pictures, and the model judges nothing else: name a folder of pictures, or one"


class ImageColumn(Column, msgspec.Struct, frozen=True, tag="image", tag_field="kind"):
    """A picture, brought to one size and number of channels before the network sees it.

    A picture file's own values are 8 or 16 bits deep and need no more than that; numbers of an array are taken so that
    `low` is black and `high` is white. The picture is stretched to the size, whatever its proportions.
    """

    name: str
    height: int
    width: int
    channels: Literal[1, 3]
    """1: grey, 3: red, green, blue."""
    low: float = 0.0
    high: float = 255.0
    missing: int = 0

    modality = "image"
    dtype = np.dtype(np.uint8)
    absent = 0
    required = True
    can_group = False
    value_axes = ("height", "width", "channels")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(height, width, channels)."""
        return self.height, self.width, self.channels

    @property
    def value_shape(self) -> tuple[int, ...]:
        return self.shape

    @property
    def size(self) -> int:
        """Number of values of a picture."""
        return self.height * self.width * self.channels

    @property
    def eight_bits(self) -> bool:
        """Whether numbers are taken as bytes are: 0 is black and 255 white."""
        return (self.low, self.high) == (0.0, 255.0)

    @property
    def datatype(self) -> str:
        return "UINT8" if self.eight_bits else "FP32"

    def features(self, index: int) -> tuple[Feature, ...]:
        return (Feature(index, "pixels", size=self.size),)

    def read(self, value: Any) -> Pixels:
        return pixels.read_cell(value, self)

    def split(self, array: Array) -> Array:
        return pixels.several(array, self)

    def holds(self, dtype: "pl.DataType") -> bool:
        raise RecordsError([Problem(None, self.name, NO_PICTURES)])

    def from_texts(self, cells: TextCells, problems: list[Problem]) -> Array:
        raise RecordsError([Problem(None, self.name, NO_PICTURES)])

    def encode(self, values: Array) -> Array:
        # A float64 would take eight times the pictures' memory.
        scaled = np.divide(values, np.float32(255), dtype=np.float32)
        return scaled.reshape(len(values), self.size)

    def describe(self) -> str:
        colours = "grey" if self.channels == 1 else "in colour"
        return f"{self.height} x {self.width} pixels (height x width), {colours}, from {self.low:g} to {self.high:g}"

    def json_schema(self) -> dict[str, Any]:
        return {
            "type": "string",
            "contentEncoding": "base64",
            "description": "a picture's file in base64, with or without `data:image/png;base64,` before it",
        }

    def differs(self, other: Column) -> str | None:
        if isinstance(other, ImageColumn) and other.shape != self.shape:
            return f"it sees pictures of the shape {self.shape}, the serving version of {other.shape}"
        return None

    @classmethod
    def infer(cls, cells: TrainingCells) -> Decision | None:
        return None

    def fit(self, values: Array) -> Self:
        return self

    def usual(self, rng: np.random.Generator) -> str:
        from kilter.service.detector.pictures import synthetic

        return synthetic.usual(self, rng)

    def odd(self, rng: np.random.Generator) -> str:
        from kilter.service.detector.pictures import synthetic

        return synthetic.odd(self, rng)
