"""How a model is looked up for a request, and the example of a request to it."""

import pytest

from kilter.service.models.registry import Registry
from kilter.service.monitoring.metrics import Metrics
from kilter.service.problems import NOT_READY, UNKNOWN_MODEL, RequestError
from kilter.service.routes.context import example_request, find
from tests.support.picture_model import picture_detector
from tests.support.serving import RECORD, detector


def registry() -> Registry:
    """Two models, of one of which another version is loaded."""
    made = Registry(Metrics(), [detector("a"), detector("b")])
    made.put_beside(detector("a", version=2))
    return made


def test_a_model_is_found_by_name_and_version() -> None:
    """Without a version, the one that serves."""
    serving = registry()
    versions = {version: find(serving, "a", version).detector.version for version in (None, "3", "2")}
    assert versions == {None: 3, "3": 3, "2": 2}
    assert find(serving, "b").detector.name == "b"


@pytest.mark.parametrize("version", ["4", "0", "03", "-3", "3.0", "", "x", "9" * 5000, "３"])
def test_a_version_that_is_not_loaded_is_answered_with_those_that_are(version: str) -> None:
    """However it is written; a long one is cut short."""
    with pytest.raises(RequestError, match=r"a has no version '.{0,20}' loaded; it has") as caught:
        find(registry(), "a", version)
    assert caught.value.kind is UNKNOWN_MODEL


def test_an_unknown_model_is_answered_with_the_known_ones() -> None:
    """With its name cut short."""
    with pytest.raises(RequestError, match=r"there is no model 'x{63}' here; there is a, b$") as caught:
        find(registry(), "x" * 5000, "1")
    assert caught.value.kind is UNKNOWN_MODEL


def test_before_a_model_serves_none_is_unknown() -> None:
    """The service is not ready, and says why."""
    with pytest.raises(RequestError, match="the models are not loaded yet") as caught:
        find(Registry(Metrics()), "a")
    assert caught.value.kind is NOT_READY


def test_an_example_is_a_body_of_one_record() -> None:
    """Of a model of pictures, a text of a few bytes."""
    assert example_request(detector()) == {"records": [RECORD]}
    [record] = example_request(picture_detector())["records"]
    assert all(isinstance(cell, str) and len(cell) < 2000 for cell in record.values())
