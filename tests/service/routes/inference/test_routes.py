"""Inference requests: the same verdicts as on the native route, and every mistake told."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.formats.encodings import decompress
from tests.support.protocol_client import binary, outputs, tensor
from tests.support.protocol_server import METER, meter
from tests.support.serving import RECORD, STRANGE, Client, client, detector

SHOP = "/v2/models/shop/infer"
METERS = "/v2/models/meter/infer"
Json = dict[str, Any]
DATATYPES = {"amount": "FP64", "items": "FP64", "member": "FP64", "colour": "BYTES", "at": "BYTES"}


@pytest.fixture(name="http", scope="module")
def _http() -> Iterator[Client]:
    with client(detector(), meter(), max_body_bytes=100_000, max_records=2000) as http:
        yield http


def columns(records: list[Json]) -> list[Json]:
    """Records of the model `shop` as a tensor per column; flags are numbers, so that one may be missing in bytes."""

    def value(cell: Any) -> Any:
        return float(cell) if isinstance(cell, bool) else cell

    return [tensor(name, kind, [value(record[name]) for record in records]) for name, kind in DATATYPES.items()]


def changed(column: str, **changes: Any) -> Json:
    """A request of one record in which one input is otherwise."""
    return {"inputs": [given | changes if given["name"] == column else given for given in columns([RECORD])]}


def error_of(answer: httpx.Response, status: int) -> str:
    """What an answer tells that must be an error of the protocol."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    said = answer.json()
    assert said.keys() == {"error"}
    return str(said["error"])


NUMBER = st.none() | st.floats(-1e30, 1e30)
RECORDS = st.fixed_dictionaries(
    {
        "amount": NUMBER,
        "items": NUMBER,
        "member": st.none() | st.booleans(),
        "colour": st.none() | st.sampled_from(["red", "blue", "green", "Ä ö"]),
        "at": st.none() | st.datetimes().map(lambda time: time.isoformat()),
    }
)


@given(records=st.lists(RECORDS, min_size=1, max_size=5))
def test_columns_get_the_verdicts_of_the_native_route(http: Client, records: list[Json]) -> None:
    """In JSON, and as bytes with what is missing as NaN or an empty text, and the answer in either form."""
    native = http.post("/v1/models/shop/score", json={"records": records}).json()
    inputs = columns(records)
    plain = http.post(SHOP, json={"inputs": inputs})
    for one in inputs:
        missing = "" if one["datatype"] == "BYTES" else float("nan")
        one["data"] = [missing if value is None else value for value in one["data"]]
    content, headers = binary(inputs, parameters={"binary_data_output": True})
    packed = http.post(SHOP, content=content, headers=headers)
    for answer in (plain, packed):
        assert answer.status_code == 200, answer.text
        found = outputs(answer.content, answer.headers.get("inference-header-content-length"))
        for name, values in found.items():
            assert values.tolist() == [result[name] for result in native["results"]]
    assert plain.headers["content-type"] == "application/json"
    assert packed.headers["content-type"] == "application/octet-stream"
    assert plain.json()["parameters"] == {key: native[key] for key in ("threshold", "target_fpr")}


@given(
    rows=st.lists(
        st.tuples(*[st.none() | st.floats(-(2.0**100), 2.0**100, width=32)] * 4, st.sampled_from([0, 1])), min_size=1
    )
)
def test_a_matrix_gets_the_verdicts_of_the_native_route(http: Client, rows: list[tuple[float | None, ...]]) -> None:
    """Flat, nested, and as bytes."""
    names = METER.names
    records = [dict(zip(names, row, strict=True)) for row in rows]
    want = [
        result["score"] for result in http.post("/v1/models/meter/score", json={"records": records}).json()["results"]
    ]
    shape = [len(rows), len(names)]
    nested = tensor("records", "FP32", rows, shape)
    flat = tensor("records", "FP32", [value for row in rows for value in row], shape)
    for matrix in (nested, flat):
        answer = http.post(METERS, json={"inputs": [matrix]})
        assert outputs(answer.content)["score"].tolist() == want
    flat["data"] = [float("nan") if value is None else value for value in flat["data"]]
    content, headers = binary([flat])
    assert outputs(http.post(METERS, content=content, headers=headers).content)["score"].tolist() == want


