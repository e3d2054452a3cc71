"""Pictures are decoded within the room and the time that there is."""

import asyncio
import time

import pytest

from kilter.service.formats import format_named
from kilter.service.formats.bodies import Call
from kilter.service.formats.json_body import RowReader
from kilter.service.judging.admission import Admission, Hold, Room
from kilter.service.judging.engine import Engine
from kilter.service.judging.intake import CellReader, Decoder
from kilter.service.monitoring.metrics import Metrics
from kilter.service.problems import RequestError
from tests.support.picture_model import picture_detector, spotted
from tests.support.pictures import GREY, encoded


def parts() -> tuple[Engine, Admission]:
    """An engine and its admission."""
    metrics = Metrics()
    admission = Admission(1000, 10_000_000, metrics)
    return Engine(admission, metrics, 5.0), admission


def test_a_request_that_would_wait_too_long_is_told_at_once() -> None:
    """By how long others took to be decoded, before it is decoded itself."""
    engine, admission = parts()
    decoder = Decoder(engine, 1_000_000)
    decoder._pace.learn(2.0, 1)
    decoder._pace.queued = 4
    content = encoded(spotted(300, 300))

    async def ask() -> None:
        call = Call(content, format_named("picture"), RowReader(picture_detector().schema), 100)
        await decoder.read(call, Hold(admission), time.monotonic() + 5)

    with pytest.raises(RequestError, match=r"it would be answered after about 10.0 s") as caught:
        asyncio.run(ask())
    assert caught.value.kind.status == 503
    decoder._pace.queued = 0
    asyncio.run(ask())


def test_a_picture_is_not_decoded_once_its_time_is_over() -> None:
    """It may have waited for room."""
    _, admission = parts()
    reader = CellReader(Room(100), 1_000_000, Hold(admission), time.monotonic() - 1)
    with pytest.raises(RequestError) as caught:
        reader(GREY, encoded(spotted()))
    assert caught.value.kind.slug == "out-of-time"


def test_what_pictures_come_to_is_held() -> None:
    """Many files of a few bytes may be many megabytes at the model's size."""
    _, admission = parts()
    hold = Hold(admission)
    reader = CellReader(Room(100_000), 1_000_000, hold, time.monotonic() + 60)
    for _ in range(3):
        reader(GREY, encoded(spotted()))
    assert admission.bytes == 3 * 256
    assert reader.records.sizes == [(96, 64)] * 3
    hold.release()
    assert admission.bytes == 0
