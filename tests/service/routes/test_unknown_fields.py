"""With `?ignore_unknown=true` records may have fields that the model does not know, and their own ids come back."""

import csv
import json
from base64 import b64encode
from collections.abc import Callable, Iterator
from io import BytesIO, StringIO
from typing import Any

import httpx
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kilter.service.detector.columns import NumericColumn
from kilter.service.detector.schema import Schema
from kilter.service.formats.bodies import CHUNK
from tests.support.picture_model import picture_detector, spotted
from tests.support.pictures import encoded
from tests.support.serving import RECORD, STRANGE, Client, client, detector

SCORE = "/v1/models/shop/score"
IGNORING = f"{SCORE}?ignore_unknown=true"
Records = list[dict[str, Any]]
Form = Callable[[Records], tuple[bytes, str]]


@pytest.fixture(name="http", scope="module")
def _http() -> Iterator[Client]:
    with client() as http:
        yield http


def in_rows(records: Records) -> tuple[bytes, str]:
    return json.dumps({"records": records}).encode(), "application/json"


def bare(records: Records) -> tuple[bytes, str]:
    return json.dumps(records[0]).encode(), "application/json"


def in_columns(records: Records) -> tuple[bytes, str]:
    names = dict.fromkeys(name for record in records for name in record)
    return json.dumps(
        {"columns": {name: [r.get(name) for r in records] for name in names}}
    ).encode(), "application/json"


def in_lines(records: Records) -> tuple[bytes, str]:
    return "\n".join(map(json.dumps, records)).encode(), "application/x-ndjson"


def in_csv(records: Records) -> tuple[bytes, str]:
    text = StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(name for record in records for name in record)))
    writer.writeheader()
    writer.writerows({k: str(v).lower() if isinstance(v, bool) else v for k, v in r.items()} for r in records)
    return text.getvalue().encode(), "text/csv"


def in_arrow(records: Records) -> tuple[bytes, str]:
    out = BytesIO()
    pl.DataFrame(records, infer_schema_length=None).write_ipc_stream(out)
    return out.getvalue(), "application/vnd.apache.arrow.stream"


FORMS: list[Form] = [in_rows, bare, in_columns, in_lines, in_csv, in_arrow]


def send(http: Client, url: str, form: Form, records: Records, **headers: str) -> httpx.Response:
    content, kind = form(records)
    return http.post(url, content=content, headers={"Content-Type": kind, **headers})


NAMES = st.text("abc_é'", min_size=1, max_size=4).filter(lambda name: name not in RECORD)
IDS = st.text("ab:é", min_size=1, max_size=5) | st.integers(-(10**18) + 1, 10**18 - 1)


@pytest.mark.parametrize("form", FORMS)
@settings(max_examples=25)
@given(st.lists(IDS, min_size=1, max_size=4), NAMES, st.booleans())
def test_ids_travel_with_their_records(http: Client, form: Form, ids: list[str | int], name: str, lines: bool) -> None:
    """In any form, with any unknown field beside; the verdicts are those without, and the order is kept."""
    plain = [STRANGE if place % 2 else RECORD for place in range(len(ids))][: 1 if form is bare else None]
    texts = form in (in_csv, in_arrow)  # a column of a table has one type
    ids = [str(own) if texts else own for own in ids][: len(plain)]
    records = [{name: "x", "id": own, **record} for own, record in zip(ids, plain, strict=True)]
    headers = {"Accept": "application/x-ndjson" if lines else "application/json"}
    answer = send(http, IGNORING, form, records, **headers)
    assert answer.status_code == 200, answer.text
    results = list(map(json.loads, answer.text.splitlines())) if lines else answer.json()["results"]
    wanted = http.post(SCORE, json={"records": plain}).json()["results"]
    assert results == [{**verdict, "id": own} for verdict, own in zip(wanted, ids, strict=True)]


@pytest.mark.parametrize("form", FORMS)
def test_without_an_id_there_is_none(http: Client, form: Form) -> None:
    """Nor with one that is null or, in a table, blank; the answer is then as without the parameter."""
    plain = http.post(SCORE, json=RECORD).json()
    for record in (RECORD, RECORD | {"more": 1}, RECORD | {"id": None}):
        assert send(http, IGNORING, form, [record]).json() == plain


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("query", ["", "?ignore_unknown=false"])
def test_otherwise_an_unknown_field_is_a_mistake(http: Client, form: Form, query: str) -> None:
    """Of a record in JSON; columns of a table that the model does not know are not looked at. No id comes back."""
    answer = send(http, SCORE + query, form, [RECORD | {"more": 1}])
    assert answer.status_code == (200 if form in (in_csv, in_arrow) else 422)
    known = send(http, SCORE + query, form, [RECORD | {"id": "a"}])
    assert "id" not in known.json()["results"][0]


