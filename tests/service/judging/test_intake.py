"""The body of a request, on its way in."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
from starlette.requests import ClientDisconnect

from kilter.service.judging.admission import Admission
from kilter.service.judging.engine import Engine
from kilter.service.judging.intake import Intake
from kilter.service.monitoring.metrics import Metrics
from kilter.service.problems import OVERLOADED, SLOW_BODY, TOO_LARGE, RequestError

LIMIT = 100


class Reading:
    """An intake that is fed messages, within bounds on what is in flight."""

    def __init__(self, in_flight: int = 1000, seconds: float = 5.0) -> None:
        metrics = Metrics()
        self.admission = Admission(10, in_flight, metrics)
        self.intake = Intake(Engine(self.admission, metrics, seconds), LIMIT)
        self.asked = 0

    def read(self, parts: Iterable[bytes | None], length: int | None = None) -> bytes:
        """The body of these parts, after which the client waits; None is a client that leaves."""
        messages = iter(parts)
        headers = [] if length is None else [(b"content-length", str(length).encode())]

        async def receive() -> dict[str, Any]:
            self.asked += 1
            part = next(messages, b"")
            if part is None:
                return {"type": "http.disconnect"}
            if part == b"":
                await asyncio.sleep(60)
            return {"type": "http.request", "body": part, "more_body": part[-1:] != b"."}

        async def take() -> bytes:
            hold = self.intake.hold()
            try:
                return await self.intake.read({"type": "http", "headers": headers}, receive, hold)
            finally:
                hold.release()

        return asyncio.run(take())


def test_a_body_comes_in_one_part_or_several() -> None:
    """And nothing of it is held once its request is done."""
    reading = Reading()
    assert reading.read([b"all."]) == b"all."
    assert reading.read([b"in ", b"parts."], 9) == b"in parts."
    assert reading.admission.bytes == 0


def test_a_length_that_is_too_much_is_refused_unread() -> None:
    """By its own limit, or because others have taken the room."""
    reading = Reading(in_flight=150)
    with pytest.raises(RequestError) as caught:
        reading.read([b"."], LIMIT + 1)
    assert caught.value.kind is TOO_LARGE
    reading.admission.enter(0, 100)
    with pytest.raises(RequestError) as caught:
        reading.read([b"."], 60)
    assert caught.value.kind is OVERLOADED
    assert reading.asked == 0


def test_a_body_without_a_length_is_held_as_it_comes() -> None:
    """It is refused when it exceeds a bound on the way."""
    reading = Reading(in_flight=50)
    reading.admission.enter(0, 30)
    with pytest.raises(RequestError) as caught:
        reading.read([b"x" * 15, b"x" * 15, b"."])
    assert caught.value.kind is OVERLOADED
    with pytest.raises(RequestError) as caught:
        Reading().read([b"x" * 60, b"x" * 60])
    assert caught.value.kind is TOO_LARGE
    assert reading.admission.bytes == 30


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    """Whether it never begins or never ends."""
    for parts in ([], [b"begun"]):
        with pytest.raises(RequestError, match=r"within 0\.02 s") as caught:
            Reading(seconds=0.02).read(parts, 10)
        assert caught.value.kind is SLOW_BODY


def test_a_client_that_leaves_is_told_of() -> None:
    """To the route, by the exception that it knows."""
    with pytest.raises(ClientDisconnect):
        Reading().read([b"begun", None])
