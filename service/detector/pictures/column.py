"""The one column of a model of pictures."""

from base64 import b64encode
from io import BytesIO
from typing import TYPE_CHECKING, Any, Literal, Self

import msgspec
import numpy as np

from kilter.service.detector.arrays import Array, Floats, Pixels
from kilter.service.detector.columns.base import Column, Feature
from kilter.service.detector.errors import PictureError, Problem, RecordsError
from kilter.service.detector.pictures.pixels import CHANNELS, DEEPEST, image_of, library, to_pixels

if TYPE_CHECKING:
    import polars as pl

NO_PICTURES = "a table holds no pictures, and the model judges nothing else: name a folder of pictures, or one"


class ImageColumn(Column, msgspec.Struct, frozen=True, tag="image", tag_field="kind"):
    """A picture, brought to one size and number of channels before the network sees it.

    A file of 8 bits tells the range of its own values; numbers of an array are taken so that `low` is black and `high`
    is white. The picture is stretched to the size, whatever its proportions.
    """

    name: str
    height: int
    width: int
    channels: Literal[1, 3]
    """1: grey, 3: red, green, blue."""
    low: float = 0.0
    high: float = 255.0
    missing: int = 0
    deep: tuple[float, float] | None = None
    """What is black and what white in a file of 16 bits: cameras fill 12 or 14 of them. None in models that were made
    before it was stored, which take all 16, and colours cut to 8."""

    modality = "image"
    dtype = np.dtype(np.uint8)
    absent = 0
    required = True
    can_group = False
    value_axes = ("height", "width", "channels")

    @property
    def shape(self) -> tuple[int, int, int]:
        return self.height, self.width, self.channels

    @property
    def size(self) -> int:
        """Number of values of a picture."""
        return self.height * self.width * self.channels

    @property
    def eight_bits(self) -> bool:
        """Whether numbers are taken as bytes are: 0 is black and 255 white."""
        return (self.low, self.high) == (0.0, 255.0)

    @property
    def deep_range(self) -> tuple[float, float]:
        return self.deep or DEEPEST

    @property
    def datatype(self) -> str:
        return "UINT8" if self.eight_bits else "FP32"

    def features(self, index: int) -> tuple[Feature, ...]:
        return (Feature(index, "pixels", size=self.size),)

    def value_name(self, place: int) -> str:
        row, column, channel = map(int, np.unravel_index(place, self.shape))
        colour = "" if self.channels == 1 else f", {('red', 'green', 'blue')[channel]}"
        return f"pixel ({row}, {column}{colour})"

    def read(self, value: Any) -> Pixels:
        return to_pixels(value, self)

    def split(self, array: Array) -> Array:
        """The pictures in an array, as (n, h, w) or (n, h, w, c).

        The array is (n, height * width * channels) of the model, else (h, w); (h, w, c) where the last is up to 4, else
        (n, h, w); or (n, h, w, c). Raises PictureError for any other shape.
        """
        if array.ndim == 2 and array.shape[1] == self.size:
            array = array.reshape(-1, *self.shape)
        elif array.ndim == 2 or (array.ndim == 3 and array.shape[2] in CHANNELS):
            array = array[None]
        if array.ndim not in (3, 4):
            shapes = f"(n, h, w), (n, h, w, c) or (n, {self.size})"
            raise PictureError(f"pictures are an array of shape {shapes}, not {array.shape}")
        return array

    def holds(self, dtype: "pl.DataType") -> bool:
        raise RecordsError([Problem(None, self.name, NO_PICTURES)])

    def encode(self, values: Array) -> Array:
        # A float64 would take eight times the pictures' memory.
        scaled = np.divide(values, np.float32(255), dtype=np.float32)
        return scaled.reshape(len(values), self.size)

    def decode(self, features: Floats) -> Pixels:
        return np.rint(np.clip(features, 0, 1) * 255).astype(np.uint8).reshape(-1, *self.shape)

    def cell(self, value: Any) -> str:
        return base64_of(value)

    def describe(self) -> str:
        colours = "grey" if self.channels == 1 else "in colour"
        return f"{self.height} x {self.width} pixels (height x width), {colours}, from {self.low:g} to {self.high:g}"

    def json_schema(self) -> dict[str, Any]:
        file = "a picture's file in base64, with or without `data:image/png;base64,` before it"
        return {"type": "string", "contentEncoding": "base64", "description": file}

    def differs(self, other: Column) -> str | None:
        if isinstance(other, ImageColumn) and other.shape != self.shape:
            return f"it sees pictures of the shape {self.shape}, the serving version of {other.shape}"
        return None

    def fit(self, values: Array) -> Self:
        return self

    def usual(self, rng: "np.random.Generator") -> str:
        """A shape before an even background, or a smooth field through 4 x 4 random values."""
        if rng.random() < 0.5:
            return base64_of(self._shape(rng))
        values = rng.integers(0, 256, (4, 4, self.channels)).astype(np.uint8)
        return base64_of(self._resize(values, library().Resampling.BICUBIC))

    def odd(self, rng: "np.random.Generator") -> str:
        """Coarse noise of full contrast, of 8 x 8 blocks."""
        blocks = rng.integers(0, 2, (8, 8, self.channels)).astype(np.uint8) * 255
        return base64_of(self._resize(blocks, library().Resampling.NEAREST))

    def _shape(self, rng: "np.random.Generator") -> Pixels:
        from PIL import ImageDraw

        background, ink = rng.integers(0, 256, (2, self.channels)).tolist()
        image = library().new("L" if self.channels == 1 else "RGB", (self.width, self.height), tuple(background))
        draw = ImageDraw.Draw(image)
        top, left = rng.uniform(0.05, 0.5, 2) * (self.height, self.width)
        bottom, right = rng.uniform(0.55, 0.95, 2) * (self.height, self.width)
        outline = draw.ellipse if rng.random() < 0.5 else draw.rectangle
        outline((int(left), int(top), int(right), int(bottom)), fill=tuple(ink))
        return np.asarray(image).reshape(self.shape)

    def _resize(self, pixels: Pixels, method: int) -> Pixels:
        return np.asarray(image_of(pixels).resize((self.width, self.height), method)).reshape(self.shape)


def png_of(pixels: Pixels) -> bytes:
    """Pixels, (height, width, channels), as a PNG file."""
    content = BytesIO()
    image_of(pixels).save(content, "PNG", optimize=True)
    return content.getvalue()


def strip_of(pictures: Pixels) -> Pixels:
    """Pictures, (n, height, width, channels), side by side, with a white line between them."""
    line = np.full((pictures.shape[1], 1, pictures.shape[3]), 255, np.uint8)
    parts = [part for picture in pictures for part in (line, picture)][1:]
    return np.concatenate(parts, axis=1)


def base64_of(pixels: Pixels) -> str:
    """Pixels, (height, width, channels), as PNG in base64."""
    return b64encode(png_of(pixels)).decode()
