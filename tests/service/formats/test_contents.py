"""What was read of a file is known by its hash."""

import hashlib
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from kilter.service.formats.contents import ContentHash, ContentRead


@given(st.binary(max_size=40), st.lists(st.integers(0, 40), max_size=4), st.integers(1, 9))
def test_it_follows_whoever_reads(content: bytes, positions: list[int], chunk: int) -> None:
    """To each position, which is not beyond the end, and then to the end."""
    with TemporaryDirectory() as folder, patch("kilter.service.formats.contents.CHUNK", chunk):
        path = Path(folder) / "x"
        path.write_bytes(content)
        follower = ContentHash(path)
        for position in sorted(positions):
            part = content[:position]
            assert follower.up_to(position) == ContentRead(len(part), hashlib.sha256(part).hexdigest())
        assert follower.up_to(None) == ContentRead(len(content), hashlib.sha256(content).hexdigest())
        follower.close()
