"""The sizes that pictures had before they were brought to one."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kilter.service.detector.columns import ImageColumn

ASPECT = 1.25
"""Proportions that differ by less are not told."""


class Sizes(NamedTuple):
    """Height and width of each picture, (n, 2)."""

    values: npt.NDArray[np.int64]

    def sentence(self, column: ImageColumn) -> str:
        """What sizes there are, and what was done about it."""
        if not len(self.values):
            return "No picture could be read."
        count, taken = len(self.values), f"{column.height} x {column.width}"
        distinct = np.unique(self.values, axis=0)
        if len(distinct) == 1:
            one = f"{distinct[0][0]} x {distinct[0][1]}"
            scaled = "" if one == taken else f", brought to {taken}"
            pictures = "1 picture" if count == 1 else f"{count:,} pictures, all"
            return f"{pictures} {one} (height x width){scaled}."
        areas = self.values.prod(axis=1)
        least, most = (self.values[at] for at in (areas.argmin(), areas.argmax()))
        found = f"{count:,} pictures of {len(distinct):,} sizes, from {least[0]} x {least[1]} to {most[0]} x {most[1]}"
        return f"{found} (height x width), were brought to {taken}{self._proportions()}{self._enlarged(column)}."

    def _proportions(self) -> str:
        aspects = self.values[:, 1] / self.values[:, 0]
        low, high = float(aspects.min()), float(aspects.max())
        if high < ASPECT * low:
            return ""
        return f" whatever their proportions: width to height goes from {low:.2g} to {high:.2g}"

    def _enlarged(self, column: ImageColumn) -> str:
        smaller = int((self.values < (column.height, column.width)).any(axis=1).sum())
        return f"; {smaller:,} are smaller than that in height or width and were enlarged" if smaller else ""
