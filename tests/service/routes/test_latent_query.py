"""What the queries of the routes of the latent space mean."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.formats import format_named
from kilter.service.problems import RequestError
from kilter.service.routes.latent_document import STRONGEST
from kilter.service.routes.latent_query import LatentQuery, read_latent_query

EVERY = ("seed", "steps", "k", "strength", "ignore_unknown")


def read(query: str, accept: str = "", *, pictures: bool = False, tables: bool = True) -> LatentQuery:
    headers = [(b"accept", accept.encode())] if accept else []
    scope = {"type": "http", "query_string": query.encode(), "headers": headers}
    return read_latent_query(scope, EVERY, lambda _: format_named("json"), pictures=pictures, tables=tables)


@given(st.integers(0, 10**18 - 1), st.integers(2, 9999), st.integers(1, 100), st.floats(-STRONGEST, STRONGEST))
def test_numbers_are_those_that_are_stated(seed: int, steps: int, k: int, strength: float) -> None:
    query = read(f"seed={seed}&steps={steps}&k={k}&strength={strength}")
    assert (query.seed, query.steps, query.nearest, query.strength) == (seed, steps, k, strength)


def test_what_is_not_stated_is_usual() -> None:
    assert read("")[1:] == (None, None, 5, 1.0)


@pytest.mark.parametrize(
    "query",
    ["seed=-1", "steps=1", "steps=10000", "k=0", "strength=1001", "strength=nan", "strength=1.2.3", "strength=1e999"],
)
def test_what_is_no_such_number_is_refused(query: str) -> None:
    with pytest.raises(RequestError, match=f"{query.partition('=')[0]} is a .*, given once"):
        read(query)


def test_the_answer_is_of_a_type_that_is_accepted_and_possible() -> None:
    for accept, pictures, tables, wanted in (
        ("image/png", True, False, "image/png"),
        ("image/png", False, True, "application/json"),
        ("text/csv", False, True, "text/csv"),
        ("text/csv", True, False, "application/json"),
        ("application/x-ndjson, text/csv", False, False, "application/x-ndjson"),
        ("", True, True, "application/json"),
    ):
        assert read("", accept, pictures=pictures, tables=tables).body.answer == wanted
