"""The fast way to read JSON and the slow one are one: what either makes of a body is the same."""

import contextlib
import json
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kilter.service.detector.columns import BooleanColumn, CategoricalColumn, NumericColumn, TimestampColumn
from kilter.service.detector.inputs import Table, from_columns, from_records
from kilter.service.detector.schema import LeftOut, Schema
from kilter.service.formats import format_named
from kilter.service.formats.bodies import Call
from kilter.service.formats.json_body import LinesBody, RowReader, decode_json, read_json_body, records_of
from kilter.service.problems import RequestError

MIXED = Schema(
    columns=(
        NumericColumn("a", 0.0, 1.0, -1.0, 1.0),
        BooleanColumn("b", ("true",), ("false",)),
        CategoricalColumn("c", ("x",), (1,)),
        TimestampColumn("t", "iso", ("hour",)),
        TimestampColumn("u", "unix_ms", ("hour",)),
    ),
    rows=10,
    left_out=(LeftOut("id", "an identifier"),),
)
NUMBERS = Schema(columns=tuple(NumericColumn(name, 0.0, 1.0, -1.0, 1.0) for name in "ab"), rows=10)
NAMED = Schema(
    columns=(NumericColumn("records", 0.0, 1.0, -1.0, 1.0), NumericColumn("é", 0.0, 1.0, -1.0, 1.0)),
    rows=10,
    left_out=(LeftOut("columns", "all the same"),),
)
ASIDE = Schema(columns=(NumericColumn("a", 0.0, 1.0, -1.0, 1.0),), rows=10, left_out=(LeftOut("records", "text"),))
QUOTED = Schema(columns=(NumericColumn('a"b', 0.0, 1.0, -1.0, 1.0),), rows=10)
SCHEMAS = (MIXED, NUMBERS, NAMED, ASIDE, QUOTED)
LIMIT = 3

NUMERALS = ["1", "1.5", "-0", "-0.0", "0", "2", "0.0", "1.0", "1e39", "-1e39", "3.4028235e38", "3.5e38", "1e300"]
LARGE = ["1700000000000", "9007199254740993", "18446744073709551616", "123456789012345678901234567890"]
BROKEN = ["01", "1.", ".5", "NaN", "Infinity", "1e400", "-1e400", '"\\ud800"']
OTHERS = ["null", "true", "false", "{}", "[]", "[1]", '{"a":1}', '""', '"x"', '"1.5"', '"\\u0041"']
TIMES = ['"2024-05-31T08:15:00"', '"2024-05-31T08:15:00+02:00"', '"2024-13-01"']
LITERALS = st.sampled_from([*NUMERALS, *LARGE, *BROKEN, *OTHERS, *TIMES])
KEYS = st.sampled_from(["a", "b", "c", "t", "u", "id", "records", "columns", "é", "\\u0061", 'a\\"b', "zzz"])
PLAIN = {"a": "1.5", "b": "true", "c": '"x"', "t": '"2024-05-31T08:15:00"', "u": "1700000000000"}


@st.composite
def record_texts(draw: st.DrawFn, schema: Schema) -> str:
    """A record in JSON, mostly with the fields of the schema, of some right and some wrong values, keys given twice."""
    names = [json.dumps(name, ensure_ascii=False)[1:-1] for name in schema.names]
    pairs = [(name, draw(st.just(PLAIN.get(name, "2")) | LITERALS)) for name in names]
    pairs += draw(st.lists(st.tuples(KEYS, LITERALS), max_size=1))
    if draw(st.integers(0, 9)) == 0:
        pairs = pairs[1:]
    return "{" + ",".join(f'"{key}": {value}' for key, value in pairs) + "}"


@st.composite
def bodies(draw: st.DrawFn) -> tuple[Schema, bytes]:
    """A schema, and a body that nearly fits it."""
    schema = draw(st.sampled_from(SCHEMAS))
    found = draw(st.lists(record_texts(schema) | LITERALS, max_size=LIMIT + 1))
    form = draw(st.integers(0, 4))
    text = found[0] if form == 0 and found else '{"records": [' + ", ".join(found) + "]}"
    if form == 1:
        text = text[:-1] + f', "{draw(KEYS)}": {draw(LITERALS)}}}'
    prefix = draw(st.sampled_from([b"", b"", b"\xef\xbb\xbf", b" \n"]))
    return schema, prefix + text.encode("utf-8", "surrogatepass")


