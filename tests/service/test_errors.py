"""What a client is told whose request cannot be answered: one shape, every problem at once, never a 5xx."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector.columns import NumericColumn
from kilter.service.monitoring.logs import JsonFormatter
from kilter.service.problems import LISTED
from tests.support.serving import RECORD, SCHEMA, Broken, Client, client, detector

SCORE = "/v1/models/shop/score"
CSV_TYPE = {"Content-Type": "text/csv"}


@pytest.fixture(name="http", scope="module")
def _http() -> Iterator[Client]:
    with client(max_body_bytes=100_000, max_records=2000) as http:
        yield http


def problem_of(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem details of an answer that must have them."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    details = answer.json()
    assert details.keys() == {"type", "title", "status", "detail", "problems"}
    assert details["status"] == status
    assert details["type"].startswith("/docs#")
    assert isinstance(details, dict)
    return details


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (b"", "empty"),
        (b" \n", "empty"),
        (b"amount=1", "not JSON"),
        (b'{"records": [', "not JSON"),
        (b'{"amount": NaN}', "NaN and Infinity are not JSON"),
        (b'{"amount": -Infinity}', "NaN and Infinity are not JSON"),
        (b'{"amount": 1e400}', "64-bit float"),
        (b'{"amount": ' + b"9" * 5000 + b"}", "64-bit float"),
        (b"[" * 50_000, "nested too deeply"),
        (b'{"a":' * 10_000 + b"1" + b"}" * 10_000, "nested too deeply"),
        (b'{"colour": "\xff"}', "UTF-8"),
        (b'{"colour": "\\ud800"}', "not JSON"),
        ("{}".encode("utf-16"), "UTF-16"),
        (b"\xef\xbb\xbf" * 1000, "not JSON"),
    ],
)
def test_a_body_that_is_not_json_is_told_why(http: Client, body: bytes, told: str) -> None:
    """A body that cannot be read as JSON is a 400 that says what is wrong with it."""
    assert told in problem_of(http.post(SCORE, content=body), 400)["detail"]


@pytest.mark.parametrize(
    ("body", "field", "told"),
    [
        (b"5", None, "the body is"),
        (b'"x"', None, "the body is"),
        (b"null", None, "the body is"),
        (b"true", None, "the body is"),
        (b"[{}]", None, "the body is"),
        (b'{"records": {}}', "records", "a list of records"),
        (b'{"records": [], "more": 1}', "more", "nothing else"),
    ],
)
def test_json_of_the_wrong_shape_is_told_the_right_one(http: Client, body: bytes, field: str | None, told: str) -> None:
    """The shape of a request is part of what is told."""
    details = problem_of(http.post(SCORE, content=body), 422)
    assert [(entry["row"], entry["field"]) for entry in details["problems"]] == [(None, field)]
    assert told in details["problems"][0]["message"]


def test_no_records_are_a_mistake(http: Client) -> None:
    """An empty list is refused, as is a table without rows."""
    assert "no records" in problem_of(http.post(SCORE, json={"records": []}), 422)["detail"]
    header = b"amount,items,member,colour,at\n"
    assert "no records" in problem_of(http.post(SCORE, content=header, headers=CSV_TYPE), 422)["detail"]


def test_every_problem_of_a_request_is_listed_at_once(http: Client) -> None:
    """Missing, extra and wrongly typed fields, numbers that do not fit a float32: each with its record and field."""
    bad = [
        RECORD,
        RECORD | {"amount": "12", "size": 1},
        {"amount": 1e39, "items": True, "member": "soon", "colour": ["red"], "at": "yesterday"},
        "text",
        {name: RECORD[name] for name in RECORD if name != "at"},
    ]
    found = problem_of(http.post(SCORE, json={"records": bad}), 422)["problems"]
    assert [(entry["row"], entry["field"]) for entry in found] == [
        (1, "size"),
        (1, "amount"),
        (2, "amount"),
        (2, "items"),
        (2, "member"),
        (2, "colour"),
        (2, "at"),
        (3, None),
        (4, "at"),
    ]
    assert all(entry["message"] for entry in found)


def test_a_record_of_a_model_with_a_field_called_records() -> None:
    """A list under `records` is the list of records, anything else there the field of a bare record."""
    schema = SCHEMA.__class__(columns=(NumericColumn("records", 0.0, 1.0, 0.0, 1.0),), rows=10)
    with client(detector(schema=schema)) as http:
        details = problem_of(http.post(SCORE, json={"records": "many"}), 422)
        listed = problem_of(http.post(SCORE, json={"records": [{"records": "many"}]}), 422)
    assert details == listed
    assert details["problems"][0]["message"] == "a number is expected, not the text 'many'"


def test_a_flood_of_problems_is_cut_off(http: Client) -> None:
    """An answer lists a bounded number of problems and says that there are more."""
    details = problem_of(http.post(SCORE, json={"records": [{}] * 1500}), 422)
    assert len(details["problems"]) == LISTED
    assert "more than 1,000" in details["detail"]


def test_too_long_a_body_is_refused_unread(http: Client) -> None:
    """A body over the limit is a 413, whether its length is stated or found out."""

    async def parts() -> Any:
        for _ in range(20):
            yield b" " * 10_000

    assert "100,000 bytes" in problem_of(http.post(SCORE, content=b" " * 100_001), 413)["detail"]
    assert "100,000 bytes" in problem_of(http.post(SCORE, content=parts()), 413)["detail"]


@pytest.mark.parametrize("kind", ["json", "csv"])
def test_too_many_records_are_refused(http: Client, kind: str) -> None:
    """More records than one request may have are a 413, in any form."""
    if kind == "json":
        answer = http.post(SCORE, json={"records": [{}] * 2001})
    else:
        answer = http.post(SCORE, content=b"amount,items,member,colour,at\n" + b",,,,\n" * 2001, headers=CSV_TYPE)
    assert "2,000 records" in problem_of(answer, 413)["detail"]


def test_lists_beyond_number_are_refused_undecoded() -> None:
    """As two bytes of a list take sixty in memory, a body may not have many more than it may have records."""
    body = b'{"records": [' + b"[]," * 60_000 + b"[]]}"
    with client(max_records=2000) as http:
        assert "too many lists" in problem_of(http.post(SCORE, content=body), 413)["detail"]


def test_an_unknown_model_is_told_the_known_ones(http: Client) -> None:
    """Every route of a model answers 404 with the names of those that are loaded."""
    for answer in (http.get("/v1/models/nope"), http.post("/v1/models/nope/score", json=RECORD)):
        details = problem_of(answer, 404)
        assert details["type"] == "/docs#unknown-model"
        assert "'nope'" in details["detail"]
        assert "shop" in details["detail"]


@pytest.mark.parametrize(("method", "path"), [("DELETE", "/v1/models"), ("GET", SCORE), ("PUT", SCORE), ("POST", "/")])
def test_a_wrong_method_is_told_the_right_ones(http: Client, method: str, path: str) -> None:
    """A route without that method answers 405 and Allow."""
    answer = http.request(method, path)
    assert problem_of(answer, 405)["type"] == "/docs#wrong-method"
    assert answer.headers["allow"]


@pytest.mark.parametrize("path", ["/nope", "/v1", "/v1/models/", "/v1/models/shop/score/", "/v1/models/a/b/score"])
def test_an_unknown_path_is_a_404(http: Client, path: str) -> None:
    """A path that is no route answers 404 and points to the documentation."""
    assert "/docs" in problem_of(http.get(path), 404)["detail"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/xml"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Type": "nonsense"},
        {"Content-Encoding": "br"},
    ],
)
def test_an_unknown_content_type_is_told_the_known_ones(http: Client, headers: dict[str, str]) -> None:
    """A form, XML, another character set or compression are a 415 with the remedy."""
    assert problem_of(http.post(SCORE, content=json.dumps(RECORD), headers=headers), 415)["detail"]


@pytest.mark.parametrize("query", ["reasons=yes", "reasons=", "reasons=-1", "reasons=1001", "reasons=1&reasons=2"])
def test_a_wrong_parameter_is_told_the_right_values(http: Client, query: str) -> None:
    """`reasons` is true, false or a number, once."""
    assert "reasons is" in problem_of(http.post(f"{SCORE}?{query}", json=RECORD), 422)["detail"]


@pytest.mark.parametrize(
    ("body", "status", "told"),
    [
        (b"", 400, "the body is empty"),
        (b"\x1f\x8b\x08\x00rubbish", 400, "the body"),
        (b"amount,amount\n1,2\n", 400, "two columns"),
        (b"amount,colour\n1,red\n", 422, "do not fit"),
        (b"amount,items,member,colour,at\nx,,,,\n1,2\n", 422, "2 records do not fit"),
    ],
)
def test_csv_that_cannot_be_read_is_told_why(http: Client, body: bytes, status: int, told: str) -> None:
    """What is wrong with a table is told as of a file, in the words of a request."""
    details = problem_of(http.post(SCORE, content=body, headers=CSV_TYPE), status)
    assert told in details["detail"]
    assert "standard input" not in details["detail"]


def test_a_fault_of_the_service_tells_no_secret(caplog: pytest.LogCaptureFixture) -> None:
    """An exception that nobody foresaw is a 500 whose log line has the request id, the place, and no record's value."""
    with client(detector(program=Broken())) as http:
        answer = http.post(SCORE, json=RECORD | {"amount": 77.25}, headers={"X-Request-ID": "abc-1"})
    assert "abc-1" in problem_of(answer, 500)["detail"]
    assert answer.headers["x-request-id"] == "abc-1"
    assert "cannot give" not in answer.text
    [line] = [JsonFormatter().format(record) for record in caplog.records if record.levelname == "ERROR"]
    assert '"request_id":"abc-1"' in line
    assert "RuntimeError < " in line
    assert "serving.py" in line
    assert "cannot give" not in line


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda children: st.lists(children, max_size=3) | st.dictionaries(st.text(), children, max_size=3),
    max_leaves=10,
)
CELLS = JSON_VALUES | st.sampled_from([1e39, -1e400, "", "red", "2024-02-30", 10**30])
RECORDS = st.dictionaries(st.sampled_from([*RECORD, "id", "x"]), CELLS) | JSON_VALUES


