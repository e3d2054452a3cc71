"""The score route: its verdicts are the detector's, whatever the form of the request."""

import asyncio
import json
from collections.abc import Iterator
from io import BytesIO
from typing import Any

import msgspec
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.serving import RECORD, STRANGE, Client, Squares, client, detector

SCORE = "/v1/models/shop/score"


@pytest.fixture(name="http", scope="module")
def _http() -> Iterator[Client]:
    with client() as http:
        yield http


def records() -> st.SearchStrategy[dict[str, Any]]:
    """Records that fit, with values missing and levels unseen."""
    number = st.none() | st.floats(-1e6, 1e6)
    return st.fixed_dictionaries(
        {
            "amount": number,
            "items": st.none() | st.integers(-5, 20),
            "member": st.sampled_from([True, False, None]),
            "colour": st.sampled_from(["red", "blue", "green", None]),
            "at": st.none() | st.datetimes().map(lambda time: time.isoformat()),
        }
    )


def test_the_answer_has_the_documented_form(http: Client) -> None:
    """Model, threshold, rate, and a result per record in their order; the numbers are the detector's."""
    answer = http.post(SCORE, json={"records": [RECORD, STRANGE]})
    judged = detector().score([RECORD, STRANGE])
    assert answer.status_code == 200
    assert answer.json() == {
        "model": {"name": "shop", "version": 3},
        "threshold": detector().calibration.threshold,
        "target_fpr": 0.05,
        "results": [
            {"score": score, "p_value": p_value, "anomaly": anomaly}
            for score, p_value, anomaly in zip(judged.score, judged.p_value, [False, True], strict=True)
        ],
    }


def test_a_bare_record_is_a_list_of_one(http: Client) -> None:
    """A record by itself gets the answer of a list that holds it."""
    assert http.post(SCORE, json=STRANGE).content == http.post(SCORE, json={"records": [STRANGE]}).content


def test_a_byte_order_mark_is_passed_over(http: Client) -> None:
    """JSON that an editor saved with a byte order mark is read."""
    assert http.post(SCORE, content=b"\xef\xbb\xbf" + json.dumps(RECORD).encode()).status_code == 200


def test_a_key_given_twice_is_refused(http: Client) -> None:
    """It is named, and nothing is judged."""
    twice = json.dumps(RECORD).replace('"amount": 52.5', '"amount": 9100.0, "amount": 52.5')
    answer = http.post(SCORE, content=twice)
    assert answer.status_code == 400
    assert "'amount' stands twice" in answer.json()["detail"]


def test_columns_that_training_left_out_may_be_sent(http: Client) -> None:
    """What the model does not look at changes nothing."""
    assert http.post(SCORE, json=RECORD | {"id": "x1"}).json() == http.post(SCORE, json=RECORD).json()


@pytest.mark.parametrize(
    ("query", "count"), [("", None), ("false", None), ("0", None), ("true", 4), ("1", 1), ("3", 3)]
)
def test_reasons_are_given_when_asked_for(http: Client, query: str, count: int | None) -> None:
    """`reasons=true` gives several, a number at most that many, strongest first; otherwise there are none."""
    url = f"{SCORE}?reasons={query}" if query else SCORE
    result = http.post(url, json=STRANGE | {"items": 9, "colour": "blue"}).json()["results"][0]
    if count is None:
        assert "reasons" not in result
    else:
        shares = [reason["share"] for reason in result["reasons"]]
        assert len(shares) >= count if query == "true" else len(shares) == count
        assert shares == sorted(shares, reverse=True)
        assert result["reasons"][0] | {"share": 1} == {
            "feature": "amount",
            "observed": 9100.0,
            "expected": 50.0,
            "share": 1,
        }


@pytest.mark.parametrize("query", ["reason=3", "Reasons=3", "reasons=3&explain=", "=3"])
def test_a_parameter_that_there_is_not_is_refused(http: Client, query: str) -> None:
    """A mistyped one would be passed over in silence."""
    answer = http.post(f"{SCORE}?{query}", json=RECORD)
    assert answer.status_code == 422
    wrong = next(part.partition("=")[0] for part in query.split("&") if not part.startswith("reasons="))
    known = "reasons, nearest_normal, keep, heatmap and ignore_unknown"
    assert answer.json()["detail"] == f"there is no parameter {wrong!r}, only {known}"


