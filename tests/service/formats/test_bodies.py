"""The bodies of requests: whatever one ends with, it gives every record once and in order, and its answer does too."""

import io
import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import Verdicts
from kilter.service.detector.inputs import Table
from kilter.service.formats import format_named
from kilter.service.formats.bodies import CHUNK, LONGEST_NAME, Body, Call, too_many
from kilter.service.formats.json_body import RowReader
from kilter.service.formats.scoring import score_file
from kilter.service.judging.verdicts import AnswerWriter
from kilter.service.problems import BAD_BODY, BAD_RECORDS, TOO_LARGE, RequestError
from tests.support.picture_model import picture_detector
from tests.support.serving import RECORD, SCHEMA, detector

SHOP = detector()
READER = RowReader(SCHEMA)
HEADER = "id,amount,items,member,colour,at"
AMOUNTS = st.lists(st.none() | st.integers(-9000, 9000).map(float), min_size=1, max_size=5)
NEWLINES = st.sampled_from(["\n", "\r\n"])
LAST = st.sampled_from(["", "\n", "\r\n", "\r", "\n\n", "\r\n\r\n"])


def opened(name: str, content: bytes, limit: int = 1000, content_type: str = "", reader: RowReader = READER) -> Body:
    """A body of a format."""
    form = format_named(name)
    return form.body_reader()(Call(content, form, reader, limit, content_type))


def amounts(tables: list[Table]) -> list[float | None]:
    """The amounts of all records, in their order."""
    assert not [problem for table in tables for problem in table.problems]
    values = [value for table in tables for value in table.columns["amount"].tolist()]
    return [None if value != value else value for value in values]


@given(AMOUNTS, NEWLINES, LAST, st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]), st.booleans(), st.booleans())
def test_a_text_table_comes_back_as_kilter_score_writes_it(
    values: list[float | None], newline: str, last: str, encoding: str, quoted: bool, reasons: bool
) -> None:
    """A line for each record, with its own bytes and line ending; a last one without an ending gets the header's."""
    mark = '"' if quoted else ""
    rows = [f"{i},{'' if v is None else v},3,true,red,{mark}2024-05-31T08:15:00{mark}" for i, v in enumerate(values)]
    content = (newline.join([HEADER, *rows]) + last).encode(encoding)
    body = opened("csv", content)
    tables = list(body.tables())
    assert amounts(tables) == values
    body.check_answer()
    judged = [SHOP.score(table, reasons=5 if reasons else 0) for table in tables]
    answer, file = body.answer(judged), io.BytesIO()
    score_file(SHOP, "-", "-", reasons="all" if reasons else "none", stdin=io.BytesIO(content), stdout=file)
    assert answer == file.getvalue()
    lines = answer.decode(encoding).splitlines(keepends=True)
    endings = [newline] * len(rows) + [{"": newline, "\n\n": "\n", "\r\n\r\n": "\r\n"}.get(last, last)]
    assert [line.rstrip("\r\n") + ending for line, ending in zip(lines, endings, strict=True)] == lines
    assert [line.startswith(f"{row},") for row, line in zip(rows, lines[1:], strict=True)] == [True] * len(rows)


@given(AMOUNTS, st.lists(st.sampled_from(["\n", "\r\n", "\n\n", "\n \n"]), min_size=5, max_size=5), LAST, st.booleans())
def test_lines_of_json_are_the_records_whatever_the_body_ends_with(
    values: list[float | None], newlines: list[str], last: str, bom: bool
) -> None:
    """As many as there are lines with anything in them, and the same as in one JSON text; answered line by line."""
    texts = [json.dumps(RECORD | {"amount": value}) for value in values]
    content = "".join(text + newline for text, newline in zip(texts[:-1], newlines, strict=False)) + texts[-1] + last
    lines = list(opened("ndjson", content.encode("utf-8-sig" if bom else "utf-8")).tables())
    whole = list(opened("json", b'{"records": [%s]}' % ",".join(texts).encode()).tables())
    assert amounts(lines) == amounts(whole) == values
    judged = [SHOP.score(table) for table in lines]
    answer = AnswerWriter(SHOP).lines(judged)
    assert answer.endswith(b"}\n")
    assert [json.loads(line)["score"] for line in answer[:-1].split(b"\n")] == SHOP.score(whole[0]).score.tolist()
    assert json.loads(AnswerWriter(SHOP).write(judged))["results"] == [
        json.loads(line) for line in answer[:-1].split(b"\n")
    ]


@pytest.mark.parametrize("content", [b"", b"\n", b"\r\n \n", b"\xef\xbb\xbf"])
def test_lines_without_anything_are_no_records(content: bytes) -> None:
    """Of which there are none then."""
    assert list(opened("ndjson", content).tables()) == []


@given(st.integers(1, 3), st.sampled_from(["csv", "ndjson", "json"]))
def test_records_come_in_pieces_up_to_the_limit(more: int, name: str) -> None:
    """So many at a time, none lost where one piece ends; one record beyond the limit is refused."""
    count = CHUNK + more
    row, record = "1,52.5,3,true,red,2024-05-31T08:15:00", json.dumps(RECORD)
    content = {
        "csv": "\n".join([HEADER, *[row] * count]),
        "ndjson": "\n".join([record] * count),
        "json": json.dumps({"records": [RECORD] * count}),
    }[name].encode()
    assert sum(table.rows for table in opened(name, content, count).tables()) == count
    with pytest.raises(RequestError) as caught:
        list(opened(name, content, count - 1).tables())
    assert (caught.value.kind, caught.value.detail) == (TOO_LARGE, too_many(count - 1).detail)


