"""The route of synthetic records: what it answers is what the detector makes."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.service.detector import Detector
from tests.support import serving
from tests.support.serving import Client, client

MAKER, DIGITS, OTHER = "/v1/models/maker/generate", "/v1/models/digits/generate", "/v1/models/shop/generate"


@pytest.fixture(name="http", scope="module")
def _http(maker: Detector, digits_detector: Detector) -> Iterator[Client]:
    with client(maker, digits_detector, serving.detector(), max_records=50) as http:
        yield http


@settings(max_examples=20)
@given(st.integers(1, 50), st.integers(0, 10**18 - 1), st.sampled_from(["learned", "standard"]))
def test_records_are_those_of_the_detector(http: Client, maker: Detector, count: int, seed: int, prior: Any) -> None:
    """By the same seed, and by version."""
    wanted = maker.generate(count, seed=seed, prior=prior)
    for place in (MAKER, MAKER.replace("/generate", "/versions/1/generate")):
        answer = http.post(f"{place}?seed={seed}", json={"count": count, "prior": prior})
        assert answer.status_code == 200, answer.text
        assert answer.json() == {"model": {"name": "maker", "version": 1}, "records": wanted}


def test_conditions_and_records_to_be_near_to(http: Client, maker: Detector) -> None:
    """As from Python; what is made can be scored."""
    near, where = maker.probes.records[:2], {"product": "nut", "pressure": None}
    answer = http.post(f"{MAKER}?seed=1", json={"count": 5, "near": near, "where": where})
    assert answer.json()["records"] == maker.generate(5, seed=1, near=near, where=where)
    assert http.post(MAKER.replace("generate", "score"), json={"records": answer.json()["records"]}).status_code == 200


def test_answers_come_in_lines_as_tables_and_as_a_picture(http: Client, maker: Detector) -> None:
    """Where Accept names them."""
    lines = http.post(f"{MAKER}?seed=1", json={"count": 4}, headers={"Accept": "application/x-ndjson"})
    assert [json.loads(line) for line in lines.text.splitlines()] == maker.generate(4, seed=1)
    table = http.post(MAKER, json={"count": 4}, headers={"Accept": "text/csv"})
    assert table.text.splitlines()[0].split(",") == list(maker.schema.names)
    picture = http.post(DIGITS, json={"count": 1}, headers={"Accept": "image/png"})
    assert picture.content.startswith(b"\x89PNG")
    assert len(http.post(DIGITS, json={"count": 3}).json()["records"]) == 3


@pytest.mark.parametrize(
    ("place", "body", "status", "message"),
    [
        (MAKER, {}, 422, "missing required field `count`"),
        (MAKER, {"count": 0}, 422, "the count is 1 or more"),
        (MAKER, {"count": 51}, 422, "the count is at most 50, the records that a request may have"),
        (MAKER, {"count": 3, "size": 1}, 422, "unknown field `size`"),
        (MAKER, {"count": 3, "near": []}, 422, "near has one record of a table or more"),
        (MAKER, {"count": 3, "near": [{"count": 1}]}, 422, "the field is missing"),
        (MAKER, {"count": 3, "prior": "flow"}, 422, "Invalid enum value 'flow'"),
        (MAKER, {"count": 3, "where": {"product": "gear"}}, 422, "is in too few of the fitting rows"),
        (MAKER, {"count": 3, "where": {"size": 1}}, 422, "the model has no column 'size'"),
        (DIGITS, {"count": 3, "where": {"x": 1}}, 422, "pictures have none"),
        (DIGITS, {"count": 3, "near": [{"x": 1}]}, 422, "near has one record of a table"),
        (OTHER, {"count": 3}, 409, "trained without a generator"),
    ],
)
def test_what_cannot_be_made_is_said(http: Client, place: str, body: Any, status: int, message: str) -> None:
    """With the remedy."""
    answer = http.post(place, json=body)
    assert answer.status_code == status, answer.text
    assert message in answer.text


def test_an_order_comes_as_json(http: Client) -> None:
    """And as nothing else."""
    answer = http.post(MAKER, content="count\n3\n", headers={"Content-Type": "text/csv"})
    assert answer.status_code == 415
    assert "an order comes as application/json" in answer.text