@given(body=st.binary(max_size=200), kind=st.sampled_from(["application/json", "text/csv", "text/plain", ""]))
def test_no_bytes_bring_it_down(http: Client, body: bytes, kind: str) -> None:
    """Whatever the bytes and their content type, the answer is a verdict or the client's mistake."""
    assert http.post(SCORE, content=body, headers={"Content-Type": kind}).status_code < 500


@given(value=JSON_VALUES | RECORDS | st.fixed_dictionaries({"records": st.lists(RECORDS, max_size=3)}))
def test_no_json_brings_it_down(http: Client, value: Any) -> None:
    """Whatever the JSON, the answer is a verdict or the client's mistake."""
    assert http.post(f"{SCORE}?reasons=true", content=json.dumps(value)).status_code < 500


@given(rows=st.lists(st.lists(st.text(max_size=8), max_size=6), max_size=4), header=st.booleans())
def test_no_csv_brings_it_down(http: Client, rows: list[list[str]], header: bool) -> None:
    """Whatever the table, the answer is a verdict or the client's mistake."""
    lines = [",".join(RECORD)] if header else []
    text = "\n".join([*lines, *(",".join(row) for row in rows)])
    answer = http.post(SCORE, content=text.encode(errors="surrogatepass"), headers=CSV_TYPE)
    assert answer.status_code < 500
