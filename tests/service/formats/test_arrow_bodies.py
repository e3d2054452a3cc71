"""Arrow bodies that claim more than they have are refused before anything asks for memory by what they say."""

import random
import struct
from collections.abc import Callable
from io import BytesIO
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import ipc

from kilter.service.formats.typed import Claims, TooManyRowsError
from tests.support.serving import RECORD, client

ROWS = 3
TABLE = pa.table(
    {
        "number": [1.5, 2.0, None],
        "text": ["x", None, "y" * 60],
        "level": pa.array(["u", "v", "u"]).dictionary_encode(),
        "list": [[1, 2], [], None],
    }
)


def written(make: Callable[..., Any], **options: Any) -> bytes:
    """The table in a format of Arrow's own writer, in two batches."""
    out = BytesIO()
    with make(out, TABLE.schema, **options) as writer:
        writer.write_table(TABLE)
        writer.write_table(TABLE)
    return out.getvalue()


STREAM, FILE = written(ipc.new_stream), written(ipc.new_file)


def polars_file() -> bytes:
    """The same in a file by another writer."""
    out = BytesIO()
    pl.DataFrame({"number": [1.5, 2.0, None], "text": ["x", None, "y" * 60]}).write_ipc(out, compression="uncompressed")
    return out.getvalue()


@pytest.mark.parametrize(
    ("content", "stream", "rows"), [(STREAM, True, 6), (FILE, False, 6), (polars_file(), False, ROWS)]
)
def test_what_is_whole_passes(content: bytes, stream: bool, rows: int) -> None:
    """Streams and files, of every writer, with exactly as many records as there may be."""
    Claims(content, rows).check(stream=stream)
    with pytest.raises(TooManyRowsError):
        Claims(content, rows - 1).check(stream=stream)


@pytest.mark.parametrize("stream", [True, False])
def test_compressed_buffers_are_refused(stream: bool) -> None:
    """What they hold has no bound but their own word."""
    content = written(ipc.new_stream if stream else ipc.new_file, options=ipc.IpcWriteOptions(compression="zstd"))
    with pytest.raises(ValueError, match="compressed"):
        Claims(content, 6).check(stream=stream)


@given(seed=st.integers(0, 2**32), stream=st.booleans())
def test_no_bytes_bring_the_check_down(seed: int, stream: bool) -> None:
    """Whatever stands where lengths and offsets do, it passes or is a ValueError."""
    chance = random.Random(seed)
    content = bytearray(STREAM if stream else FILE)
    for _ in range(chance.choice((1, 2, 8))):
        at = chance.randrange(len(content) - 8)
        content[at : at + 8] = struct.pack(
            "<q", chance.choice((0, -1, 1, 2**31, 2**62, -(2**63), chance.randrange(2**40)))
        )
    try:
        Claims(bytes(content[: chance.choice((len(content), chance.randrange(len(content))))]), 6).check(stream=stream)
    except ValueError as error:
        assert str(error) or isinstance(error, TooManyRowsError)  # noqa: PT017


def test_a_buffer_of_terabytes_is_told() -> None:
    """The reader would ask for as much memory, and end the process when there is none."""
    out = BytesIO()
    pl.DataFrame([RECORD]).write_ipc_stream(out)
    content = out.getvalue()
    told = []
    with client() as http:
        for at in range(0, len(content) - 8, 8):
            changed = content[:at] + struct.pack("<q", 2**47) + content[at + 8 :]
            headers = {"Content-Type": "application/vnd.apache.arrow.stream"}
            answer = http.post("/v1/models/shop/score", content=changed, headers=headers)
            assert answer.status_code < 500
            told.append(answer.json().get("detail", ""))
    assert any("a buffer ends at byte" in text for text in told)
