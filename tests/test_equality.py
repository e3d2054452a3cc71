"""One record has one verdict: alone, in any batch, in any order, by HTTP, from a file, and through the Python API."""

import csv
import io
import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.service.detector import Detector, Reason
from kilter.service.formats.scoring import score_file
from tests.support.data import records
from tests.support.digits import digits, spoiled, write_pictures
from tests.support.pictures import encoded, lossless
from tests.support.protocol_client import outputs, tensor
from tests.support.serving import Client, client

ROWS = 80


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    """Normal records and records that are odd in every way that can be scored."""
    rng = np.random.default_rng(5)
    found = records(rng, ROWS)
    odd: list[dict[str, Any]] = [
        {"temperature": 400.0},
        {"product": "screw"},
        {"line": None},
        {"line": "B"},
        {"at": None},
        {"pressure": -3e38},
    ]
    for i, change in enumerate(odd):
        found[i * 7] |= change
    return found


@pytest.fixture(scope="module")
def wanted(detector: Detector, rows: list[dict[str, Any]]) -> npt.NDArray[np.float64]:
    """The scores of the rows, all at once through the Python API."""
    return detector.score(rows).score


@pytest.fixture(scope="module")
def http(detector: Detector) -> Any:
    """A client of a service of the model."""
    with client(detector) as http:
        yield http


def same(detector: Detector, have: npt.ArrayLike, want: npt.NDArray[np.float64]) -> None:
    """Scores are equal as the design defines it: to 1e-5 max(1, |score|)."""
    assert (np.abs(np.asarray(have) - want) <= 1e-5 * np.maximum(1, np.abs(want))).all()


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_batch_in_any_order_gets_the_same_verdicts(
    data: st.DataObject, detector: Detector, rows: list[dict[str, Any]], wanted: npt.NDArray[np.float64]
) -> None:
    """Neither the neighbours of a record nor its place change its score, p-value or flag."""
    picked = data.draw(st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=ROWS))
    verdicts = detector.score([rows[i] for i in picked])
    same(detector, verdicts.score, wanted[picked])
    np.testing.assert_array_equal(verdicts.p_value, detector.calibration.p_values(wanted)[picked])
    np.testing.assert_array_equal(verdicts.anomaly, detector.calibration.anomalies(wanted)[picked])


def test_reasons_change_no_verdict(
    detector: Detector, rows: list[dict[str, Any]], wanted: npt.NDArray[np.float64]
) -> None:
    """Asking why does not change what."""
    same(detector, detector.score(rows, reasons=3).score, wanted)


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_http_gives_the_same_verdicts(
    data: st.DataObject, http: Client, detector: Detector, rows: list[dict[str, Any]], wanted: npt.NDArray[np.float64]
) -> None:
    """JSON, one bare record or many, and CSV."""
    picked = data.draw(st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=30))
    path = "/v1/models/plant/score"
    many = http.post(path, json={"records": [rows[i] for i in picked]})
    bare = http.post(path, json=rows[picked[0]])
    text = http.post(path, content=as_csv([rows[i] for i in picked]), headers={"content-type": "text/csv"})
    for answer, want in ((many, wanted[picked]), (bare, wanted[picked[:1]]), (text, wanted[picked])):
        assert answer.status_code == 200, answer.text
        results = answer.json()["results"]
        same(detector, [result["score"] for result in results], want)
        assert [result["anomaly"] for result in results] == detector.calibration.anomalies(want).tolist()
        assert [result["p_value"] for result in results] == detector.calibration.p_values(want).tolist()


@settings(max_examples=15, deadline=None)
@given(data=st.data())
def test_the_inference_protocol_gives_the_same_verdicts(
    data: st.DataObject, http: Client, detector: Detector, rows: list[dict[str, Any]], wanted: npt.NDArray[np.float64]
) -> None:
    """A tensor per column, in the datatype of the metadata."""
    picked = data.draw(st.lists(st.integers(0, ROWS - 1), min_size=1, max_size=30))
    about = http.get("/v2/models/plant").json()["inputs"]
    inputs = [tensor(known["name"], known["datatype"], [rows[i][known["name"]] for i in picked]) for known in about]
    answer = http.post("/v2/models/plant/infer", json={"inputs": inputs})
    assert answer.status_code == 200, answer.text
    found = outputs(answer.content)
    same(detector, found["score"], wanted[picked])
    np.testing.assert_array_equal(found["p_value"], detector.calibration.p_values(wanted)[picked])
    np.testing.assert_array_equal(found["anomaly"], detector.calibration.anomalies(wanted)[picked])


@pytest.mark.parametrize("form", ["csv", "csv.gz", "parquet", "arrow"])
@pytest.mark.parametrize("out", ["csv", "parquet"])
def test_files_give_the_same_verdicts(
    form: str,
    out: str,
    detector: Detector,
    rows: list[dict[str, Any]],
    wanted: npt.NDArray[np.float64],
    tmp_path: Path,
) -> None:
    """Whatever the format of the file, and of the output."""
    source, target = tmp_path / f"in.{form}", tmp_path / f"out.{out}"
    frame = pl.DataFrame(rows, infer_schema_length=None).with_columns(pl.col("at").str.to_datetime())
    match form:
        case "parquet":
            frame.write_parquet(source)
        case "arrow":
            frame.write_ipc(source)
        case _:
            content = as_csv(rows)
            import gzip

            source.write_bytes(gzip.compress(content) if form.endswith("gz") else content)
    score_file(detector, source, target, reasons="all", force=False)
    scored = pl.read_csv(target, infer_schema_length=None) if out == "csv" else pl.read_parquet(target)
    same(detector, scored["kilter_score"].to_numpy(), wanted)
    assert scored["kilter_anomaly"].cast(pl.String).to_list() == [
        str(flag).lower() for flag in detector.calibration.anomalies(wanted).tolist()
    ]
    np.testing.assert_allclose(scored["kilter_p_value"].to_numpy(), detector.calibration.p_values(wanted), rtol=1e-12)


