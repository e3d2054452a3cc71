"""Requests that no well-meant client sends, on every route that takes a body: answered, and never by a 5xx."""

from tests.support.fuzz_run import Target
from tests.support.fuzzing import case

CASES = 1500


def test_nothing_brings_the_service_down() -> None:
    """Bodies, headers, queries and paths changed at random get a verdict or are the client's mistake."""
    target = Target()
    target.fuzz("short", 0, CASES)
    assert sum(target.statuses.values()) == CASES
    assert {200, 400, 404, 413, 415, 422} <= target.statuses.keys()


def test_a_case_can_be_made_again() -> None:
    """By its seed and number alone."""
    routes = Target().routes
    assert {path for _, path in routes} >= {"/v1/models/{name}/score", "/v2/models/{name}/infer"}
    made = [case("again", number, routes, "secret") for number in range(50)]
    assert made == [case("again", number, routes, "secret") for number in range(50)]
    assert len({found.path for found in made}) > 5
