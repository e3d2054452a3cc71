"""Tests of `detector.arrays`."""

from typing import Any, get_args

import numpy as np
import pytest

from kilter.service.detector import arrays


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("Floats", np.float64),
        ("Matrix", np.float32),
        ("Mask", np.bool_),
        ("Positions", np.int64),
        ("Pixels", np.uint8),
        ("Times", np.datetime64),
    ],
)
def test_a_name_stands_for_one_type_of_values(name: str, dtype: type[Any]) -> None:
    """That of the arrays which the annotation of a function promises."""
    _, values = get_args(getattr(arrays, name))
    assert get_args(values) == (dtype,)
