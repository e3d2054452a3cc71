"""Pictures are decoded within the room and the time that there is."""

import asyncio
import time

import pytest

from kilter.service.judging.admission import Admission, Hold, Room
from kilter.service.judging.asked import Asked
from kilter.service.judging.engine import Engine
from kilter.service.judging.picture_scoring import PictureReader, PictureScoring
from kilter.service.models.registry import Registry
from kilter.service.monitoring.metrics import Metrics
from kilter.service.problems import RequestError
from kilter.service.request import Notes
from tests.support.picture_model import picture_detector, spotted
from tests.support.pictures import GREY, encoded


def parts() -> tuple[Engine, Admission, Metrics]:
    """An engine and what it is made of."""
    metrics = Metrics()
    admission = Admission(1000, 10_000_000, metrics)
    return Engine(admission, metrics, 5.0), admission, metrics


def test_a_request_that_would_wait_too_long_is_told_at_once() -> None:
    """By how long others took to be decoded, before it is decoded itself."""
    engine, admission, metrics = parts()
    scoring = PictureScoring(engine, 1_000_000, 100)
    [serving] = Registry(metrics, [picture_detector()]).all
    scoring._pace.learn(2.0, 1)
    scoring._pace.queued = 4
    content = encoded(spotted(300, 300))

    async def ask() -> None:
        asked = Asked("image/png", "image/png", "application/json", 0)
        await scoring.answer(serving, asked, content, Hold(admission), Notes(), _never)

    with pytest.raises(RequestError, match=r"it would be answered after about 10.0 s") as caught:
        asyncio.run(ask())
    assert caught.value.kind.status == 503
    scoring._pace.queued = 0
    asyncio.run(ask())


async def _never() -> dict[str, str]:
    await asyncio.Event().wait()
    return {}


def test_a_picture_is_not_decoded_once_its_time_is_over() -> None:
    """It may have waited for room."""
    _, admission, _ = parts()
    reader = PictureReader(Room(100), 1_000_000, Hold(admission), time.monotonic() - 1)
    with pytest.raises(RequestError) as caught:
        reader(GREY, encoded(spotted()))
    assert caught.value.kind.slug == "out-of-time"


def test_what_pictures_come_to_is_held() -> None:
    """Many files of a few bytes may be many megabytes at the model's size."""
    _, admission, _ = parts()
    hold = Hold(admission)
    reader = PictureReader(Room(100_000), 1_000_000, hold, time.monotonic() + 60)
    for _ in range(3):
        reader(GREY, encoded(spotted()))
    assert admission.bytes == 3 * 256
    assert reader.sizes == [(96, 64)] * 3
    hold.release()
    assert admission.bytes == 0