def test_an_anomaly_has_its_nearest_normal_where_it_is_asked_for(http: Client) -> None:
    """In JSON, NDJSON and CSV alike, and with the changes it is none; a normal record has none."""
    url, records = f"{SCORE}?nearest_normal=true&keep=colour&keep=items", [RECORD, STRANGE]
    usual, strange = http.post(url, json={"records": records}).json()["results"]
    assert "nearest_normal" not in usual
    nearest = strange["nearest_normal"]
    assert nearest == json.loads(msgspec.json.encode(detector().nearest_normal(STRANGE, ["colour", "items"])))
    [change] = nearest["changes"]
    assert (change["field"], change["from"]) == ("amount", 9100.0)
    mended = http.post(SCORE, json=STRANGE | {change["field"]: change["to"]}).json()["results"][0]
    assert mended == {"score": nearest["score"], "p_value": nearest["p_value"], "anomaly": False}
    lines = "".join(json.dumps(record) + "\n" for record in records)
    sent = {"Content-Type": "application/x-ndjson", "Accept": "application/x-ndjson"}
    answer = http.post(url, content=lines.encode(), headers=sent)
    assert [json.loads(line) for line in answer.text.splitlines()] == [usual, strange]
    table = pl.DataFrame(records).write_csv().encode()
    answer = http.post(url, content=table, headers={"Content-Type": "text/csv", "Accept": "text/csv"})
    cells = pl.read_csv(answer.content)["kilter_nearest_normal"].to_list()
    assert cells[0] is None
    assert json.loads(cells[1]) == nearest
    plain = http.post(SCORE, content=table, headers={"Content-Type": "text/csv", "Accept": "text/csv"})
    assert b"kilter_nearest_normal" not in plain.content


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("nearest_normal=yes", "nearest_normal is true or false, given once"),
        ("keep=amount", "keep names fields for nearest_normal=true: ask for that, or leave keep out"),
        ("nearest_normal=true&keep=amuont", "there is no field 'amuont' to keep; did you mean 'amount'?"),
    ],
)
def test_a_nearest_normal_that_cannot_be_had_is_refused(http: Client, query: str, message: str) -> None:
    """With what to ask for instead."""
    answer = http.post(f"{SCORE}?{query}", json=STRANGE)
    assert (answer.status_code, answer.json()["detail"]) == (422, message)


@given(batch=st.lists(records(), min_size=1, max_size=8), data=st.data())
def test_a_record_gets_the_same_verdict_alone_in_a_batch_and_in_any_order(
    batch: list[Any], data: st.DataObject
) -> None:
    """The verdict on a record depends on nothing but the record."""
    order = data.draw(st.permutations(range(len(batch))))
    with client() as http:
        together = http.post(SCORE, json={"records": batch}).json()["results"]
        mixed = http.post(SCORE, json={"records": [batch[i] for i in order]}).json()["results"]
        alone = [http.post(SCORE, json=record).json()["results"][0] for record in batch]
    assert alone == together
    assert [together[i] for i in order] == mixed


def test_a_long_request_is_judged_in_order(http: Client) -> None:
    """Several thousand records get their verdicts in their order."""
    amounts = [50.0 + i for i in range(3000)]
    answer = http.post(SCORE, json={"records": [RECORD | {"amount": amount} for amount in amounts]}).json()
    scores = [result["score"] for result in answer["results"]]
    assert len(scores) == 3000
    assert scores == sorted(scores)


@pytest.mark.e2e
def test_health_answers_while_a_long_request_is_worked_on() -> None:
    """A long request does not hold up the others."""

    async def time_of(request: Any) -> tuple[float, int]:
        answer = await request
        return asyncio.get_running_loop().time(), answer.status_code

    with client(detector(program=Squares(seconds=0.3))) as http:
        long = http.http.post(SCORE, json={"records": [RECORD] * 1000})
        (long_done, _), (health_done, status) = http.together(time_of(long), time_of(http.http.get("/healthz")))
    assert status == 200
    assert health_done < long_done


