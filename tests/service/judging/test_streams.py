"""Places for streams: so many at once, and not one more."""

import pytest

from kilter.service.judging.streams import Streams
from kilter.service.monitoring.metrics import Metrics
from kilter.service.problems import OVERLOADED, TOO_LARGE, RequestError


def test_a_place_is_for_one_stream_at_a_time() -> None:
    """Beyond the last one a request is refused, is counted as such, and is told when to come again."""
    metrics = Metrics()
    streams = Streams(2, None, metrics)
    with streams.place():
        with streams.place(), pytest.raises(RequestError, match="2 streams are worked on") as caught, streams.place():
            pass
        assert (caught.value.kind, caught.value.headers) == (OVERLOADED, {"Retry-After": "10"})
        assert metrics.registry.get_sample_value("kilter_requests_shed_total", {"reason": "streams"}) == 1
        with pytest.raises(ZeroDivisionError), streams.place():
            raise ZeroDivisionError
        with streams.place():
            pass


def test_a_body_may_be_bounded() -> None:
    """In bytes, which the refusal tells."""
    error = Streams(1, 5000, Metrics()).too_long()
    assert (error.kind, error.detail) == (TOO_LARGE, "the body is longer than 5,000 bytes: send it in parts")
