"""The routes of the latent space: what they answer is what the detector gives, whatever the form of the request."""

import json
from base64 import b64decode
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
from tests.support.serving import Client, client

ROWS = records(np.random.default_rng(4), 6)
CSV = {"Content-Type": "text/csv"}
PLANT, DIGITS = "/v1/models/plant", "/v1/models/digits"
WAYS = ("encode", "decode", "reconstruct", "interpolate")


@pytest.fixture(name="http", scope="module")
def _http(detector: Detector, digits_detector: Detector) -> Iterator[Client]:
    with client(detector, digits_detector, serving.detector(), max_records=50) as http:
        yield http


def named(rows: list[Any], what: str, detector: Detector) -> Any:
    return {"model": {"name": detector.name, "version": detector.version}, what: rows}


def test_codes_are_those_of_the_detector(http: Client, detector: Detector) -> None:
    """In every format in which records come, and by version."""
    wanted = named(detector.encode(ROWS).tolist(), "codes", detector)
    frame, arrow = pl.DataFrame(ROWS), BytesIO()
    frame.write_ipc(arrow)
    bodies: list[tuple[str, Any]] = [
        ("application/json", json.dumps({"records": ROWS})),
        ("application/json", json.dumps({"columns": frame.to_dict(as_series=False)})),
        ("application/x-ndjson", "".join(json.dumps(row) + "\n" for row in ROWS)),
        ("text/csv", frame.write_csv()),
        ("application/vnd.apache.arrow.file", arrow.getvalue()),
    ]
    for media_type, body in bodies:
        for place in (PLANT, f"{PLANT}/versions/1"):
            answer = http.post(f"{place}/encode", content=body, headers={"Content-Type": media_type})
            assert (answer.status_code, answer.json()) == (200, wanted), media_type


@given(st.lists(st.integers(0, 5), min_size=1, max_size=8), st.none() | st.integers(0, 10**18 - 1))
def test_to_encode_and_to_decode_is_to_reconstruct(
    http: Client, detector: Detector, picked: list[int], seed: int | None
) -> None:
    """With a seed too; the records are those of the detector."""
    rows, query = [ROWS[i] for i in picked], "" if seed is None else f"?seed={seed}"
    codes = http.post(f"{PLANT}/encode", json={"records": rows}).json()["codes"]
    decoded = http.post(f"{PLANT}/decode{query}", json={"codes": codes})
    direct = http.post(f"{PLANT}/reconstruct{query}", json={"records": rows})
    assert decoded.status_code == direct.status_code == 200
    assert decoded.json() == direct.json() == named(detector.reconstruct(rows, seed=seed), "records", detector)
    assert http.post(f"{PLANT}/score", json={"records": direct.json()["records"]}).status_code == 200


def test_answers_come_in_lines_and_as_tables(http: Client, detector: Detector) -> None:
    """Where Accept names them; the model stands in headers then."""
    codes = detector.encode(ROWS)
    for accept, read in (
        ("application/x-ndjson", lambda text: [json.loads(line) for line in text.splitlines()]),
        ("text/csv", lambda text: [list(row)[:-1] for row in pl.read_csv(text.encode()).rows()]),
    ):
        answer = http.post(f"{PLANT}/encode", json={"records": ROWS}, headers={"Accept": accept})
        assert answer.headers["content-type"] == accept
        assert answer.headers["kilter-model"] == "plant"
        np.testing.assert_allclose(read(answer.text), codes)
    lines = http.post(f"{PLANT}/decode", json={"codes": codes.tolist()}, headers={"Accept": "application/x-ndjson"})
    assert [json.loads(line) for line in lines.text.splitlines()] == detector.decode(codes)
    table = http.post(f"{PLANT}/decode", json={"codes": codes.tolist()}, headers={"Accept": "text/csv"})
    scored = http.post(f"{PLANT}/score", content=table.content, headers={"Content-Type": "text/csv"})
    assert len(scored.json()["results"]) == 6


def test_a_picture_comes_back_as_one(http: Client, digits_detector: Detector) -> None:
    """As a PNG where Accept names it and it is the only one, else in base64."""
    pixels = digits_detector.decode(np.zeros(digits_detector.latent.size) + 0.2)[0]
    body = BytesIO()
    Image.fromarray(pixels[..., 0]).save(body, "PNG")
    headers = {"Content-Type": "image/png"}
    wanted = digits_detector.reconstruct(pixels)[0, ..., 0]
    code = http.post(f"{DIGITS}/encode", content=body.getvalue(), headers=headers)
    np.testing.assert_allclose(code.json()["codes"], digits_detector.encode(pixels), atol=1e-5)
    plain = http.post(f"{DIGITS}/reconstruct", content=body.getvalue(), headers=headers)
    [record] = plain.json()["records"]
    assert np.array_equal(np.asarray(Image.open(BytesIO(b64decode(*record.values())))), wanted)
    drawn = http.post(f"{DIGITS}/reconstruct", content=body.getvalue(), headers=headers | {"Accept": "image/png"})
    assert drawn.headers["content-type"] == "image/png"
    assert np.array_equal(np.asarray(Image.open(BytesIO(drawn.content))), wanted)
    codes = code.json()["codes"]
    two = http.post(f"{DIGITS}/decode", json={"codes": codes * 2}, headers={"Accept": "image/png"})
    assert two.status_code == 422
    assert "one picture: send one, or accept JSON" in two.json()["detail"]