def test_columns_of_a_model_of_numbers_are_judged_too(http: Client) -> None:
    """A tensor per column, of shape [n] or [n, 1], in any order and datatype of numbers."""
    inputs = [tensor(name, "INT16", [[1], [0]], [2, 1]) for name in reversed(METER.names)]
    answer = http.post(METERS, json={"inputs": inputs})
    ones = tensor("x", "UINT8", [1] * 5 + [0] * 5, [2, 5])
    assert answer.json() == http.post(METERS, json={"inputs": [ones]}).json()


def test_fields_that_the_model_leaves_out_are_passed_over(http: Client) -> None:
    """As on the native route."""
    given = tensor("id", "INT64", [7])
    assert http.post(SHOP, json={"inputs": [*columns([RECORD]), given]}).status_code == 200


@pytest.mark.parametrize("text", ["", " ", "NA", "None", "nan"])
def test_texts_that_mean_a_missing_value_are_missing(http: Client, text: str) -> None:
    """BYTES have no null: what is missing in a file is missing here."""
    said = http.post(SHOP, json=changed("colour", data=[text])).json()
    assert said == http.post(SHOP, json=changed("colour", data=[None])).json()
    assert said != http.post(SHOP, json=changed("colour", data=["x"])).json()


def test_the_answer_says_who_judged(http: Client) -> None:
    """The model, its version and the request's own id, which is not made up."""
    body = {"inputs": columns([RECORD])}
    said = http.post("/v2/models/shop/versions/3/infer", json=body | {"id": "é"}).json()
    assert (said["id"], said["model_name"], said["model_version"]) == ("é", "shop", "3")
    assert "id" not in http.post(SHOP, json=body).json()