CSV = "amount,items,member,colour,at\n52.5,3,true,red,2024-05-31T08:15:00\n9100,3,true,red,2024-05-31T08:15:00\n"


@pytest.mark.parametrize("text", [CSV, CSV.replace(",", ";"), CSV.replace("\n", "\r\n"), "\ufeff" + CSV])
def test_csv_gets_the_verdicts_of_the_same_records_in_json(http: Client, text: str) -> None:
    """The form of a request makes no difference to its answer."""
    answer = http.post(SCORE, content=text.encode(), headers={"Content-Type": "text/csv; charset=utf-8"})
    assert answer.json() == http.post(SCORE, json={"records": [RECORD, STRANGE]}).json()


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        ("sep=;\n" + CSV.replace(",", ";"), ""),
        ("# made by hand, today\n" + CSV, ""),
        (CSV.replace("\n", ",\n"), ""),
        (CSV.replace(",", "^"), ""),
        (CSV.replace(",", "\t"), "; delimiter=tab"),
        (CSV.replace(",", "+"), '; delimiter="+"; header=present'),
        (CSV.encode("utf-16-le"), ""),
        (CSV.encode("utf-16"), "; charset=utf-16"),
        (CSV.replace("red", "rouge \xe9").encode("cp1252"), "; charset=windows-1252"),
    ],
)
def test_csv_in_any_dialect_gets_its_verdicts(http: Client, body: str | bytes, kind: str) -> None:
    """Found as in files, or stated by parameters of the content type."""
    content = body.encode() if isinstance(body, str) else body
    answer = http.post(SCORE, content=content, headers={"Content-Type": f"text/csv{kind}"})
    colour = "rouge \xe9" if "1252" in kind else "red"
    records = [record | {"colour": colour} for record in (RECORD, STRANGE)]
    assert (answer.status_code, answer.json()) == (200, http.post(SCORE, json={"records": records}).json())


@pytest.mark.parametrize(
    ("kind", "body", "detail"),
    [
        ("; charset=klingon", CSV, "there is no encoding 'klingon'"),
        ('; delimiter=";;"', CSV, "a delimiter is one character"),
        ("; header=perhaps", CSV, "it is present or absent"),
        ("", '[{"amount": 1}]', "send it as its Content-Type says"),
    ],
)
def test_a_content_type_that_says_what_cannot_be_is_refused(http: Client, kind: str, body: str, detail: str) -> None:
    """With what can."""
    answer = http.post(SCORE, content=body.encode(), headers={"Content-Type": f"text/csv{kind}"})
    assert answer.status_code == 400
    assert detail in answer.json()["detail"]


@pytest.mark.parametrize("form", ["records", "columns", "csv"])
def test_a_name_that_is_nearly_right_is_answered_with_the_right_one(http: Client, form: str) -> None:
    """In every kind of body, by the same words."""
    record = {("Amount" if name == "amount" else name): value for name, value in RECORD.items()}
    if form == "csv":
        lines = CSV.replace("amount", "Amount", 1).encode()
        answer = http.post(SCORE, content=lines, headers={"Content-Type": "text/csv"})
    else:
        body = {"records": [record]} if form == "records" else {"columns": {name: [v] for name, v in record.items()}}
        answer = http.post(SCORE, json=body)
    assert answer.status_code == 422
    messages = {problem["field"]: problem["message"] for problem in answer.json()["problems"]}
    assert "is missing" in messages["amount"]
    assert messages["amount"].endswith("; did you mean 'Amount'?")


