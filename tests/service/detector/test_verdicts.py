"""Tests of `detector.verdicts`: verdicts on many records as a frame."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from kilter.service.detector import Detector, Verdicts
from tests.support import detectors

RECORDS: list[dict[str, Any]] = [
    {"amount": 1.0, "age": 1.0, "colour": "red"},
    {"amount": 9.0, "age": None, "colour": "blue"},
    {"amount": "x", "age": 2.0, "colour": "red"},
]


@pytest.fixture
def detector() -> Detector:
    """A detector of squares."""
    return detectors.detector(0.1, 99)


@pytest.mark.parametrize("as_frame", [Verdicts.to_polars, Verdicts.to_pandas])
def test_verdicts_are_a_frame_on_request(as_frame: Callable[[Verdicts], Any], detector: Detector) -> None:
    """With a row per record: null and the error where one does not fit."""
    verdicts = detector.score(RECORDS, errors="mark", reasons=1)
    frame = as_frame(verdicts)
    assert list(frame.columns) == ["score", "p_value", "anomaly", "reasons", "error"]
    assert list(frame["score"])[:2] == [2.0, 83.0]
    assert list(frame["anomaly"])[:2] == [False, True]
    assert json.loads(frame["reasons"][1])[0]["feature"] == "amount"
    last = list(frame[2:].to_dict("list").values() if isinstance(frame, pd.DataFrame) else frame.row(2))
    assert all(value is None or value == [None] or np.isnan(value[0]) for value in last[:-1])
    assert "field 'amount': a number is expected" in str(last[-1])
    assert list(as_frame(detector.score(RECORDS[:2])).columns) == ["score", "p_value", "anomaly", "error"]


def test_a_frame_of_pandas_has_the_index_of_the_records(detector: Detector) -> None:
    """So that it can be joined to theirs."""
    frame = pd.DataFrame(RECORDS[:2], index=["a", "b"])
    joined = frame.join(detector.score(frame).to_pandas(frame.index))
    assert joined.loc["b", "score"] == 83.0