def test_outputs_are_given_in_the_order_and_form_that_is_asked_for(http: Client) -> None:
    """Each for itself in JSON or as bytes; contributions are the shares of the reasons."""
    asked: list[Json] = [
        {"name": "feature_contribution", "parameters": {"binary_data": True}},
        {"name": "anomaly"},
        {"name": "score", "parameters": {"binary_data": False}},
    ]
    body = {"inputs": columns([RECORD, STRANGE]), "outputs": asked, "parameters": {"binary_data_output": True}}
    answer = http.post(SHOP, json=body)
    length = answer.headers["inference-header-content-length"]
    said = json.loads(answer.content[: int(length)])["outputs"]
    assert [(output["name"], "data" in output) for output in said] == [
        ("feature_contribution", False),
        ("anomaly", False),
        ("score", True),
    ]
    native = http.post("/v1/models/shop/score?reasons=5", json={"records": [RECORD, STRANGE]}).json()["results"]
    for row, result in zip(outputs(answer.content, length)["feature_contribution"], native, strict=True):
        shares = {reason["feature"]: reason["share"] for reason in result["reasons"]}
        np.testing.assert_allclose(row, [shares.get(name, 0) for name in RECORD], rtol=1e-6)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "the body is empty"),
        (b"{", "not JSON"),
        (b"[" * 50_000, "nested too deeply"),
        (b"[]", "Expected `object`, got `array`"),
        (b"{}", "missing required field `inputs`"),
        (b'{"inputs": []}', "length >= 1"),
        (b'{"inputs": [{"name": "amount", "shape": [1], "data": [1]}]}', "missing required field `datatype`"),
        (b'{"inputs": [{"name": "amount", "shape": [-1], "datatype": "FP32", "data": [1]}]}', ">= 0"),
        (b'{"inputs": [{"name": "amount", "shape": [1], "datatype": "FP99", "data": [1]}]}', "there are FP16"),
        (b'{"inputs": [{"name": "amount", "shape": [1], "datatype": "FP32"}]}', "'amount' has no data"),
        (b'{"inputs": [{"name": "a", "shape": [1], "datatype": "FP32", "data": [NaN]}]}', "use null"),
    ],
)
def test_what_is_no_request_is_told(http: Client, body: bytes, told: str) -> None:
    """A 400 that says where the protocol is left."""
    assert told in error_of(http.post(SHOP, content=body), 400)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (changed("amount", data=[1, 2]), "input 'amount': data has 2 values"),
        (changed("amount", data=[1, 2], shape=[2]), "between 1 and 2 rows"),
        (changed("amount", data=[1, 2], shape=[1, 2]), "field 'amount': a column has the shape [n] or [n, 1]"),
        (changed("amount", datatype="BYTES", data=["1"]), "field 'amount': its datatype is FP64 or"),
        (changed("amount", datatype="BOOL", data=[True]), "field 'amount': its datatype is FP64 or"),
        (changed("amount", data=[1e39]), "record 0, field 'amount': the number is 1e+39"),
        (changed("member", datatype="FP64", data=[1e39]), "record 0, field 'member': the number is 1e+39"),
        (changed("member", datatype="BYTES", data=["soon"]), "record 0, field 'member': one of 'true', 'false'"),
        (changed("colour", datatype="INT8", data=[1]), "field 'colour': its datatype is BYTES, not INT8"),
        (changed("at", data=["yesterday"]), "record 0, field 'at': a time like"),
        (changed("at", name="when"), "field 'at': the input is missing\nfield 'when': the model has no such column"),
        (changed("amount", name="Amount"), "field 'amount': the input is missing; did you mean 'Amount'?"),
        (changed("at", name="amount"), "an input is there twice"),
        ({"inputs": columns([])}, "no records"),
        ({"inputs": [tensor("x", "FP32", [1] * 5, [1, 5])]}, "takes no matrix, but a tensor per column: amount, items"),
        (changed("at", parameters={"shared_memory_region": "r"}, data=[]), "shared memory, which is not supported"),
        (changed("at", parameters={"binary_data_size": 3}), "both data and binary_data_size"),
        (changed("at") | {"outputs": [{"name": "nope"}]}, "the outputs are score, p_value, anomaly"),
        (changed("at") | {"outputs": [{"name": "score"}] * 2}, "asked for twice"),
        (changed("at") | {"outputs": [{"name": "score", "parameters": {"classification": 3}}]}, "no classification"),
        (changed("at") | {"outputs": [{"name": "score", "parameters": {"binary_data": 1}}]}, "is true or false"),
        (changed("at") | {"parameters": {"binary_data_output": "yes"}}, "is true or false"),
    ],
)
def test_tensors_that_do_not_fit_are_told(http: Client, body: Json, told: str) -> None:
    """A 400 that names the input, or the record and field, and what is expected."""
    assert told in error_of(http.post(SHOP, json=body), 400)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"Inference-Header-Content-Length": "-1"}, "the header Inference-Header-Content-Length is '-1'"),
        ({"Inference-Header-Content-Length": "0"}, "is '0'"),
        ({"Inference-Header-Content-Length": ""}, "is ''"),
        ({"Inference-Header-Content-Length": "999999"}, "is '999999'"),
        ({"Inference-Header-Content-Length": "9" * 5000}, "is '9"),
        ({"Inference-Header-Content-Length": "12"}, "not JSON"),
        ({}, "not JSON"),
    ],
)
def test_a_header_that_lies_is_told(http: Client, change: dict[str, str], told: str) -> None:
    """Whatever it says about the length of the JSON."""
    content, _ = binary([tensor("records", "FP32", [1.0] * 5, [1, 5])])
    assert told in error_of(http.post(METERS, content=content, headers=change), 400)


