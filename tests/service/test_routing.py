"""The table of routes finds what there is, and nothing else."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.routing import Route, RouteTable, Scope, path_of


async def _nothing() -> None: ...


def table(*paths: str) -> RouteTable:
    return RouteTable(Route("GET", path, Scope.SCORE, None, None, _nothing) for path in paths)


PARTS = st.sampled_from(["a", "b", "v1", "{x}", "{y}"])
PATHS = st.lists(PARTS, min_size=1, max_size=4, unique_by=lambda part: part if "{" in part else object())


@given(st.lists(PATHS, min_size=1, max_size=6), st.lists(st.sampled_from(["a", "b", "v1", "z"]), max_size=4))
def test_a_path_leads_to_a_pattern_that_it_fits(patterns: list[list[str]], parts: list[str]) -> None:
    """To one if any fits, with the values of its parameters; to nothing otherwise."""
    paths = sorted({"/" + "/".join(pattern) for pattern in patterns})
    match, path = table(*paths).match("/" + "/".join(parts)), "/" + "/".join(parts)
    fitting = [one for one in paths if re.fullmatch(re.sub(r"\{.\}", "[^/]+", one), path)]
    assert (match is None) == (not fitting)
    if match is not None:
        assert match.path in fitting
        assert match.path.format(**match.parameters) == path


def test_what_has_no_parameters_goes_first() -> None:
    """Whatever the order of the routes."""
    for paths in (("/a/{x}", "/a/b"), ("/a/b", "/a/{x}")):
        match = table(*paths).match("/a/b")
        assert match is not None
        assert match.path == "/a/b"


def test_two_routes_of_one_place_are_a_mistake() -> None:
    """It is found when the service starts."""
    with pytest.raises(ValueError, match="two routes GET /a"):
        table("/a", "/a")


@pytest.mark.parametrize(("path", "root", "below"), [("/a", "", "/a"), ("/p/a", "/p", "/a"), ("/a", "/p", "/a")])
def test_a_service_may_be_mounted_below_another_path(path: str, root: str, below: str) -> None:
    """Its routes are those below that path."""
    assert path_of({"path": path, "root_path": root}) == below