def call(content: bytes, schema: Schema) -> Call:
    """A body as it came."""
    return Call(content, format_named("json"), RowReader(schema), LIMIT)


def slowly(schema: Schema, content: bytes) -> Table:
    """Each value looked at by itself."""
    return from_records(schema, records_of(decode_json(content), schema, LIMIT))


def quickly(schema: Schema, content: bytes) -> Table:
    """As the service reads it."""
    tables = list(read_json_body(call(content, schema)).tables())
    return tables[0] if tables else Table({name: np.empty(0) for name in schema.names}, 0, [])


def outcome(read: Any, schema: Schema, content: bytes) -> Any:
    """All that tells one outcome from another: columns, rows and problems, or the error."""
    try:
        table = read(schema, content)
    except RequestError as error:
        return error.kind, error.detail, list(error.problems)
    columns = {
        name: [None if value != value else value for value in np.asarray(table.columns[name]).tolist()]
        for name in schema.names
    }
    return columns, table.rows, table.problems


@given(bodies())
@example((NUMBERS, b'{"records": [{"a": 1, "b": null}, {"a": 1e39, "b": 2}]}'))
@example((NUMBERS, b'{"records": [{"a": "x", "a": 1, "b": null}]}'))
@example((NUMBERS, b'{"records": [{"a": 1, "b": 2}], "records": []}'))
@example((MIXED, b'{"a": 1, "b": 1, "c": null, "t": null, "u": 1.5, "id": {"x": [1e5]}}'))
@example((NAMED, '{"records": 5, "é": 1}'.encode()))
@example((NAMED, '{"records": [{"records": 5, "é": 1, "columns": {}}]}'.encode()))
@example((ASIDE, b'{"records": [{"a": 1}], "a": 1}'))
@example((ASIDE, b'{"records": 7, "a": 1}'))
def test_the_fast_way_is_the_slow_one(case: tuple[Schema, bytes]) -> None:
    """Whatever the body: the same columns, or the same problems in the same words."""
    schema, content = case
    if b'"columns": {' in content:
        return
    assert outcome(quickly, schema, content) == outcome(slowly, schema, content)


def test_what_fits_takes_the_fast_way() -> None:
    """Records that fit are decoded at once, nulls, extra fields, whole numbers and flags as numbers included."""
    text = b'{"records": [{"a": 1, "b": 0, "c": null, "t": null, "u": 12, "id": [1]}, {"a": null, "b": true, "c": "x", '
    text += b'"t": "2024-05-31", "u": null}]}'
    reader = RowReader(MIXED)
    records = reader.records(text)
    assert records is not None
    assert reader.table(records) is not None
    assert reader.records(b'{"a": 1, "b": null, "c": "", "t": null, "u": 1.5}') is not None


@given(
    st.lists(record_texts(MIXED), min_size=1, max_size=LIMIT), st.sampled_from([b"\n", b"\r\n", b"\n\n", b" \n\t\n"])
)
def test_lines_are_records(found: list[str], end: bytes) -> None:
    """A record in each line gives what the list of them gives; a line that is no JSON is a problem of that record."""
    content = end.join(text.encode("utf-8", "surrogatepass") for text in found)
    (table,) = LinesBody(call(content, MIXED)).tables()
    try:
        values = [decode_json(text.encode("utf-8", "surrogatepass")) for text in found]
    except RequestError:
        assert any(problem.field is None for problem in table.problems)
        return
    alone = from_records(MIXED, values)
    assert table.problems == alone.problems
    for name in MIXED.names:
        np.testing.assert_array_equal(np.asarray(table.columns[name]), np.asarray(alone.columns[name]))