@pytest.mark.parametrize(
    ("size", "told"),
    [(19, "1 bytes follow"), (21, "20 bytes are left"), (-1, "binary_data_size -1"), ("20", "binary_data_size '20'")],
)
def test_a_binary_size_that_lies_is_told(http: Client, size: object, told: str) -> None:
    """More or fewer bytes than there are, and what is no number."""
    described = {"name": "records", "datatype": "FP32", "shape": [1, 5], "parameters": {"binary_data_size": size}}
    head = json.dumps({"inputs": [described]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(head))}
    assert told in error_of(http.post(METERS, content=head + bytes(20), headers=headers), 400)


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [("gzip, deflate, br, zstd", "gzip"), ("deflate", "deflate"), ("zstd", "zstd"), ("br", None), ("gzip;q=0", None)],
)
def test_long_answers_are_compressed_as_the_client_takes_them(http: Client, accepted: str, coding: str | None) -> None:
    """Gzip before zstd, since clients ask for more than they can undo; never metadata and errors."""
    content, headers = binary([tensor("records", "INT8", [0] * 5000, [1000, 5])])
    answer = http.post(METERS, content=content, headers=headers | {"Accept-Encoding": accepted})
    assert answer.headers.get("content-encoding") == coding
    plain = (
        decompress(answer.content, coding, 10**6) if coding == "zstd" else answer.content
    )  # the client undoes the others
    assert len(outputs(plain)["score"]) == 1000
    for other in (http.get("/v2/models/meter"), http.post(METERS, headers={"Accept-Encoding": accepted})):
        assert "content-encoding" not in other.headers


def test_limits_hold(http: Client) -> None:
    """Too long a body and too many records are a 413, however short they are written."""
    assert "100,000 bytes" in error_of(http.post(SHOP, content=b" " * 100_001), 413)
    content, headers = binary([tensor("records", "INT8", [0] * 5 * 2001, [2001, 5])])
    assert "2,000 records" in error_of(http.post(METERS, content=content, headers=headers), 413)
    lists = b'{"inputs": [' + b"[]," * 60_000 + b"[]]}"
    with client(detector(), max_records=2000) as wide:
        assert "too many lists" in error_of(wide.post(SHOP, content=lists), 413)
    huge = tensor("records", "INT8", [], [10**18, 5])
    assert "2,000 records" in error_of(http.post(METERS, json={"inputs": [huge]}), 413)


def test_a_flood_of_problems_is_cut_off(http: Client) -> None:
    """A text lists twenty, and says how many there are besides."""
    inputs = columns([RECORD] * 1500)
    inputs[0]["data"] = [1e39] * 1500
    told = error_of(http.post(SHOP, json={"inputs": inputs}), 400)
    assert told.splitlines()[-1].startswith("... and ")
    assert len(told.splitlines()) == 22


@pytest.mark.parametrize("kind", ["text/csv", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"])
def test_an_unknown_content_type_is_told_the_known_ones(http: Client, kind: str) -> None:
    """A 415 that names those that clients of the protocol send."""
    answer = http.post(SHOP, json=changed("at"), headers={"Content-Type": kind})
    assert "application/octet-stream" in error_of(answer, 415)


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", SHOP, 405),
        ("POST", "/v2", 405),
        ("GET", "/v2/nope", 404),
        ("GET", "/v2/models/nope", 404),
        ("GET", "/v2/models/nope/ready", 404),
        ("GET", "/v2/models/shop/versions/4", 404),
        ("GET", "/v2/models/shop/versions/03", 404),
        ("GET", "/v2/models/shop/versions/x/ready", 404),
        ("POST", "/v2/models/shop/versions/99999999999999999999/infer", 404),
        ("POST", "/v2/models/nope/infer", 404),
    ],
)
def test_what_is_not_there_is_told_in_the_protocol(http: Client, method: str, path: str, status: int) -> None:
    """Routes, methods, models and versions."""
    assert error_of(http.request(method, path), status)
