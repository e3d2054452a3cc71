"""Encodings are found by a mark, by zero bytes, by being UTF-8, or by their letters."""

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kilter.service.detector import KilterError
from kilter.service.formats.charsets import (
    BOMS,
    RecodedStream,
    codec_of,
    decode_lines,
    decode_text,
    encoding_of_bom,
    is_line_by_line,
    legacy_encoding,
    wide_encoding,
)

WORDS: dict[str, list[str]] = {
    "cp1252": ["größe", "Müller", "Straße", "déjà", "année", "señor", "coração"],
    "cp1250": ["Łódź", "Świdnica", "żółty", "grudzień", "sprzedaż", "Gdańsk"],
    "cp1251": ["город", "цена", "Москва", "норма", "авария", "состояние", "Казань"],
    "koi8_r": ["город", "цена", "Москва", "норма", "авария", "состояние", "Казань"],
    "cp866": ["город", "цена", "Москва", "норма", "авария", "состояние", "Казань"],
    "cp1253": ["πόλη", "τιμή", "κατάσταση", "κανονική", "βλάβη", "Αθήνα"],
    "cp1256": ["مدينة", "القاهرة", "بغداد", "الحالة", "درجة"],
    "cp874": ["เมือง", "ราคา", "กรุงเทพ", "เชียงใหม่", "สถานะ"],
    "gb18030": ["城市", "价格", "北京", "上海", "状态", "正常", "温度"],
    "big5": ["城市", "價格", "臺北", "狀態", "正常", "溫度", "高雄"],
    "cp932": ["都市", "価格", "東京", "カメラ", "状態", "ひらがな", "温度"],
    "euc_jp": ["都市", "価格", "東京", "カメラ", "状態", "ひらがな", "温度"],
    "cp949": ["도시", "가격", "서울", "부산", "상태", "정상", "온도"],
}


def table(words: list[str]) -> str:
    return "".join(f"{word},{i},{i / 7:.2f},ok\n" for i, word in enumerate(words))


@given(st.sampled_from([*WORDS]).flatmap(lambda name: st.tuples(st.just(name), st.permutations(WORDS[name]))))
def test_a_table_of_words_is_read_in_its_encoding(drawn: tuple[str, list[str]]) -> None:
    """In whatever order a handful of them comes among numbers."""
    encoding, words = drawn
    data = table(words).encode(encoding)
    assert data.decode(legacy_encoding(data)) == table(words)


def test_names_that_are_known_choose_the_encoding() -> None:
    """The one in which they all occur."""
    data = "цена,x\n1,2\n".encode("koi8_r")
    assert legacy_encoding(data, ("цена", "x")) == "koi8_r"


def test_too_little_is_taken_for_western() -> None:
    """One or two letters in a row that are not ASCII say nothing."""
    assert legacy_encoding(b"\xe9,1\n\xe0\xe9,2\n") == "cp1252"


@given(
    st.sampled_from(["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"]),
    st.lists(st.sampled_from(["a", "größe", "цена", "城市", "1.5", ""]), min_size=2, max_size=9),
)
def test_wide_encodings_need_no_mark(encoding: str, words: list[str]) -> None:
    """The places of zero bytes give them away."""
    data = (",".join(words) + "\n1,2\n").encode(encoding)
    assert wide_encoding(data) == encoding
    assert encoding_of_bom(data) is None


@pytest.mark.parametrize("bom", [*BOMS])
def test_a_mark_decides(bom: bytes) -> None:
    """That of UTF-32 is not taken for that of UTF-16, with which it begins."""
    assert encoding_of_bom(bom + "a,b".encode(BOMS[bom])) == (bom, BOMS[bom])


@pytest.mark.parametrize("head", [b"a,b\n1,2\n", b"a,\0b\n", bytes(range(256)) * 2, b""])
def test_other_bytes_are_not_wide(head: bytes) -> None:
    """Text without zero bytes, and what is no text."""
    assert wide_encoding(head) is None


@pytest.mark.parametrize(
    ("stated", "name"), [("UTF8", "utf-8"), ("windows-1251", "cp1251"), ("latin1", "iso8859-1"), ("GBK", "gbk")]
)
def test_an_encoding_goes_by_its_usual_names(stated: str, name: str) -> None:
    """As Python knows them."""
    assert codec_of(stated) == name


@pytest.mark.parametrize("stated", ["klingon", "base64", "rot13", "", "\0", "idna", "unicode_escape"])
def test_what_is_no_encoding_is_refused(stated: str) -> None:
    """With some that are."""
    with pytest.raises(KilterError, match=r"there is no encoding .*: name one like utf-8"):
        codec_of(stated)


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [
        *((encoding, True) for encoding in ("utf-8", "cp1252", "gb18030", "cp932")),
        *((encoding, False) for encoding in ("utf-16-le", "iso2022_jp", "cp500", "utf-7", "hz")),
    ],
)
def test_lines_are_told_apart_without_decoding_where_ascii_is_ascii(encoding: str, expected: bool) -> None:
    """And nowhere else."""
    assert is_line_by_line(encoding) is expected


@given(st.lists(st.text().filter(lambda text: "\n" not in text)))
def test_utf8_lines_are_read_as_such(lines: list[str]) -> None:
    """What is UTF-8 is read as UTF-8."""
    assert decode_lines("\n".join(lines).encode(errors="replace")) == "\n".join(lines).encode(errors="replace").decode()


@given(st.binary(max_size=20))
def test_any_bytes_have_a_text(data: bytes) -> None:
    """Bytes that are not UTF-8 are read as Windows-1252 or Latin-1, line by line, and never refused."""
    assert decode_lines(data).split("\n") == [decode_text(line) for line in data.split(b"\n")] or data.decode()
    assert decode_text(b"caf\xe9") == "café"
    assert decode_text(b"\x81") == "\x81"


def test_what_is_not_of_a_stated_encoding_is_marked() -> None:
    """Line by line, and the lines stay as many."""
    data = "城,1\n".encode("gb18030") + b"\xff,2\n" + "市,3\n".encode("gb18030")
    assert decode_lines(data, "gb18030", mixed=False) == "城,1\n\ufffd,2\n市,3\n"


class Blocks(io.BytesIO):
    """Bytes that come a few at a time."""

    def read(self, size: Any = -1, /) -> bytes:
        return super().read(min(size, 3))


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=30), st.sampled_from(["utf-16-le", "utf-32-be"]))
def test_a_stream_is_recoded_wherever_its_blocks_end(text: str, encoding: str) -> None:
    """To the same text in UTF-8."""
    stream = RecodedStream(Blocks(text.encode(encoding)), "x", encoding)
    assert b"".join(iter(lambda: stream.read(8), b"")).decode() == text


def test_lines_that_change_their_ends_are_refused() -> None:
    """A file of carriage returns that goes on in line feeds could not be continued."""
    stream = RecodedStream(Blocks(b"a\rb\nc"), "x.csv", "utf-8", returns=True)
    assert stream.read(8) == b"a\nb"
    with pytest.raises(KilterError, match=r"x\.csv end in a carriage return alone at first"):
        stream.read(8)
