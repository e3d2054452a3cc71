"""What is opened to be scored has what the model needs, and nothing that is to be appended."""

from io import BytesIO

import pytest

from kilter.service.detector import KilterError
from kilter.service.formats.lines import TAIL
from kilter.service.formats.opening import open_records
from kilter.service.formats.source import NO_HINTS
from tests.support.detectors import detector


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("amount,age", "lacks 'colour', which the model needs"),
        ("amount,age,colour,kilter_p_value", "has a column 'kilter_p_value' already"),
        (f"amount,age,colour,{TAIL}", f"has a column '{TAIL}' already"),
    ],
)
def test_what_does_not_fit_is_refused(header: str, message: str) -> None:
    """With the column, before any record is read."""
    with pytest.raises(KilterError, match=f"standard input {message}"):
        open_records(detector(), "-", BytesIO(header.encode() + b"\n"), NO_HINTS, (TAIL,))


def test_what_fits_is_open() -> None:
    """At its first record."""
    with open_records(detector(), "-", BytesIO(b"amount,age,colour\n1,2,red\n"), NO_HINTS) as reader:
        assert [block.rows for block in reader.blocks()] == [1]
