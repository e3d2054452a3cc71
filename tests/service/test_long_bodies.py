"""Long bodies on the wire: clients that are slow, stand still or leave, and what happens in the service meanwhile."""

import gzip
import json
import shlex
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import polars as pl
import pytest

from kilter.service.formats import text
from tests.support.serving import RECORD, detector
from tests.support.streaming import STREAM, Answer, Service, in_parts, running, scored, stream

ROOT = Path(__file__).parents[2]
ROWS = 12_000
CSV = pl.DataFrame([RECORD]).write_csv().encode()
HEADER, LINE = CSV.splitlines(keepends=True)
TABLE = HEADER + LINE * ROWS
HEAD = f"POST {STREAM} HTTP/1.1\r\nHost: k\r\nContent-Type: text/csv\r\nTransfer-Encoding: chunked\r\n\r\n".encode()


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of half a megabyte has several blocks."""
    monkeypatch.setattr(text, "HEAD", 4096)
    monkeypatch.setattr(text, "BYTES", 1 << 16)


def connected(service: Service) -> socket.socket:
    """A connection with small buffers, on which a stream was begun."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 17)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 17)
    client.settimeout(20)
    client.connect(("127.0.0.1", service.port))
    client.sendall(HEAD)
    return client


def chunk(part: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(part), part)


class Taken(NamedTuple):
    """What was taken of parts that were sent: bytes, how many parts were begun, and what is left of the last one."""

    sent: int
    parts: int
    waiting: bytes


def send_what_is_taken(client: socket.socket, part: bytes, seconds: float = 0.7) -> Taken:
    """Send a part again and again until nothing is taken for some time."""
    sent, parts, waiting = 0, 0, b""
    client.settimeout(seconds)
    try:
        while sent < 1 << 28:
            parts, waiting = (parts, waiting) if waiting else (parts + 1, chunk(part))
            count = client.send(waiting)
            sent, waiting = sent + count, waiting[count:]
    except TimeoutError:
        return Taken(sent, parts, waiting)
    raise AssertionError("all of it was taken")


def rest_of(client: socket.socket) -> bytes:
    """All that still comes, up to the end of the connection or its loss."""
    content = b""
    try:
        while part := client.recv(1 << 16):
            content += part
    except ConnectionError:
        pass
    return content


def wait_for_place(service: Service) -> Answer:
    """The answer to a short stream once there is a place for it."""
    for _ in range(200):
        answer = stream(service, [CSV])
        if answer.status == 200:
            return answer
        assert answer.status == 503
        time.sleep(0.05)
    raise AssertionError("no place was freed")


@pytest.mark.parametrize("framing", ["chunked", "stated length"])
def test_the_answer_is_that_of_the_file(tmp_path: Path, framing: str) -> None:
    """With either framing of the body."""
    with running() as service:
        answer = stream(service, in_parts(TABLE), length=None if framing == "chunked" else len(TABLE))
    assert (answer.status, answer.complete) == (200, True)
    assert answer.content == scored(tmp_path, TABLE)


def test_the_answer_comes_while_the_body_is_sent() -> None:
    """The first records are answered before the last ones are there, and a connection goes on to the next request."""
    with running() as service:
        client = connected(service)
        client.sendall(chunk(HEADER + LINE * 20_000))
        begin = client.recv(1 << 14)
        assert begin.startswith(b"HTTP/1.1 200 OK\r\n")
        client.sendall(chunk(LINE) + b"0\r\n\r\n")
        while not begin.endswith(b"0\r\n\r\n"):
            begin += client.recv(1 << 16)
        client.sendall(b"GET /healthz HTTP/1.1\r\nHost: k\r\n\r\n")
        assert client.recv(1 << 14).startswith(b"HTTP/1.1 200 OK\r\n")
        client.close()


