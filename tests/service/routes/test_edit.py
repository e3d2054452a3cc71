"""The route that moves records answers what the detector gives, whatever tells the direction."""

from collections.abc import Iterator
from io import BytesIO
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from kilter.service.detector import Detector
from tests.support import serving
from tests.support.data import records
from tests.support.digits import shuffled
from tests.support.serving import Client, client

ROWS = records(np.random.default_rng(9), 12)
FROM, TO = ROWS[2:6], ROWS[6:12]
PLANT, DIGITS = "/v1/models/plant", "/v1/models/digits"


@pytest.fixture(name="http", scope="module")
def _http(detector: Detector, digits_detector: Detector) -> Iterator[Client]:
    with client(detector, digits_detector, serving.detector(), max_records=50) as http:
        yield http


def named(made: Any, detector: Detector) -> Any:
    return {"model": {"name": detector.name, "version": detector.version}, "records": made}


@given(st.floats(-3, 3), st.none() | st.integers(0, 10**18 - 1))
def test_a_direction_leads_from_records_to_others(
    http: Client, detector: Detector, strength: float, seed: int | None
) -> None:
    """Or along groups, which is the same, or it is stated; by version too."""
    query = f"?strength={strength}" + ("" if seed is None else f"&seed={seed}")
    direction = detector.direction(FROM, TO)
    wanted = named(detector.edit(ROWS[:2], direction, strength, seed=seed), detector)
    groups = [False] * len(FROM) + [True] * len(TO)
    for place, body in (
        (PLANT, {"records": ROWS[:2], "from": FROM, "to": TO}),
        (f"{PLANT}/versions/1", {"records": ROWS[:2], "direction": direction.tolist()}),
        (PLANT, {"records": ROWS[:2], "by": FROM + TO + ROWS[:1], "along": [*groups, None]}),
    ):
        answer = http.post(f"{place}/edit{query}", json=body)
        assert answer.status_code == 200
        assert answer.json() == wanted


def test_a_direction_is_that_of_numbers(http: Client, detector: Detector) -> None:
    """To a standard deviation more of them; what is not known is left out."""
    numbers = [row["temperature"] for row in ROWS]
    direction = detector.direction(ROWS, along=numbers)
    wanted = detector.edit(ROWS[0], direction, 2.0)
    answer = http.post(f"{PLANT}/edit?strength=2", json={"records": [ROWS[0]], "by": ROWS, "along": numbers})
    assert answer.json() == named(wanted, detector)
    lacking = [None, *numbers[1:]]
    answer = http.post(f"{PLANT}/edit", json={"records": [ROWS[0]], "by": ROWS, "along": lacking})
    assert answer.json() == named(detector.edit(ROWS[0], detector.direction(ROWS[1:], along=numbers[1:])), detector)


def test_a_record_is_shown_on_its_way(http: Client, detector: Detector, digits_detector: Detector) -> None:
    """As rows of a table, or as pictures side by side."""
    body = {"records": ROWS[:1], "from": FROM, "to": TO}
    wanted = detector.edit(ROWS[0], detector.direction(FROM, TO), steps=4)
    assert http.post(f"{PLANT}/edit?steps=4", json=body).json() == named(wanted, detector)
    table = http.post(f"{PLANT}/edit?steps=4", json=body, headers={"Accept": "text/csv"})
    assert pl.read_csv(table.content)["temperature"].to_list() == [row["temperature"] for row in wanted]
    pictures = shuffled()[:5, ..., None]
    cells = digits_detector.modality.records(digits_detector.modality.read(pictures))
    body = {"records": cells[:1], "from": cells[1:3], "to": cells[3:]}
    strip = http.post(f"{DIGITS}/edit?steps=3", json=body, headers={"Accept": "image/png"})
    shown = np.asarray(Image.open(BytesIO(strip.content)))
    direction = digits_detector.direction(pictures[1:3], pictures[3:])
    moved = digits_detector.edit(pictures[0], direction, steps=3)[..., 0]
    assert shown.shape == (8, 3 * 8 + 2)
    assert np.array_equal(shown[:, 18:], moved[2])


SIZE = 16
ONE = ROWS[:1]


@pytest.mark.parametrize(
    ("query", "body", "words"),
    [
        ("", {"records": ONE}, "a direction is stated in one way, and whole"),
        ("", {"records": ONE, "from": FROM}, "a direction is stated in one way, and whole"),
        ("", {"records": ONE, "from": FROM, "to": TO, "direction": [0.0] * SIZE}, "stated in one way"),
        ("", {"records": ONE, "direction": [0.0]}, "the direction is a list of 16 numbers, as a code is, and this"),
        ("", {"records": ONE, "direction": [1e7] * SIZE}, "numbers up to 1,000,000"),
        ("", {"records": ONE, "direction": ["a"] * SIZE}, 'the body is {"records": [...]} with a direction'),
        ("", {"records": ONE, "way": 1}, 'the body is {"records": [...]} with a direction'),
        ("", {"records": ONE, "by": TO, "along": [1.0]}, "along has a value for each record of by: 1 for 6"),
        ("", {"records": ONE, "by": TO, "along": [1.0] * 6}, "no direction where all known values are the same"),
        ("", {"records": ONE, "by": TO, "along": [True] * 6}, "no direction where all known values are the same"),
        ("", {"records": ONE, "from": [ROWS[0] | {"count": "many"}], "to": TO}, "from: 1 record does not fit"),
        ("", {"records": [], "from": FROM, "to": TO}, "records: there are no records"),
        ("?steps=3", {"records": ROWS[:2], "from": FROM, "to": TO}, "with steps one record is shown on its way"),
        ("?steps=51", {"records": ONE, "from": FROM, "to": TO}, "steps is at most 50"),
        ("?strength=1e4", {"records": ONE, "from": FROM, "to": TO}, "strength is a number from -1,000 to 1,000"),
        ("?strength=1000", {"records": ONE, "direction": [1e6] * SIZE}, "beyond ±1,000,000"),
    ],
)
def test_what_cannot_be_done_is_said(http: Client, query: str, body: Any, words: str) -> None:
    """With the part of the body, and the problems of its records."""
    answer = http.post(f"{PLANT}/edit{query}", json=body)
    assert answer.status_code == 422
    assert words in answer.json()["detail"]
    assert bool(answer.json()["problems"]) == ("does not fit" in words)


def test_other_bodies_are_refused(http: Client) -> None:
    """What is no JSON, a key that stands twice, and another type; a model without codes says what to do."""
    assert http.post(f"{PLANT}/edit", content=b"{").status_code == 400
    twice = b'{"records": [], "records": [], "direction": [1]}'
    assert "twice" in http.post(f"{PLANT}/edit", content=twice).json()["detail"]
    assert http.post(f"{PLANT}/edit", content=b"a", headers={"Content-Type": "text/csv"}).status_code == 415
    assert http.post("/v1/models/shop/edit", content=b"{").status_code == 409
