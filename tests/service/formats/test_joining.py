"""Parts that are put together are what is written in one piece."""

from io import BytesIO
from pathlib import Path

import polars as pl
import pytest

from kilter.service.formats import FORMATS, format_named
from kilter.service.formats.joining import DATA, Joiner, join_arrow, join_parquet, join_text


def test_text_stands_one_after_the_other(tmp_path: Path) -> None:
    """As it is."""
    for name, content in (("a", b"x,y\n1,2\n"), ("b", b""), ("c", b"3,4\n")):
        (tmp_path / name).mkdir()
        (tmp_path / name / DATA).write_bytes(content)
    out = BytesIO()
    join_text([tmp_path / name for name in "abc"], {}, out)
    assert out.getvalue() == b"x,y\n1,2\n3,4\n"


@pytest.mark.parametrize("join", [join_parquet, join_arrow])
def test_blocks_become_a_table(tmp_path: Path, join: Joiner) -> None:
    """In their order, whichever part they are in, some columns with other types."""
    frame = pl.DataFrame({"a": [1.0, 2.0, 3.0, 4.0, 5.0], "b": list("vwxyz")})
    for name, blocks in (("one", [(0, 1), (1, 2)]), ("two", [(3, 2)])):
        (tmp_path / name).mkdir()
        for place, (start, rows) in enumerate(blocks):
            frame.slice(start, rows).write_ipc(tmp_path / name / f"{place:08d}.part", compression="lz4")
    out, whole = BytesIO(), BytesIO()
    join([tmp_path / "one", tmp_path / "two"], {"a": "Int64"}, out)
    out.seek(0)
    read = pl.read_parquet(out) if join is join_parquet else pl.read_ipc(out)
    assert read.equals(frame.with_columns(pl.col("a").cast(pl.Int64)))
    (tmp_path / "all").mkdir()
    for place, (start, rows) in enumerate([(0, 1), (1, 2), (3, 2)]):
        frame.slice(start, rows).write_ipc(tmp_path / "all" / f"{place:08d}.part", compression="lz4")
    join([tmp_path / "all"], {"a": "Int64"}, whole)
    assert out.getvalue() == whole.getvalue()


def test_formats_say_how_their_parts_are_put_together() -> None:
    """Those of files; of an Arrow stream nobody does."""
    assert {one.name for one in FORMATS if one.join is not None} == {"csv", "ndjson", "parquet", "arrow"}
    assert format_named("arrow").joiner() is join_arrow
    with pytest.raises(TypeError):
        format_named("arrow-stream").joiner()
