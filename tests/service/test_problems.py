"""Tests of `service.problems`: every kind of problem can be told apart, looked up, and answered with."""

import re
from html import escape

import pytest

from kilter.service import problems
from kilter.service.detector import Problem
from kilter.service.problems import KINDS, NOT_FOUND, ProblemKind, RequestError, no_route
from tests.support.serving import client


def test_every_kind_is_listed_once() -> None:
    """No two share a slug, by which clients tell them apart."""
    assert set(KINDS) == {kind for kind in vars(problems).values() if isinstance(kind, ProblemKind)}
    assert len({kind.slug for kind in KINDS}) == len(KINDS)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.slug)
def test_a_kind_is_an_error_with_words(kind: ProblemKind) -> None:
    """Its slug can be an anchor, and its meaning ends as sentences do."""
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", kind.slug)
    assert 400 <= kind.status < 600
    assert kind.title[0].isupper()
    assert not kind.title.endswith(".")
    assert kind.meaning.endswith(".")


def test_the_documentation_explains_every_kind_at_its_anchor() -> None:
    """The `type` of a problem is a link that leads there."""
    with client() as http:
        page = http.get("/docs").text
    for kind in KINDS:
        assert f'id="{kind.slug}"' in page
        assert escape(kind.title) in page


def test_an_error_holds_all_that_a_client_is_told() -> None:
    """Its text is the detail, as a log shows it."""
    problem = Problem(3, "amount", "is no number")
    error = RequestError(NOT_FOUND, "there is nothing", [problem], {"Retry-After": "1"})
    assert str(error) == error.detail == "there is nothing"
    assert (error.kind, list(error.problems), error.headers) == (NOT_FOUND, [problem], {"Retry-After": "1"})


def test_a_path_that_is_not_there_is_named_cut_short() -> None:
    """However long a client made it, and its method."""
    error = no_route({"method": "G" * 100, "path": "/" + "x" * 1000})
    assert error.kind == NOT_FOUND
    assert f"{'G' * 20} /{'x' * 199}: " in error.detail
    assert "x" * 200 not in error.detail
