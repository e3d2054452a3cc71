"""Tests of keys that stand in a JSON object twice."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.formats import format_named
from kilter.service.formats.bodies import Call
from kilter.service.formats.json_body import LinesBody, RowReader, decode_json, read_json_body
from kilter.service.formats.json_keys import count_keys, may_repeat, repeated_key
from kilter.service.problems import BAD_BODY, RequestError
from tests.service.formats.test_json_body import NUMBERS

TEXTS = st.text(st.sampled_from('a":, {}[]\\é'), max_size=6)
VALUES = st.none() | st.integers(-9, 9) | TEXTS | st.lists(st.integers(0, 9), max_size=2)


@st.composite
def objects(draw: st.DrawFn, depth: int = 2) -> tuple[str, bool]:
    """An object in JSON with blanks anywhere, and whether a key stands in it, or in one within it, twice."""
    keys = draw(st.lists(TEXTS, max_size=4))
    twice = len(set(keys)) < len(keys)
    pairs = []
    for key in keys:
        value = json.dumps(draw(VALUES), ensure_ascii=False)
        if depth and draw(st.booleans()):
            value, inner = draw(objects(depth - 1))
            twice = twice or inner
        blanks = draw(st.sampled_from(["", "", " ", "\n\t"])), draw(st.sampled_from(["", " "]))
        pairs.append(f"{json.dumps(key, ensure_ascii=False)}{blanks[0]}:{blanks[1]}{value}")
    return "{" + ", ".join(pairs) + "}", twice


@given(objects())
def test_no_repeated_key_is_overlooked(case: tuple[str, bool]) -> None:
    """Whatever the texts hold; and a key is only named where one stands twice."""
    text, twice = case
    content = text.encode()
    found = repeated_key(content) if may_repeat(content, count_keys(json.loads(content))) else None
    assert (found is not None) == twice


def test_usual_bodies_are_not_looked_at_again() -> None:
    """As many colons as keys say enough, and so do texts with colons."""
    records = [{"at": f"2024-05-31T08:{i:02}:00+02:00", "x": i} for i in range(9)]
    content = json.dumps({"records": records}).encode()
    assert not may_repeat(content, 1 + 2 * len(records))
    assert may_repeat(content.replace(b'"x": 0', b'"x": 0, "x": 1'), 1 + 2 * len(records))


@pytest.mark.parametrize(
    ("content", "row", "key"),
    [
        (b'{"records": [{"a": 1, "b": 2}, {"a": 1, "b": 2, "a": 3}]}', 1, "a"),
        (b'{"records": [{"a": 1, "b": "x", "a": 3}]}', 0, "a"),
        (b'{"a": 1, "b": 2, "b" : 2}', None, "b"),
        (b'{"records": [{"a": 1, "b": 2}], "records": []}', None, "records"),
        (b'{"columns": {"a": [1], "b": [2], "a": [3]}}', None, "a"),
    ],
)
def test_a_body_with_a_repeated_key_cannot_be_read(content: bytes, row: int | None, key: str) -> None:
    """The record and the key are named, whichever way the body is read."""
    with pytest.raises(RequestError, match="stands twice") as caught:
        list(read_json_body(Call(content, format_named("json"), RowReader(NUMBERS), 9)).tables())
    assert caught.value.kind is BAD_BODY
    assert [(problem.row, problem.field) for problem in caught.value.problems] == [(row, key)]


def test_a_line_with_a_repeated_key_has_a_problem_of_its_own() -> None:
    """And the other lines are read."""
    content = b'{"a": 1, "b": 2}\n{"a": 1, "b": 2, "a": 4}\n'
    [table] = LinesBody(Call(content, format_named("ndjson"), RowReader(NUMBERS), 9)).tables()
    assert [problem.row for problem in table.problems] == [1]
    assert "'a' stands twice in the line" in str(table.problems[0])
    assert np.asarray(table.columns["a"])[0] == 1


def test_json_of_any_kind_is_checked() -> None:
    """As the messages of /v2 are."""
    with pytest.raises(RequestError, match="'datatype' stands twice in the body"):
        decode_json(b'{"inputs": [{"name": "a", "datatype": "FP32", "datatype": "FP64", "data": [1, 2]}]}')
