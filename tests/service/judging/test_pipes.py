"""Pipes: what goes in comes out, in order; few bytes wait; and whoever waits is told of the end."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.judging import pipes
from kilter.service.judging.pipes import Pipe, StreamEnded

PARTS = st.lists(st.binary(max_size=40), max_size=12)


def in_thread(work: Callable[..., Any], *arguments: Any) -> "asyncio.Future[Any]":
    return asyncio.get_running_loop().run_in_executor(None, work, *arguments)


@given(PARTS, st.lists(st.integers(1, 60), min_size=1, max_size=12), st.integers(1, 50))
def test_a_thread_reads_what_the_loop_puts(parts: list[bytes], sizes: list[int], most: int) -> None:
    """In reads that are full but for the last, whatever the parts and however few bytes may wait."""
    content = b"".join(parts)

    async def run() -> list[bytes]:
        pipe = Pipe()
        reading = in_thread(lambda: [pipe.read(size) for size in [*sizes, len(content) + 1]])
        for part in parts:
            await pipe.put(part)
        pipe.close()
        read: list[bytes] = await reading
        return read

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipes, "WAITING_BYTES", most)
        read = asyncio.run(run())
    assert b"".join(read) == content
    left = len(content)
    for size, part in zip([*sizes, len(content) + 1], read, strict=True):
        assert len(part) == min(size, left)
        left -= len(part)


@given(PARTS, st.integers(1, 50))
def test_the_loop_gets_what_a_thread_writes(parts: list[bytes], most: int) -> None:
    """All of it, then nothing; no more waits than may, beyond one part."""

    async def run() -> bytes:
        pipe = Pipe()

        def write() -> None:
            for part in parts:
                pipe.write(part)
            pipe.close()

        writing, content = in_thread(write), b""
        while part := await pipe.get():
            assert len(part) < most + max(map(len, parts))
            content += part
        await writing
        return content

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipes, "WAITING_BYTES", most)
        assert asyncio.run(run()) == b"".join(parts)


def test_what_ends_a_pipe_is_raised_on_the_other_side(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a thread that waits to read or to write at once; of the loop once it has what was written before."""
    monkeypatch.setattr(pipes, "WAITING_BYTES", 1)

    async def run() -> None:
        body, out = Pipe(), Pipe()
        out.write(b"before")
        waiting = [in_thread(body.read, 1), in_thread(out.write, b"after")]
        for pipe in (body, out):
            pipe.close(StreamEnded())
        for one in waiting:
            with pytest.raises(StreamEnded):
                await one
        assert await out.get() == b"before"
        with pytest.raises(StreamEnded):
            await out.get()
        await body.put(b"nobody reads it, and nobody waits")

    asyncio.run(run())


def test_a_thread_may_outlive_the_loop() -> None:
    """It finds that nobody takes what it writes, and ends."""

    async def make() -> Pipe:
        return Pipe()

    pipe = asyncio.run(make())
    pipe.close(StreamEnded())
    with pytest.raises(StreamEnded):
        pipe.write(b"x")