@pytest.mark.parametrize("form", [in_rows, in_columns, in_lines])
@pytest.mark.parametrize("own", [True, [1], {"a": 1}, 10**18, 10**25])
def test_an_id_that_could_not_be_returned_as_it_is_is_a_mistake(http: Client, form: Form, own: Any) -> None:
    """Named with its record; nothing is judged."""
    records = [RECORD | {"id": "a"}] * (CHUNK + 5) + [RECORD | {"id": own}]
    answer = send(http, IGNORING, form, records)
    assert answer.status_code == 422
    [problem] = answer.json()["problems"]
    assert (problem["row"], problem["field"]) == (CHUNK + 5, "id")
    assert problem["message"] == "an id is a text or a number, of up to 18 digits: send a longer one as a text"


@pytest.mark.parametrize("form", [in_rows, in_columns, in_lines, in_csv])
def test_ids_of_many_records_keep_their_order(http: Client, form: Form) -> None:
    """Over all pieces in which a body is read."""
    ids = [f"id {number}" for number in range(2 * CHUNK + 3)]
    answer = send(http, IGNORING, form, [RECORD | {"id": own} for own in ids])
    assert [result["id"] for result in answer.json()["results"]] == ids


def test_mistakes_in_known_fields_are_still_told(http: Client) -> None:
    """A field that is missing, and a value that does not fit, beside an unknown field."""
    wrong = {name: value for name, value in RECORD.items() if name != "items"} | {"amount": "x", "item": 3}
    answer = http.post(IGNORING, json={"records": [RECORD, wrong]})
    assert answer.status_code == 422
    assert {(p["row"], p["field"]) for p in answer.json()["problems"]} == {(1, "amount"), (1, "items")}


def test_reasons_and_a_table_with_verdicts_are_as_without(http: Client) -> None:
    """The parameters go together, and a table in the answer has its own columns anyway."""
    record = STRANGE | {"id": 7, "more": [1]}
    result = http.post(f"{IGNORING}&reasons=2", json=record).json()["results"][0]
    assert (result["id"], len(result["reasons"])) == (7, 2)
    rows = [RECORD | {"id": "a"}]
    told = [send(http, url, in_csv, rows, Accept="text/csv").text for url in (SCORE, IGNORING)]
    assert told[0] == told[1]


def test_a_field_of_the_model_that_is_called_id_is_no_id() -> None:
    """It is judged, and not returned."""
    schema = Schema(columns=tuple(NumericColumn(name, 0.0, 1.0, -1.0, 1.0) for name in ("a", "b", "c", "id")), rows=9)
    model = detector(schema=schema)
    with client(model) as http:
        answer = http.post(IGNORING, json={"a": 1, "b": 1, "c": 1, "id": 2, "more": 1})
    assert answer.status_code == 200
    assert "id" not in answer.json()["results"][0]


@pytest.mark.parametrize("query", ["ignore_unknown=1", "ignore_unknown=", "ignore_unknown=true&ignore_unknown=true"])
def test_another_value_is_refused(http: Client, query: str) -> None:
    """With those that there are."""
    answer = http.post(f"{SCORE}?{query}", json=RECORD)
    assert (answer.status_code, answer.json()["detail"]) == (422, "ignore_unknown is true or false, given once")


@pytest.mark.parametrize("form", [in_rows, in_columns, in_lines])
def test_ids_travel_with_pictures(form: Form) -> None:
    """As fields beside the picture; a file or an array has none, and is answered as without."""
    content = encoded(spotted())
    record = {"image": b64encode(content).decode(), "id": "tile 7", "camera": 3}
    with client(picture_detector()) as http:
        score = "/v1/models/tiles/score"
        [result] = send(http, f"{score}?ignore_unknown=true", form, [record]).json()["results"]
        plain = http.post(score, content=content, headers={"Content-Type": "image/png"}).json()["results"][0]
        alone = http.post(f"{score}?ignore_unknown=true", content=content, headers={"Content-Type": "image/png"}).json()
    assert result == plain | {"id": "tile 7"}
    assert alone["results"] == [plain]
