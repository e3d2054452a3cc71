"""Compressed bodies and answers."""

import gzip
from contextlib import suppress
from io import BytesIO
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.formats import encodings
from kilter.service.formats.encodings import Packer, Unpacker, chosen, coding, compress, decompress
from kilter.service.problems import BAD_BODY, TOO_LARGE, WRONG_TYPE, RequestError
from tests.support.serving import RECORD, client

SCORE = "/v1/models/shop/score"
NAMES = pytest.mark.parametrize("name", ["gzip", "zstd", "deflate"])


@NAMES
@given(content=st.binary(max_size=500), cut=st.integers(0, 500))
def test_what_was_compressed_comes_back(name: str, content: bytes, cut: int) -> None:
    """In one member or frame, or in two."""
    assert decompress(compress(content, name), name, 500) == content
    parts = compress(content[:cut], name) + compress(content[cut:], name)
    assert decompress(parts, name, 500) == content


@NAMES
@given(
    parts=st.lists(st.tuples(st.binary(max_size=9), st.integers(0, 3000)), max_size=4),
    sizes=st.lists(st.integers(1, 4000), min_size=1),
    piece=st.sampled_from([1, 7, 1 << 16]),
)
def test_a_stream_comes_back_in_reads_of_any_size(
    name: str, parts: list[tuple[bytes, int]], sizes: list[int], piece: int
) -> None:
    """Each full but for the last; what was packed can be read from what has come out."""
    contents = [content * times for content, times in parts]
    packer = Packer(name)
    packed = [packer.pack(content) for content in contents]
    for count in range(1, len(packed) + 1):
        unpacker = Unpacker(BytesIO(b"".join(packed[:count])), name)
        assert unpacker.read(sum(map(len, contents[:count]))) == b"".join(contents[:count])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encodings, "PIECE", piece)
        whole, content = b"".join(packed) + packer.finish() + compress(b"more", name), b"".join(contents) + b"more"
        unpacker, out = Unpacker(BytesIO(whole), name), b""
        for size in [*sizes, len(content) + 1]:
            read = unpacker.read(size)
            assert len(read) == min(size, len(content) - len(out))
            out += read
        assert out == content
        cut = Unpacker(BytesIO(whole[:-1]), name)
        with pytest.raises(RequestError, match="ends in the midst"):
            cut.read(len(content) + 1)


@NAMES
def test_a_damaged_stream_is_refused(name: str) -> None:
    """Before any of it comes out."""
    with pytest.raises(RequestError, match=f"the body is no {name}, as its Content-Encoding says"):
        Unpacker(BytesIO(b"no such thing"), name).read(5)


@NAMES
def test_no_more_is_made_than_the_limit(name: str) -> None:
    """A few bytes that claim to be many are refused, in one member or in many small ones."""
    bomb = compress(bytes(5_000_000), name)
    assert len(bomb) < 50_000
    for packed in (bomb, compress(bytes(600), name) * 2):
        with pytest.raises(RequestError, match="longer than 1,000 bytes once decompressed") as caught:
            decompress(packed, name, 1000)
        assert caught.value.kind is TOO_LARGE


@NAMES
@given(data=st.data())
def test_damage_is_a_mistake_of_the_client(name: str, data: st.DataObject) -> None:
    """Bytes that are none of the coding, or end early, are told as such, and bring nothing down."""
    packed = compress(b"some bytes that are long enough to be cut", name)
    with pytest.raises(RequestError) as caught:
        decompress(packed[: data.draw(st.integers(0, len(packed) - 1))], name, 1000)
    assert caught.value.kind is BAD_BODY
    with suppress(RequestError):
        decompress(data.draw(st.binary(max_size=40)), name, 1000)


def test_other_codings_are_refused_with_the_known_ones() -> None:
    """Those that are known may be written in any case."""
    assert [coding(stated) for stated in ("", "identity", "GZIP", "x-gzip", " zstd ")] == [
        "",
        "",
        "gzip",
        "gzip",
        "zstd",
    ]
    for stated in ("br", "gzip, gzip", "compress"):
        with pytest.raises(RequestError) as caught:
            coding(stated)
        assert caught.value.kind is WRONG_TYPE
        assert caught.value.headers == {"Accept-Encoding": encodings.ACCEPTED}


@pytest.mark.parametrize(
    ("accepted", "name"),
    [
        ("", ""),
        ("gzip", "gzip"),
        ("gzip, deflate, br, zstd", "zstd"),
        ("zstd;q=0, gzip;q=0.5", "gzip"),
        ("gzip;q=0.000", ""),
        ("identity", ""),
    ],
)
def test_an_answer_is_coded_as_its_client_takes_it(accepted: str, name: str) -> None:
    """Zstandard before gzip, and nothing that is refused by a weight of 0."""
    assert chosen(accepted) == name


@NAMES
def test_a_compressed_request_gets_the_same_answer(name: str) -> None:
    """A short one in plain text, a long one compressed where that is taken."""
    many: dict[str, Any] = {"records": [RECORD] * 300}
    with client() as http:
        plain = http.post(SCORE, json=many, headers={"Accept-Encoding": "identity"})
        packed = compress(plain.request.content, name)
        sent = {"Content-Type": "application/json", "Content-Encoding": name}
        answer = http.post(SCORE, content=packed, headers=sent | {"Accept-Encoding": "gzip"})
        short = http.post(SCORE, json=RECORD, headers={"Accept-Encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert answer.headers["content-encoding"] == "gzip"
    assert answer.headers["vary"] == "accept-encoding"
    assert answer.json() == plain.json()
    assert "content-encoding" not in short.headers


def test_a_bomb_is_refused_by_the_service() -> None:
    """By the limit on a body, as sent and as decompressed."""
    with client(max_body_bytes=100_000) as http:
        bomb = gzip.compress(bytes(10_000_000))
        answer = http.post(SCORE, content=bomb, headers={"Content-Encoding": "gzip"})
    assert answer.status_code == 413
    assert "once decompressed" in answer.json()["detail"]
