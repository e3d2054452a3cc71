"""The route of long bodies: the bytes of `kilter score`, and a status for what is wrong from the beginning."""

import gzip
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.types import ASGIApp

from kilter.service.formats import arrow_stream, json_files, json_stream, text
from kilter.service.formats.arrow_stream import END
from kilter.service.formats.encodings import compress, decompress
from kilter.service.models.registry import Registry
from kilter.service.monitoring.metrics import Metrics
from kilter.service.routes.streaming import STREAMED
from kilter.service.settings import Settings
from kilter.service.web.app import create_app
from tests.support.serving import RECORD, STRANGE, client, detector
from tests.support.streaming import STREAM, ask, scored

CSV = pl.DataFrame([RECORD, STRANGE]).write_csv().encode()
TYPES = {
    "csv": "text/csv",
    "ndjson": "application/x-ndjson",
    "arrow-stream": "application/vnd.apache.arrow.stream",
}
OUT = {"csv": "out.csv", "ndjson": "out.ndjson", "arrow-stream": "out.arrows"}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables of some hundred records have several blocks."""
    monkeypatch.setattr(text, "HEAD", 1024)
    monkeypatch.setattr(text, "BYTES", 1024)
    monkeypatch.setattr(arrow_stream, "ROWS", 20)
    monkeypatch.setattr(json_files, "ROWS", 20)
    monkeypatch.setattr(json_stream, "ROWS", 20)


def app(**options: Any) -> ASGIApp:
    metrics = options.pop("metrics", None) or Metrics()
    return create_app(Settings(**options), Registry(metrics, [detector()]), metrics)


APP = app()


def body_of(rows: list[dict[str, Any]], form: str) -> bytes:
    kinds: dict[str, Any] = {"amount": pl.Float64(), "items": pl.Int64(), "member": pl.Boolean()}
    frame = pl.DataFrame(rows, schema={**kinds, **dict.fromkeys(("colour", "at", "note"), pl.String())})
    if form == "csv":
        return frame.write_csv().encode()
    if form == "ndjson":
        return frame.write_ndjson().encode()
    out = BytesIO()
    frame.write_ipc_stream(out)
    return out.getvalue()


def cut(content: bytes, places: list[float]) -> Iterator[bytes]:
    """A content in parts that end at some places, each a share of it."""
    ends = sorted(int(place * len(content)) for place in places)
    return (content[start:end] for start, end in zip([0, *ends], [*ends, len(content)], strict=True))


ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "amount": st.none() | st.floats(-1e4, 1e4),
            "items": st.none() | st.integers(0, 9),
            "member": st.sampled_from([True, False, None]),
            "colour": st.sampled_from(["red", "blue", "green", None]),
            "at": st.sampled_from(["2024-05-31T08:15:00", "some day", None]),
            "note": st.text('aé";\n', max_size=5),
        }
    ),
    min_size=1,
    max_size=40,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
@given(
    ROWS,
    st.integers(1, 5),
    st.sampled_from(STREAMED),
    st.sampled_from(STREAMED),
    st.lists(st.floats(0, 1), max_size=5),
    st.sampled_from(["", "gzip", "zstd", "deflate"]),
    st.sampled_from(["", "gzip", "zstd"]),
)
def test_the_answer_is_what_kilter_score_writes(
    tmp_path: Path,
    rows: list[dict[str, Any]],
    times: int,
    form: str,
    answer: str,
    places: list[float],
    coding: str,
    answer_coding: str,
) -> None:
    """Byte for byte, of any table in any format, cut in any parts, with values in error, compressed or not."""
    content = body_of([RECORD | {"note": "first"}, *rows * times], form)
    sent = compress(content, coding) if coding else content
    headers = {"content_type": TYPES[form], "accept": TYPES[answer], "accept_encoding": answer_coding}
    told = ask(APP, cut(sent, places), **headers, **({"content_encoding": coding} if coding else {}))
    assert (told.status, told.complete, told.headers["content-type"]) == (200, True, TYPES[answer])
    assert told.headers.get("content-encoding", "") == answer_coding
    plain = decompress(told.content, answer_coding, 10**8) if answer_coding else told.content
    assert plain == scored(tmp_path, content, OUT[answer])


@pytest.mark.parametrize(
    ("query", "options"),
    [
        ("reasons=anomalies", {}),
        ("reasons=none", {"reasons": "none"}),
        ("reasons=all", {"reasons": "all"}),
        ("reasons=2", {"reasons": "all", "limit": 2}),
        ("only_anomalies=true", {"only_anomalies": True}),
        ("columns=colour&columns=at", {"columns": ["colour", "at"]}),
        ("tail=true", {"tails": True}),
        ("nearest_normal=true&keep=colour", {"keep": ("colour",)}),
    ],
)
def test_the_parameters_are_the_options_of_kilter_score(tmp_path: Path, query: str, options: dict[str, Any]) -> None:
    """Each with the same effect."""
    told = ask(APP, [CSV], f"{STREAM}?{query}")
    assert told.content == scored(tmp_path, CSV, **options)


def test_an_answer_may_be_empty() -> None:
    """Of lines, where no record is to be written."""
    record = f"{json.dumps(RECORD)}\n".encode()
    told = ask(APP, [record], f"{STREAM}?only_anomalies=true", content_type=TYPES["ndjson"])
    assert (told.status, told.complete, told.content) == (200, True, b"")


def test_a_version_may_be_named(tmp_path: Path) -> None:
    """By its route; headers say which one judged."""
    told = ask(APP, [CSV], STREAM.replace("/score", "/versions/3/score"))
    assert told.content == scored(tmp_path, CSV)
    shown = {name: value for name, value in told.headers.items() if name.startswith("kilter-")}
    threshold = str(detector().calibration.threshold)
    assert shown == {
        "kilter-model": "shop",
        "kilter-version": "3",
        "kilter-threshold": threshold,
        "kilter-target-fpr": "0.05",
    }
    assert ask(APP, [CSV], STREAM.replace("/score", "/versions/4/score")).status == 404


@pytest.mark.parametrize(
    ("query", "headers", "content", "status", "detail"),
    [
        ("", {"content_type": ""}, CSV, 415, "no content type is stated: a stream is one of text/csv, application/x"),
        ("", {"content_type": "application/json"}, CSV, 415, "a stream is one of text/csv"),
        ("", {"content_type": "application/x-ndjson; charset=latin-1"}, CSV, 415, "JSON is UTF-8"),
        ("", {"content_type": "text/csv; charset=klingon"}, CSV, 400, "there is no encoding 'klingon'"),
        ("", {"content_encoding": "br"}, CSV, 415, "send it as gzip, zstd or deflate"),
        ("", {"content_encoding": "gzip"}, CSV, 400, "the body is no gzip"),
        ("", {"content_encoding": "gzip"}, gzip.compress(CSV, mtime=0)[:-9], 400, "ends in the midst of its gzip"),
        (
            "",
            {},
            gzip.compress(CSV, mtime=0),
            400,
            "the body is compressed, or not a text table: send it as its Content-Type",
        ),
        ("", {"content_type": "application/x-ndjson"}, CSV, 400, "the body is compressed, or not NDJSON"),
        ("", {"content_type": TYPES["arrow-stream"]}, CSV, 400, "the body is compressed, or not an Arrow stream"),
        ("", {}, b"", 400, "the body is empty"),
        ("", {}, CSV.replace(b"amount", b"Amount"), 422, "the body lacks 'amount' (did you mean 'Amount'?)"),
        ("", {}, CSV.replace(b"amount", b"amount,kilter_score", 1), 422, "has a column 'kilter_score' already"),
        ("?columns=size", {}, CSV, 422, "columns names 'size', and there is no such column"),
        ("?reasons=0", {}, CSV, 422, "reasons is anomalies, all, none, or a number up to 1000"),
        ("?tail=yes", {}, CSV, 422, "tail is true or false, given once"),
        ("?only_anomalies=true&only_anomalies=true", {}, CSV, 422, "only_anomalies is true or false, given once"),
        ("?nearest_normal=true&keep=size", {}, CSV, 422, "there is no field 'size' to keep"),
        ("?heatmap=true", {}, CSV, 422, "there is no parameter 'heatmap'"),
    ],
)
def test_what_is_wrong_from_the_beginning_has_a_status(
    query: str, headers: dict[str, str], content: bytes, status: int, detail: str
) -> None:
    """And says why, in the form of every other problem."""
    told = ask(APP, [content[:30], content[30:]], STREAM + query, **headers)
    assert (told.status, told.complete) == (status, True)
    assert detail in json.loads(told.content)["detail"]


@pytest.mark.parametrize("sent", [{}, {"content_length": "5000"}, {"content_encoding": "gzip"}])
def test_a_body_may_be_bounded(sent: dict[str, str]) -> None:
    """By a setting, whether its length is stated or not, and as it is once decompressed; there is none otherwise."""
    content = CSV + CSV.splitlines(keepends=True)[1] * 80
    parts = [gzip.compress(content)] if "content_encoding" in sent else [content]
    told = ask(app(max_stream_bytes=2000), parts, **sent)
    assert told.status == 413
    assert "the body is longer than 2,000 bytes" in json.loads(told.content)["detail"]
    assert ask(APP, parts, **sent).status == 200


@pytest.mark.parametrize("form", STREAMED)
def test_what_goes_wrong_later_cuts_the_answer_off(tmp_path: Path, caplog: pytest.LogCaptureFixture, form: str) -> None:
    """What was judged before has come, and there is no end: of an Arrow stream no mark; the log and metrics say why."""
    whole = body_of([RECORD | {"note": f"{number}"} for number in range(8000)], form)
    metrics = Metrics()
    packed = gzip.compress(whole.removesuffix(END)) + b"no gzip"
    told = ask(app(metrics=metrics), [packed], content_type=TYPES[form], content_encoding="gzip")
    assert (told.status, told.complete) == (200, False)
    expected = scored(tmp_path, whole, OUT[form])
    assert 500 < len(told.content) < len(expected)
    assert expected.startswith(told.content)
    assert not told.content.endswith(END)
    [line] = [record for record in caplog.records if record.message == "answer cut off"]
    assert line.fields["why"].startswith("the body is no gzip")  # type: ignore[attr-defined]
    labels = {"route": "/v1/models/{name}/score/stream", "status": "400"}
    assert metrics.registry.get_sample_value("kilter_request_duration_seconds_count", labels) == 1


def test_streams_are_counted_as_other_requests_are() -> None:
    """Records by what became of them, and the fields' drift; a line of the log has the sums."""
    metrics = Metrics()
    broken = CSV.splitlines(keepends=True)[1].replace(b"52.5", b"x")
    ask(app(metrics=metrics), [CSV, broken, broken])
    count = metrics.registry.get_sample_value
    labels = {"model": "shop", "version": "3"}
    told = {result: count("kilter_records_total", {**labels, "result": result}) for result in ("normal", "anomalous")}
    assert told == {"normal": 1, "anomalous": 1}
    assert count("kilter_records_total", {**labels, "result": "rejected"}) == 2
    assert count("kilter_p_value_count", labels) == 2
    route = {"route": "/v1/models/{name}/score/stream", "status": "200"}
    assert count("kilter_request_duration_seconds_count", route) == 1


def test_the_document_describes_streams() -> None:
    """With what goes in and comes out, the parameters, and the problems."""
    with client() as http:
        operation = http.get("/openapi.json").json()["paths"]["/v1/models/{name}/score/stream"]["post"]
    assert set(operation["requestBody"]["content"]) == set(TYPES.values())
    assert set(operation["responses"]["200"]["content"]) == set(TYPES.values())
    names = {"name", "reasons", "only_anomalies", "columns", "tail", "nearest_normal", "keep", "Request-Timeout"}
    assert {parameter["name"] for parameter in operation["parameters"]} == names
    assert {"400", "408", "413", "415", "422", "503"} <= set(operation["responses"])