def test_csv_comes_back_with_verdicts_where_it_is_accepted(http: Client) -> None:
    """Each line as it was, with the columns that `kilter score` appends, in the same dialect."""
    text = CSV.replace(",", ";").replace("\n", "\r\n")
    headers = {"Content-Type": "text/csv", "Accept": "text/csv"}
    answer = http.post(f"{SCORE}?reasons=1", content=text.encode(), headers=headers)
    judged = detector().score([RECORD, STRANGE])
    assert answer.headers["content-type"] == "text/csv"
    lines = answer.text.split("\r\n")
    assert [line.split(";kilter_")[0].split(";81.")[0] for line in lines[:2]] == text.split("\r\n")[:2]
    assert lines[0].endswith(";kilter_score;kilter_p_value;kilter_anomaly;kilter_reasons;kilter_error")
    assert lines[2].startswith(text.split("\r\n")[2] + f";{judged.score[1]};{judged.p_value[1]};true;")
    assert '""feature"":""amount""' in lines[2]


def test_csv_that_has_verdicts_already_gets_no_others(http: Client) -> None:
    """A table that would have a column twice is refused; its verdicts as JSON are not."""
    text = CSV.replace("amount,", "kilter_score,amount,").replace("52.5,", "1,52.5,").replace("9100,", "1,9100,")
    plain = {"Content-Type": "text/csv"}
    answer = http.post(SCORE, content=text.encode(), headers=plain | {"Accept": "text/csv"})
    assert answer.status_code == 422
    assert [problem["field"] for problem in answer.json()["problems"]] == ["kilter_score"]
    assert http.post(SCORE, content=text.encode(), headers=plain).status_code == 200


NDJSON = {"Content-Type": "application/x-ndjson"}


def test_a_record_in_each_line_gets_a_verdict_in_each_line(http: Client) -> None:
    """Where lines are accepted: the results alone, and what else there is to tell in headers; else the usual answer."""
    body = "".join(json.dumps(record) + "\n" for record in (RECORD, STRANGE))
    usual = http.post(SCORE, json={"records": [RECORD, STRANGE]}).json()
    assert http.post(SCORE, content=body, headers=NDJSON).json() == usual
    answer = http.post(SCORE, content=body, headers=NDJSON | {"Accept": "application/x-ndjson"})
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert [json.loads(line) for line in answer.text.splitlines()] == usual["results"]
    told = [answer.headers[f"kilter-{name}"] for name in ("model", "version", "threshold", "target-fpr")]
    assert told == ["shop", "3", str(usual["threshold"]), "0.05"]


def test_a_line_that_is_no_json_is_told_by_its_record(http: Client) -> None:
    """Beside the problems of the others."""
    body = json.dumps(RECORD) + "\n{\n" + json.dumps(RECORD | {"amount": "x"})
    answer = http.post(SCORE, content=body, headers=NDJSON)
    assert answer.status_code == 422
    assert [(problem["row"], problem["field"]) for problem in answer.json()["problems"]] == [(1, None), (2, "amount")]


def test_columns_get_the_verdicts_of_their_records(http: Client) -> None:
    """The form of a request makes no difference to its answer."""
    columns = {name: [RECORD[name], STRANGE[name]] for name in RECORD}
    answer = http.post(SCORE, json={"columns": columns})
    assert answer.json() == http.post(SCORE, json={"records": [RECORD, STRANGE]}).json()


@pytest.mark.parametrize("form", ["stream", "file"])
def test_an_arrow_table_gets_the_verdicts_of_its_records(http: Client, form: str) -> None:
    """In either format; a table that lacks a column, or none at all, is told what is wrong."""
    kind = {"Content-Type": f"application/vnd.apache.arrow.{form}"}

    def packed(frame: pl.DataFrame) -> bytes:
        out = BytesIO()
        if form == "stream":
            frame.write_ipc_stream(out)
        else:
            frame.write_ipc(out)
        return out.getvalue()

    frame = pl.DataFrame([RECORD, STRANGE])
    usual = http.post(SCORE, json={"records": [RECORD, STRANGE]}).json()
    assert http.post(SCORE, content=packed(frame), headers=kind).json() == usual
    lacking = http.post(SCORE, content=packed(frame.drop("colour")), headers=kind)
    assert (lacking.status_code, lacking.json()["problems"][0]["field"]) == (422, "colour")
    assert http.post(SCORE, content=packed(frame)[:100], headers=kind).status_code == 400
