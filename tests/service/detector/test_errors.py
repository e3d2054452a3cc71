"""Tests of `detector.errors`: every text names the place, and is fit to be shown."""

import pytest

from kilter.service.detector.errors import ArtifactError, KilterError, PictureError, Problem, RecordsError


@pytest.mark.parametrize(
    ("problem", "text"),
    [
        (Problem(3, "size", "too large"), "record 3, field 'size': too large"),
        (Problem(0, None, "no object"), "record 0: no object"),
        (Problem(None, "size", "the column is missing"), "field 'size': the column is missing"),
        (Problem(None, None, "no table"), "no table"),
    ],
)
def test_a_problem_says_where_it_is(problem: Problem, text: str) -> None:
    """As far as it is anywhere."""
    assert str(problem) == text


def test_the_first_problems_are_listed_and_the_others_counted() -> None:
    """20 lines are read; all problems stay at hand."""
    problems = [Problem(row, "x", "bad") for row in range(23)]
    few, most, many = (RecordsError(problems[:count]) for count in (1, 20, 23))
    assert str(few) == "record 0, field 'x': bad"
    assert str(most).splitlines() == [str(problem) for problem in problems[:20]]
    assert str(many).splitlines() == [*str(most).splitlines(), "... and 3 more"]
    assert many.problems == tuple(problems)


@pytest.mark.parametrize("error", [ArtifactError("x"), PictureError("x"), RecordsError([])])
def test_whatever_a_user_can_put_right_is_one_kind_of_error(error: Exception) -> None:
    """So that the edge of the program catches one."""
    assert isinstance(error, KilterError)