def test_frames_give_the_same_verdicts(
    detector: Detector, rows: list[dict[str, Any]], wanted: npt.NDArray[np.float64]
) -> None:
    """pandas, polars and Arrow frames."""
    polars = pl.DataFrame(rows, infer_schema_length=None)
    for frame in (pd.DataFrame(rows), polars, polars.to_arrow(), polars.with_columns(pl.col("at").str.to_datetime())):
        same(detector, detector.score(frame).score, wanted)


def test_reasons_are_the_same_by_every_route(
    http: Client, detector: Detector, rows: list[dict[str, Any]], tmp_path: Path
) -> None:
    """The fields that are named, in their order, with what was observed and expected."""
    asked = detector.score(rows, reasons=5).reasons or []
    direct = [[reason.feature for reason in found if isinstance(reason, Reason)] for found in asked]
    answer = http.post("/v1/models/plant/score?reasons=5", json={"records": rows}).json()["results"]
    source, target = tmp_path / "in.csv", tmp_path / "out.csv"
    source.write_bytes(as_csv(rows))
    score_file(detector, source, target, reasons="all", force=False)
    with target.open(newline="") as file:
        written = [json.loads(record["kilter_reasons"]) for record in csv.DictReader(file)]
    assert [[reason["feature"] for reason in result["reasons"]] for result in answer] == direct
    assert [[reason["feature"] for reason in found][:5] for found in written] == direct


def npy(pictures: npt.NDArray[Any]) -> bytes:
    """The pictures in NumPy's format."""
    content = io.BytesIO()
    np.save(content, pictures)
    return content.getvalue()


PICTURES = np.concatenate([digits()[400:430], np.stack([spoiled(digit) for digit in digits()[430:440]])])


@pytest.fixture(scope="module")
def judged(digits_detector: Detector) -> npt.NDArray[np.float64]:
    """The scores of the pictures, all at once through the Python API."""
    return digits_detector.score(PICTURES).score


@settings(max_examples=20, deadline=None)
@given(data=st.data())
def test_a_picture_has_one_verdict_in_any_batch_and_form(
    data: st.DataObject, digits_detector: Detector, judged: npt.NDArray[np.float64]
) -> None:
    """As numbers of any kind, as a file of any format without loss, in base64, alone and among others."""
    picked = data.draw(st.lists(st.integers(0, len(PICTURES) - 1), min_size=1, max_size=40))
    pictures = PICTURES[picked]
    verdicts = digits_detector.score(pictures.astype(data.draw(st.sampled_from([np.uint8, np.uint16, np.float32]))))
    same(digits_detector, verdicts.score, judged[picked])
    np.testing.assert_array_equal(verdicts.p_value, digits_detector.calibration.p_values(judged)[picked])
    np.testing.assert_array_equal(verdicts.anomaly, digits_detector.calibration.anomalies(judged)[picked])
    records: list[dict[str, Any]] = []
    for picture in pictures:
        files = lossless(picture[:, :, None])
        content = files[data.draw(st.sampled_from(sorted(files)))]
        form = data.draw(st.sampled_from(["bytes", "base64", "array"]))
        records.append(
            {"image": content if form == "bytes" else b64encode(content).decode() if form == "base64" else picture}
        )
    same(digits_detector, digits_detector.score(records, reasons=2).score, judged[picked])


def test_a_picture_has_one_verdict_by_every_route(
    digits_detector: Detector, judged: npt.NDArray[np.float64], tmp_path: Path
) -> None:
    """The body itself, a form, JSON, an array, the inference protocol, a folder and a stack."""
    files = [encoded(picture) for picture in PICTURES]
    records = [{"image": b64encode(content).decode()} for content in files]
    matrix = tensor("image", "UINT8", PICTURES.ravel().tolist(), [*PICTURES.shape, 1])
    path = "/v1/models/digits/score"
    with client(digits_detector) as http:
        alone = [http.post(path, content=content, headers={"content-type": "image/png"}) for content in files]
        answers = [
            http.post(path, files=[("file", (str(i), content)) for i, content in enumerate(files)]),
            http.post(path, json={"records": records}),
            http.post(path, json={"columns": {"image": [record["image"] for record in records]}}),
            http.post(path, content=npy(PICTURES), headers={"content-type": "application/x-npy"}),
        ]
        protocol = http.post("/v2/models/digits/infer", json={"inputs": [matrix]})
    results = [answer.json()["results"] for answer in answers]
    for found in ([answer.json()["results"][0] for answer in alone], *results):
        same(digits_detector, [result["score"] for result in found], judged)
        assert [result["anomaly"] for result in found] == digits_detector.calibration.anomalies(judged).tolist()
        assert [result["p_value"] for result in found] == digits_detector.calibration.p_values(judged).tolist()
    same(digits_detector, outputs(protocol.content)["score"], judged)
    write_pictures(tmp_path / "folder", PICTURES)
    np.save(tmp_path / "stack.npy", PICTURES)
    for source in ("folder", "stack.npy"):
        score_file(digits_detector, tmp_path / source, tmp_path / "out.parquet", force=True)
        same(digits_detector, pl.read_parquet(tmp_path / "out.parquet")["kilter_score"].to_numpy(), judged)


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    """The records as CSV."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]))
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