@given(st.lists(record_texts(MIXED), min_size=1, max_size=LIMIT))
def test_columns_are_records_turned_over(found: list[str]) -> None:
    """Column by column the values and the problems of cells are those of the records."""
    try:
        records = [decode_json(text.encode("utf-8", "surrogatepass")) for text in found]
    except RequestError:
        return
    full = [{name: record.get(name) for name in MIXED.names} for record in records]
    columns = {name: [record[name] for record in full] for name in MIXED.names}
    turned, plain = from_columns(MIXED, columns), from_records(MIXED, full)
    assert turned.problems == plain.problems
    for name in MIXED.names:
        np.testing.assert_array_equal(turned.columns[name], plain.columns[name])


@pytest.mark.parametrize(
    ("text", "field", "told"),
    [
        ('{"columns": {"a": [1], "b": 2}}', "b", "a list of values"),
        ('{"columns": {"a": [1, 2], "b": [1]}}', "b", "another has 2"),
        ('{"columns": {"a": [1]}, "more": 1}', "more", "nothing else"),
    ],
)
def test_columns_of_the_wrong_shape_are_told(text: str, field: str, told: str) -> None:
    """By the name of the column."""
    with pytest.raises(RequestError) as caught:
        list(read_json_body(call(text.encode(), NUMBERS)).tables())
    assert [problem.field for problem in caught.value.problems] == [field]
    assert told in caught.value.problems[0].message


def test_columns_that_lack_or_are_unknown_are_problems() -> None:
    """Each is named, and no row."""
    (table,) = read_json_body(call(b'{"columns": {"a": [1], "z": [1]}}', NUMBERS)).tables()
    assert [(problem.row, problem.field) for problem in table.problems] == [(None, "b"), (None, "z")]


@pytest.mark.parametrize("form", ['{"records": [%s]}', '{"columns": {"a": [%s], "b": [%s]}}'])
def test_too_many_records_are_refused_in_any_form(form: str) -> None:
    """Records, columns and lines have one limit."""
    many = ", ".join(["1"] * (LIMIT + 1))
    with pytest.raises(RequestError, match="may have 3 records"):
        list(read_json_body(call(form.replace("%s", many).encode(), NUMBERS)).tables())
    with pytest.raises(RequestError, match="may have 3 records"):
        list(LinesBody(call(b"{}\n" * (LIMIT + 1), NUMBERS)).tables())


class Counted:
    """A decoder that counts how often it is asked."""

    def __init__(self, decode: Any, counts: list[int]) -> None:
        self._decode = decode
        self._counts = counts

    def decode(self, content: bytes) -> Any:
        self._counts[0] += 1
        return self._decode(content)


@pytest.mark.parametrize(
    ("text", "times"),
    [
        ('{"records": [{"a": 1, "b": 2}]}', 1),
        ('{"a": 1, "b": 2}', 1),
        ('{"records": [{"a": 1, "b": 2}', 1),
        ('{"a": 1, "b": ', 1),
        ("[1, 2", 2),
        ("", 1),
        ('{"records": [{"a": 1, "b": "x"}]}', 2),
        ('{"columns": {"a": [1], "b": [2]}}', 2),
    ],
)
def test_a_body_is_parsed_once_and_once_more_if_it_is_unusual(
    text: str, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often it is asked for its records."""
    counts = [0]
    reader = RowReader(NUMBERS)
    for name in ("_many", "_one"):
        monkeypatch.setattr(reader, name, Counted(getattr(reader, name).decode, counts))
    monkeypatch.setattr(msgspec.json, "decode", Counted(msgspec.json.decode, counts).decode)
    with contextlib.suppress(RequestError):
        list(read_json_body(Call(text.encode(), format_named("json"), reader, LIMIT)).tables())
    assert counts == [times]


@pytest.mark.parametrize("key", ["rows", "instances", "inputs", "data"])
def test_records_under_another_key_are_told_the_right_one(key: str) -> None:
    """They are no bare record with one field that the model lacks."""
    with pytest.raises(RequestError) as caught:
        quickly(NUMBERS, json.dumps({key: [{"a": 1, "b": 2}]}).encode())
    [problem] = caught.value.problems
    told = f"the records of a request stand under the key 'records', not '{key}'"
    assert (problem.field, problem.message) == (key, told)
