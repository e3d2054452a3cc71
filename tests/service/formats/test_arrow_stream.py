"""Arrow streams: read and written message by message, and each the same as when it is read as a whole."""

import struct
from io import BytesIO
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from pyarrow import ipc

from kilter.service.detector import KilterError
from kilter.service.formats import arrow_stream, format_named
from kilter.service.formats.arrow_stream import END, ArrowStreamReader
from kilter.service.formats.scoring import score_inputs
from kilter.service.formats.source import NO_HINTS, Hints, Source
from kilter.service.formats.writers import OutputPart
from tests.support.serving import RECORD, STRANGE, detector

STATED = Hints(stated=format_named("arrow-stream"))


def stream(*frames: pl.DataFrame, texts: str = "plain") -> bytes:
    """A stream of several batches, with texts as they are, or in a dictionary that is `replaced` or has `deltas`."""
    out = BytesIO()
    tables = [frame.to_arrow(compat_level=pl.CompatLevel.oldest()) for frame in frames]
    if texts != "plain":
        at = tables[0].schema.get_field_index("colour")
        tables = [one.set_column(at, "colour", one["colour"].combine_chunks().dictionary_encode()) for one in tables]
    options = ipc.IpcWriteOptions(emit_dictionary_deltas=texts == "deltas")
    with ipc.new_stream(out, tables[0].schema, options=options) as writer:
        for table in tables:
            writer.write_table(table)
    return out.getvalue()


def read(content: bytes, hints: Hints = STATED) -> list[pl.DataFrame]:
    """The batches of a stream."""
    with ArrowStreamReader(Source("-", BytesIO(content), "the body", hints)) as reader:
        return [batch.frame for batch in reader.batches()]


FRAMES = st.lists(
    st.lists(st.tuples(st.none() | st.floats(-9, 9), st.sampled_from(["red", "blue", None, "é"])), max_size=7),
    min_size=1,
    max_size=5,
)


@given(FRAMES, st.sampled_from(["plain", "replaced"]), st.sampled_from([STATED, NO_HINTS]))
def test_all_rows_come_back_in_order(
    parts: list[list[tuple[float | None, str | None]]], texts: str, hints: Hints
) -> None:
    """Of any number of batches, with texts in dictionaries or not."""
    kinds = {"amount": pl.Float64(), "colour": pl.String()}
    frames = [pl.DataFrame(part, schema=kinds, orient="row") for part in parts]
    batches = [frame.cast({"colour": pl.String()}) for frame in read(stream(*frames, texts=texts), hints)]
    assert_frame_equal(pl.concat(batches), pl.concat(frames))


def test_a_dictionary_in_pieces_is_refused() -> None:
    """As polars does."""
    with pytest.raises(KilterError, match="delta dictionary batches not supported"):
        read(stream(*(pl.DataFrame({"colour": ["red", "blue"][:count]}) for count in (1, 2)), texts="deltas"))


def test_rows_come_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small batches together, and large ones in pieces."""
    monkeypatch.setattr(arrow_stream, "ROWS", 10)
    frames = [pl.DataFrame({"a": range(count)}) for count in (3, 3, 3, 3, 25, 1)]
    assert [frame.height for frame in read(stream(*frames))] == [10, 2, 10, 10, 5, 1]


def test_what_is_cut_or_damaged_is_refused() -> None:
    """Wherever it is cut within a message, with the same words; the rows before that come out."""
    whole = stream(pl.DataFrame({"a": [1.0, 2.0]}), pl.DataFrame({"a": [3.0]}))
    for length in range(4, len(whole) - len(END)):
        try:
            rows = sum(frame.height for frame in read(whole[:length]))
        except KilterError as error:
            assert "cannot be read as an Arrow stream" in str(error)  # noqa: PT017
        else:
            assert rows in (0, 2, 3)
    for place in range(0, len(whole), 3):
        changed = bytearray(whole)
        changed[place] ^= 0xFF
        try:
            read(bytes(changed))
        except KilterError as error:
            assert "the body" in str(error)  # noqa: PT017


def test_a_message_that_claims_too_much_is_refused_in_a_body(monkeypatch: pytest.MonkeyPatch) -> None:
    """Before there is memory for it; a file may have longer ones."""
    whole = stream(pl.DataFrame({"a": [1.0] * 1000}))
    monkeypatch.setattr(arrow_stream, "LONGEST", 4000)
    with pytest.raises(KilterError, match=r"a message has 8,\d\d\d bytes, and 4,000 are the most: write smaller"):
        read(whole)
    assert [frame.height for frame in read(whole, NO_HINTS)] == [1000]
    texts = [f"{number}" * 30 for number in range(90)]
    for length, wrong in ((40, "its dictionaries have over 4,000 bytes: send texts"), (90, "a message has")):
        frame = pl.DataFrame({"colour": texts[:length], "more": texts[:length]})
        table = pa.table({name: pa.array(frame[name].to_list()).dictionary_encode() for name in frame.columns})
        out = BytesIO()
        with ipc.new_stream(out, table.schema) as lines:
            lines.write_table(table)
        with pytest.raises(KilterError, match=wrong):
            read(out.getvalue())


def test_compressed_buffers_are_refused_in_a_body_alone() -> None:
    """What they claim is not known before."""
    out = BytesIO()
    pl.DataFrame({"a": [1.0] * 1000}).write_ipc_stream(out, compression="zstd")
    assert [frame.height for frame in read(out.getvalue(), NO_HINTS)] == [1000]
    with pytest.raises(KilterError, match="its buffers are compressed"):
        read(out.getvalue())


@pytest.mark.parametrize("source", ["csv", "arrows"])
def test_a_file_is_scored_into_a_stream(tmp_path: Path, source: str) -> None:
    """Which pyarrow reads with the columns and values of a stored table; without a row it has the columns."""
    frame = pl.DataFrame([RECORD, STRANGE] * 50).with_columns(colour=pl.col("colour").cast(pl.Categorical))
    path, one, other = (tmp_path / name for name in (f"a.{source}", "a-out.arrows", "a-out.arrow"))
    for rows in (frame, frame.head(0)):
        if source == "csv":
            rows.write_csv(path)
        else:
            path.write_bytes(stream(rows.cast({"colour": pl.String()})))
        for out in (one, other):
            score_inputs(detector(), [path], out, force=True)
        table = pa.ipc.open_stream(one).read_all()
        assert one.read_bytes().endswith(END)
        expected = pl.read_ipc(other)
        if source == "csv":
            expected = expected.cast({"items": pl.Float64(), "member": pl.Float64()})
        assert_frame_equal(pl.DataFrame(table), expected, categorical_as_str=True)


def test_types_that_change_are_refused() -> None:
    """With what takes them."""
    out = BytesIO()
    writer = arrow_stream.ArrowStreamWriter(out, None)
    for kind in (pl.Int64(), pl.Float64()):
        part = BytesIO()
        pl.DataFrame({"a": [1]}, schema={"a": kind}).write_ipc_stream(part)
        if kind == pl.Int64():
            writer.put(OutputPart(part.getvalue()))
        else:
            with pytest.raises(KilterError, match="have them written as NDJSON"):
                writer.put(OutputPart(part.getvalue()))
    writer.finish()
    assert struct.unpack("<II", out.getvalue()[-8:]) == (0xFFFFFFFF, 0)
