"""The work on a stream: from one pipe to another, and whatever goes wrong arrives at the other end."""

import asyncio
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from kilter.service.detector import KilterError
from kilter.service.formats import format_named
from kilter.service.formats.encodings import decompress
from kilter.service.formats.source import Hints
from kilter.service.judging.pipes import Pipe, StreamEnded
from kilter.service.judging.stream_work import PackedAnswer, StreamWork
from kilter.service.judging.streams import StreamQuery, Streams
from kilter.service.models.registry import Registry
from kilter.service.monitoring.metrics import Metrics
from kilter.service.request import Notes
from tests.support.serving import RECORD, STRANGE, Broken, Squares, detector
from tests.support.streaming import scored

CSV = format_named("csv")
TABLE = pl.DataFrame([RECORD, STRANGE, RECORD | {"amount": None}]).write_csv().encode()
WRONG = TABLE.replace(b"9100.0", b"many")


def worked(content: bytes, program: Squares | None = None, **options: Any) -> tuple[bytes, Notes]:
    """What comes out of a body, and the notes that are taken."""
    metrics, notes = Metrics(), Notes()
    serving = Registry(metrics, [detector(program=program)]).get("shop")
    assert serving is not None

    async def run() -> bytes:
        body, out = Pipe(), Pipe()
        names = serving.detector.schema.names
        query = StreamQuery(CSV, Hints(names=names, stated=CSV), CSV, **options)
        work = StreamWork(Streams(1, None, metrics), serving, query, body, out, notes)
        done = asyncio.get_running_loop().run_in_executor(None, work)
        await body.put(content)
        body.close()
        written = b""
        while part := await out.get():
            written += part
        await done
        return written

    return asyncio.run(run()), notes


def test_notes_are_taken_of_what_was_judged(tmp_path: Path) -> None:
    """Records with a verdict, anomalies among them, those in error, and the seconds that the detector took."""
    for table, counts in ((TABLE, (3, 1, 0)), (WRONG, (2, 0, 1))):
        written, notes = worked(table)
        assert written == scored(tmp_path, table)
        assert (notes.records, notes.anomalies, notes.rejected) == counts
        assert notes.seconds > 0


def test_an_error_arrives_at_the_other_end() -> None:
    """One that the client can put right, and a fault of the program alike."""
    with pytest.raises(KilterError, match="the body lacks 'amount'"):
        worked(TABLE.replace(b"amount", b"size"))
    with pytest.raises(RuntimeError, match="cannot give"):
        worked(TABLE, Broken())


def test_an_answer_is_compressed_as_it_is_written() -> None:
    """What was written so far can be read, and the end is there once it is finished."""

    async def run() -> None:
        for coding in ("", "gzip", "zstd"):
            out = Pipe()
            answer = PackedAnswer(out, coding)
            assert (answer.write(b"some"), answer.write(b""), answer.write(b" more")) == (4, 0, 5)
            answer.flush()
            answer.finish()
            out.close(StreamEnded())
            content = await out.get()
            assert (decompress(content, coding, 100) if coding else content) == b"some more"

    asyncio.run(run())
