"""The route of known records answers what the detector finds."""

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import Detector
from tests.support import serving
from tests.support.data import records
from tests.support.digits import shuffled
from tests.support.serving import Client, client

ROWS = records(np.random.default_rng(8), 6)
PLANT, DIGITS = "/v1/models/plant", "/v1/models/digits"


@pytest.fixture(name="http", scope="module")
def _http(detector: Detector, digits_detector: Detector) -> Iterator[Client]:
    with client(detector, digits_detector, serving.detector(), max_records=50) as http:
        yield http


def found(detector: Detector, rows: Any, k: int) -> Any:
    return json.loads(msgspec.json.encode(detector.similar(rows, k)))


@given(st.lists(st.integers(0, 5), min_size=1, max_size=6), st.none() | st.integers(1, 8))
def test_known_records_are_those_of_the_detector(
    http: Client, detector: Detector, picked: list[int], k: int | None
) -> None:
    """Five of each if it is not said, and by version."""
    rows, query = [ROWS[i] for i in picked], "" if k is None else f"?k={k}"
    for place in (PLANT, f"{PLANT}/versions/1"):
        answer = http.post(f"{place}/similar{query}", json={"records": rows})
        assert answer.status_code == 200
        assert answer.json() == {"model": {"name": "plant", "version": 1}, "similar": found(detector, rows, k or 5)}


def test_answers_come_in_lines(http: Client, detector: Detector) -> None:
    """A list in each; CSV has no place for lists, so that the answer is JSON."""
    lines = http.post(f"{PLANT}/similar?k=2", json={"records": ROWS}, headers={"Accept": "application/x-ndjson"})
    assert [json.loads(line) for line in lines.text.splitlines()] == found(detector, ROWS, 2)
    table = http.post(f"{PLANT}/similar?k=2", json={"records": ROWS}, headers={"Accept": "text/csv"})
    assert table.headers["content-type"] == "application/json"


def test_pictures_are_named(http: Client, digits_detector: Detector) -> None:
    pictures = shuffled()[:3, ..., None]
    cells = digits_detector.modality.records(digits_detector.modality.read(pictures))
    answer = http.post(f"{DIGITS}/similar?k=1", json={"records": cells})
    assert answer.json()["similar"] == found(digits_detector, pictures, 1)
    assert all(set(one) == {"distance", "row", "file", "name"} for [one] in answer.json()["similar"])


@pytest.mark.parametrize("query", ["?k=0", "?k=101", "?k=x", "?k=1&k=2"])
def test_how_many_are_shown_is_bounded(http: Client, query: str) -> None:
    answer = http.post(f"{PLANT}/similar{query}", json={"records": ROWS})
    assert (answer.status_code, answer.json()["detail"]) == (422, "k is a whole number from 1 to 100, given once")


def test_an_answer_has_no_more_known_records_than_a_request_may_have(http: Client) -> None:
    """Of each record as many are asked for."""
    assert http.post(f"{PLANT}/similar?k=50", json={"records": ROWS[:1]}).status_code == 200
    answer = http.post(f"{PLANT}/similar?k=26", json={"records": ROWS[:2]})
    assert answer.status_code == 422
    assert "k times the records is at most 50, the records that a request may have" in answer.json()["detail"]


def test_a_model_that_remembers_nothing_says_so(http: Client) -> None:
    """Before the body is looked at."""
    answer = http.post("/v1/models/shop/similar", content=b"{")
    assert answer.status_code == 409


def test_every_problem_is_listed(http: Client) -> None:
    rows = [ROWS[0], ROWS[1] | {"count": "many"}, ROWS[2] | {"extra": 1}]
    answer, score = (http.post(f"{PLANT}/{way}", json={"records": rows}) for way in ("similar", "score"))
    assert (answer.status_code, answer.json()) == (422, score.json())