def test_a_client_that_does_not_read_is_not_read_from() -> None:
    """It is taken some megabytes from, however much it has; once it reads, all goes on, and every record is judged."""
    with running() as service:
        client = connected(service)
        client.sendall(chunk(HEADER.replace(b"\n", b",note\n")))
        taken = send_what_is_taken(client, LINE.replace(b"\n", b"," + b"x" * 5000 + b"\n") * 20)
        assert taken.sent < 20_000_000
        client.settimeout(20)
        sending = threading.Thread(target=client.sendall, args=(taken.waiting + b"0\r\n\r\n",))
        sending.start()
        part = b""
        while not part.endswith(b"\r\n0\r\n\r\n"):
            part = part[-8:] + client.recv(1 << 20)
        sending.join()
        client.close()
        records = service.metrics.registry.get_sample_value(
            "kilter_records_total", {"model": "shop", "version": "3", "result": "normal"}
        )
    assert records == 20 * taken.parts


@pytest.mark.parametrize("when", ["before the first block", "later", "not reading"])
def test_a_client_that_stands_still_is_ended(when: str, caplog: pytest.LogCaptureFixture) -> None:
    """After the time that is set: with a status, or by the end of the connection; its place is free again."""
    with running(stall_seconds=0.5, max_streams=1) as service:
        client = connected(service)
        if when == "before the first block":
            client.sendall(chunk(HEADER + LINE))
            answer = client.recv(1 << 14)
            assert answer.startswith(b"HTTP/1.1 408 Request Timeout\r\n")
            assert b"nothing more of the body came for 0.5 s" in answer
        elif when == "later":
            client.sendall(chunk(HEADER + LINE * 20_000))
            answer = rest_of(client)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert not answer.endswith(b"0\r\n\r\n")
        else:
            client.sendall(chunk(HEADER))
            with pytest.raises(ConnectionError):
                send_what_is_taken(client, LINE * 2000, 20)
        client.close()
        assert wait_for_place(service).complete
    if when != "before the first block":
        [line] = [record for record in caplog.records if record.message == "answer cut off"]
        assert line.fields["status"] == 408  # type: ignore[attr-defined]
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]


@pytest.mark.parametrize("reading", [True, False])
def test_a_client_that_leaves_frees_its_place(reading: bool) -> None:
    """And is noted as one that left, whether it had read the answer so far or not."""
    with running(max_streams=1) as service:
        client = connected(service)
        client.sendall(chunk(HEADER + LINE * 20_000))
        if reading:
            assert client.recv(1 << 10).startswith(b"HTTP/1.1 200 OK")
        client.close()
        assert wait_for_place(service).complete
        labels = {"route": "/v1/models/{name}/score/stream", "status": "499"}
        assert service.metrics.registry.get_sample_value("kilter_request_duration_seconds_count", labels) == 1


def test_more_streams_than_there_are_places_for_are_refused() -> None:
    """At once, with when to come again; whoever has a place is not disturbed."""
    with running(max_streams=1) as service:
        client = connected(service)
        client.sendall(chunk(HEADER + LINE * 20_000))
        client.recv(1 << 10)
        refused = stream(service, [CSV])
        assert (refused.status, refused.headers["retry-after"]) == (503, "10")
        assert "1 streams are worked on" in json.loads(refused.content)["detail"]
        client.close()
        assert wait_for_place(service).complete


def test_small_requests_are_answered_meanwhile() -> None:
    """With their usual verdicts, all while the stream goes on."""
    going = threading.Event()
    going.set()

    def endless() -> Iterator[bytes]:
        yield HEADER
        while going.is_set():
            yield LINE * 500
            time.sleep(0.01)

    answers: list[Answer] = []
    with running() as service:
        thread = threading.Thread(target=lambda: answers.append(stream(service, endless())))
        thread.start()
        with httpx.Client(base_url=f"http://127.0.0.1:{service.port}") as http:
            told = [http.post("/v1/models/shop/score", json=RECORD) for _ in range(10)]
        still = thread.is_alive()
        going.clear()
        thread.join()
    assert still
    assert {one.status_code for one in told} == {200}
    assert len({one.content for one in told}) == 1
    assert answers[0].complete