@pytest.mark.parametrize(
    ("content", "kind", "message"),
    [
        (b"", BAD_BODY, "the body is empty"),
        (b"PAR1\x15", BAD_BODY, "compressed, or not a text table"),
        (b"\x1f\x8b\x08", BAD_BODY, "damaged or cut short"),
        (b"a,a\n1,2\n", BAD_BODY, "two columns named 'a'"),
        (b"amount\n1\n", BAD_RECORDS, "the columns do not fit the model"),
    ],
)
def test_a_table_that_cannot_be_read_is_refused(content: bytes, kind: Any, message: str) -> None:
    """With what is wrong, and every column that is absent."""
    with pytest.raises(RequestError, match=message) as caught:
        list(opened("csv", content).tables())
    assert caught.value.kind == kind
    assert [problem.field for problem in caught.value.problems] == (
        ["items", "member", "colour", "at"] if kind == BAD_RECORDS else []
    )


def test_a_table_that_has_verdicts_gets_no_others() -> None:
    """Each column that is there already is named."""
    body = opened("csv", f"{HEADER},kilter_score,kilter_error\n".encode())
    with pytest.raises(RequestError, match="send the table without them") as caught:
        body.check_answer()
    assert [problem.field for problem in caught.value.problems] == ["kilter_score", "kilter_error"]


PICTURES = RowReader(picture_detector().schema)
CONTENTS = st.lists(st.binary(max_size=9) | st.sampled_from([b"\r\n", b"--x", b"\r\n--", b"a\r\n"]), max_size=4)


@given(CONTENTS, st.booleans(), st.sampled_from(["", "\r\n", "\r\nepilogue"]))
def test_the_files_of_a_form_are_its_parts(contents: list[bytes], named: bool, end: str) -> None:
    """Each byte by byte and in order, with its name, however the last one ends and whatever follows it."""
    if not contents:
        return
    pieces = []
    for i, content in enumerate(contents):
        name = f'name="field{i}"' + (f'; filename="{i}.png"' if named else "")
        pieces.append(b"--boundary\r\nContent-Disposition: form-data; %s\r\n\r\n%s\r\n" % (name.encode(), content))
    body = b"".join(pieces) + b"--boundary--" + end.encode()
    kept: list[bytes] = []

    def keep(column: Any, value: Any) -> Any:
        kept.append(value)
        return np.zeros((column.height, column.width, 1), np.uint8)

    form = format_named("multipart")
    read = form.body_reader()(Call(body, form, PICTURES, 4, "multipart/form-data; boundary=boundary", keep))
    assert [table.rows for table in read.tables()] == [len(contents)]
    assert kept == contents
    assert read.names == [f"{i}.png" if named else f"field{i}" for i in range(len(contents))]
    with pytest.raises(RequestError, match="ends before its last boundary"):
        opened("multipart", b"".join(pieces), 4, "multipart/form-data; boundary=boundary", PICTURES)
    with pytest.raises(RequestError, match="a request may have"):
        opened("multipart", body, len(contents) - 1, "multipart/form-data; boundary=boundary", PICTURES)


def test_a_name_in_a_form_is_cut_to_a_length() -> None:
    """It stands in the answer."""
    part = b'--b\r\nContent-Disposition: form-data; filename="%s"\r\n\r\nx\r\n--b--' % (b"x" * 999)
    assert opened("multipart", part, 1, "multipart/form-data; boundary=b", PICTURES).names == ["x" * LONGEST_NAME]


@given(st.integers(1, 3), st.sampled_from([np.uint8, np.float32]), st.booleans(), st.integers(-2, 2))
def test_an_array_is_as_long_as_it_says(count: int, kind: Any, fortran: bool, off: int) -> None:
    """In either order of its values; a byte more or less is refused, and so is a record beyond the limit."""
    out = io.BytesIO()
    array = np.arange(count * 20, dtype=kind).reshape(count, 4, 5)
    np.save(out, np.asfortranarray(array) if fortran else array)
    content = out.getvalue()
    if off:
        content = content[:off] if off < 0 else content + b"\0" * off
        with pytest.raises(RequestError, match="bytes of values, and not"):
            opened("npy", content, reader=PICTURES)
        return
    (table,) = opened("npy", content, count, reader=PICTURES).tables()
    assert table.rows == count
    with pytest.raises(RequestError, match="a request may have"):
        opened("npy", content, count - 1, reader=PICTURES)


def test_reasons_are_appended_as_json() -> None:
    """Compact, in ASCII whatever a field is called, and none for a record without any."""
    content = f"{HEADER}\n1,9100.0,3,true,red,2024-05-31T08:15:00".encode()
    body = opened("csv", content)
    (table,) = body.tables()
    verdicts: Verdicts = SHOP.score(table, reasons=2)
    assert verdicts.reasons is not None
    line = body.answer([verdicts]).decode().splitlines()[1]
    assert json.dumps(msgspec.to_builtins(verdicts.reasons[0]), separators=(",", ":")).replace('"', '""') in line
