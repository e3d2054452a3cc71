"""Arrays by the type of their values, as annotations name them."""

from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]
"""Scores, p-values, and the values of columns of numbers."""
Matrix = npt.NDArray[np.float32]
"""Encoded records, (n, features), as a network takes them."""
Mask = npt.NDArray[np.bool_]
"""Whether something holds of each of some rows."""
Positions = npt.NDArray[np.int64]
"""Places of rows, from 0."""
Pixels = npt.NDArray[np.uint8]
"""A picture, (height, width, channels), or several."""
Times = npt.NDArray[np.datetime64]