def test_a_stream_keeps_the_version_that_it_began_with(tmp_path: Path) -> None:
    """And says which; the next one has the new version."""
    with running() as service:
        begun = threading.Event()

        def parts() -> Iterator[bytes]:
            yield HEADER + LINE * 20_000
            begun.wait()
            yield LINE * 1000

        def replace() -> None:
            service.registry.place(detector(version=4, size=99))
            begun.set()

        timer = threading.Timer(0.3, replace)
        timer.start()
        answer = stream(service, parts())
        assert answer.headers["kilter-version"] == "3"
        assert answer.content == scored(tmp_path, HEADER + LINE * 21_000)
        after = stream(service, [CSV])
        assert after.headers["kilter-version"] == "4"
        assert after.content == scored(tmp_path, CSV, detector=detector(version=4, size=99))


def test_a_service_that_stops_takes_no_more_streams_and_ends_those_that_last(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """After the time that requests in flight have; a client can tell the answer from a complete one."""
    with running(shutdown_seconds=1) as service:
        client = connected(service)
        client.sendall(chunk(HEADER + LINE * 20_000))
        begin = client.recv(1 << 10)
        service.registry.stopping = True
        assert stream(service, [CSV]).status == 503
        service.server.should_exit = True
        rest = begin + rest_of(client)
        client.close()
    assert not rest.endswith(b"0\r\n\r\n")


def test_a_client_may_say_how_long_it_waits() -> None:
    """Beyond that the answer is cut off, or there is none."""
    with running() as service:

        def parts() -> Iterator[bytes]:
            yield HEADER + LINE
            time.sleep(0.6)

        answer = stream(service, parts(), request_timeout="0.3")
        assert answer.status == 503
        assert json.loads(answer.content)["type"] == "/docs#out-of-time"


def test_a_token_is_needed_where_there_are_tokens(tmp_path: Path) -> None:
    """As on the other routes that judge; the body is not waited for."""
    tokens = tmp_path / "tokens"
    tokens.write_text(f"somebody score sha256:{'0' * 64}\n")
    with running(tokens_file=tokens) as service:
        assert stream(service, [CSV]).status == 401


def example(service: Service, fence: str, sent: Path, got: Path) -> str:
    """The first example of a kind in the document's section, about this service and these files."""
    section = (ROOT / "docs" / "http.md").read_text().partition("## Long bodies")[2]
    code = section.partition(f"```{fence}\n")[2].partition("```")[0]
    code = code.replace("localhost:8000", f"127.0.0.1:{service.port}").replace("localhost", "127.0.0.1")
    code = code.replace("8000", str(service.port)).replace("biopsies", "shop")
    return code.replace("demo/new.csv", str(sent)).replace("verdicts.csv", str(got))


def test_the_example_in_python_works(tmp_path: Path) -> None:
    """As it stands in the document."""
    sent, got = tmp_path / "new.csv", tmp_path / "got.csv"
    sent.write_bytes(TABLE)
    with running() as service:
        exec(example(service, "python", sent, got), {})  # noqa: S102
    assert got.read_bytes() == scored(tmp_path, TABLE)


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl")
def test_the_example_with_curl_works(tmp_path: Path) -> None:
    """As it stands in the document; of an answer that is cut off curl says so."""
    sent, got = tmp_path / "new.csv", tmp_path / "got.csv"
    with running(max_stream_bytes=len(TABLE)) as service:
        command = [*shlex.split(example(service, "", sent, got)), "-sS"]
        sent.write_bytes(TABLE)
        subprocess.run(command, check=True)
        assert got.read_bytes() == scored(tmp_path, TABLE)
        sent.write_bytes(gzip.compress(TABLE * 4))
        command += ["-H", "Content-Encoding: gzip"]
        assert subprocess.run(command, check=False, capture_output=True).returncode == 18