def test_a_way_is_that_of_the_detector(http: Client, detector: Detector, digits_detector: Detector) -> None:
    """From the first record to the second; of pictures also as a strip."""
    answer = http.post(f"{PLANT}/interpolate?steps=5", json={"records": ROWS[:2]})
    assert answer.json() == named(detector.interpolate(ROWS[0], ROWS[1], steps=5), "records", detector)
    usual = http.post(f"{PLANT}/interpolate?seed=2", content=pl.DataFrame(ROWS[:2]).write_csv(), headers=CSV)
    assert usual.json() == named(detector.interpolate(ROWS[0], ROWS[1], seed=2), "records", detector)
    pixels = digits_detector.decode(np.random.default_rng(0).normal(size=(2, digits_detector.latent.size)))
    cells = digits_detector.modality.records(digits_detector.modality.read(pixels))
    strip = http.post(f"{DIGITS}/interpolate?steps=3", json={"records": cells}, headers={"Accept": "image/png"})
    shown = np.asarray(Image.open(BytesIO(strip.content)))
    assert shown.shape == (8, 3 * 8 + 2)
    middle = digits_detector.interpolate(pixels[0], pixels[1], steps=3)[1, ..., 0]
    assert np.array_equal(shown[:, 9:17], middle)


@pytest.mark.parametrize(
    ("query", "rows", "status", "words"),
    [
        ("", 1, 422, "the way is from one record to another: send two, not 1"),
        ("", 3, 422, "send two, not 3"),
        ("?steps=1", 2, 422, "steps is a whole number from 2 to 9,999, given once"),
        ("?steps=51", 2, 422, "steps is at most 50, the records that a request may have"),
    ],
)
def test_a_way_that_is_none_is_refused(http: Client, query: str, rows: int, status: int, words: str) -> None:
    answer = http.post(f"{PLANT}/interpolate{query}", json={"records": ROWS[:rows]})
    assert answer.status_code == status
    assert words in answer.json()["detail"]


def test_every_problem_of_the_records_is_listed(http: Client) -> None:
    """As by the score route, whatever is to become of them."""
    rows = [ROWS[0], ROWS[1] | {"count": "many"}, ROWS[2] | {"extra": 1}]
    for way in ("encode", "reconstruct"):
        answer = http.post(f"{PLANT}/{way}", json={"records": rows})
        score = http.post(f"{PLANT}/score", json={"records": rows})
        assert (answer.status_code, answer.json()) == (422, score.json())
        passed = http.post(f"{PLANT}/{way}?ignore_unknown=true", json={"records": [rows[0], rows[2]]})
        assert passed.status_code == 200
        nothing = http.post(f"{PLANT}/{way}", json={"records": []})
        assert (nothing.status_code, nothing.json()["detail"]) == (422, "there are no records: send at least one")


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"codes": []}, 422, 'the body is {"codes": [[...], ...]}'),
        ({"codes": [[0.0] * 16], "more": 1}, 422, 'the body is {"codes": [[...], ...]}'),
        ([[0.0] * 16], 422, 'the body is {"codes": [[...], ...]}'),
        ({"codes": [[0.0] * 16] * 51}, 413, "a request may have 50 records"),
        ({"codes": [[0.0] * 16, [0.0] * 15]}, 422, "record 1: a code is a list of 16 numbers, and this is one of 15"),
        ({"codes": [None]}, 422, "record 0: a code is a list of 16 numbers, and this is none"),
        ({"codes": [[True] * 16]}, 422, "record 0: a code is made of numbers up to 1,000,000"),
        ({"codes": [[None] * 16]}, 422, "record 0: a code is made of numbers up to 1,000,000"),
        ({"codes": [[1e7] * 16]}, 422, "record 0: a code is made of numbers up to 1,000,000"),
    ],
)
def test_what_is_no_code_is_refused(http: Client, body: Any, status: int, words: str) -> None:
    """By its place, all of them at once."""
    answer = http.post(f"{PLANT}/decode", json=body)
    told = answer.json()
    lines = [told["detail"], *(f"record {problem['row']}: {problem['message']}" for problem in told["problems"])]
    assert answer.status_code == status
    assert any(words in line for line in lines), lines


def test_parameters_and_types_that_are_not_known_are_refused(http: Client, detector: Detector) -> None:
    """With those that are."""
    codes = {"codes": detector.encode(ROWS[:1]).tolist()}
    for place, words in (
        ("decode?sed=1", "there is no parameter 'sed', only seed"),
        ("decode?seed=-1", "seed is a whole number"),
        ("decode?seed=1&seed=2", "given once"),
        ("encode?seed=1", "there is no parameter 'seed', only ignore_unknown"),
        ("reconstruct?reasons=1", "there is no parameter 'reasons', only seed and ignore_unknown"),
    ):
        answer = http.post(f"{PLANT}/{place}", json=codes)
        assert answer.status_code == 422
        assert words in answer.json()["detail"]
    wrong = http.post(f"{PLANT}/decode", content=b"a", headers={"Content-Type": "text/csv"})
    assert (wrong.status_code, wrong.headers["accept-post"]) == (415, "application/json")


@pytest.mark.parametrize("way", WAYS)
def test_a_model_without_the_programs_says_what_to_do(http: Client, way: str) -> None:
    """Before the body is looked at."""
    answer = http.post(f"/v1/models/shop/{way}", content=b"{")
    assert answer.status_code == 409
    assert "train it again" in answer.json()["detail"]


def test_a_request_whose_time_is_over_is_not_worked_on(http: Client) -> None:
    """It is answered like those that are judged."""
    for way in ("encode", "reconstruct"):
        headers = {"Request-Timeout": "0.000001"}
        answer = http.post(f"{PLANT}/{way}", json={"records": ROWS}, headers=headers)
        assert answer.status_code in (408, 503)
