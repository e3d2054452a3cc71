"""What stands beside an output at an address makes a plan and a journal of this machine."""

from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from kilter.service.detector import KilterError
from kilter.service.formats.addresses import Address
from kilter.service.formats.checkpoints import Checkpoint
from kilter.service.formats.counting import ScoredInput
from kilter.service.formats.markers import RemoteMarker


class Memory:
    """An address that is in memory."""

    content: bytes | None = None

    def exists(self) -> bool:
        return self.content is not None

    def read_bytes(self) -> bytes:
        return self.content or b""

    def write_bytes(self, content: bytes) -> None:
        self.content = content

    def unlink(self, *, missing_ok: bool) -> None:
        self.content = None


def test_what_is_told_is_restored(tmp_path: Path) -> None:
    """As it was; nothing of what was removed, and an error of anything else."""
    address: Any = Memory()
    marker = RemoteMarker(cast(Address, address))
    plan, journal = tmp_path / "plan", tmp_path / "journal"
    marker.restore(plan, journal)
    assert not plan.exists()
    checkpoint = Checkpoint(output=1, inputs=(ScoredInput("a", 1, "x"),), done=1)
    marker.write({"model": "m"}, checkpoint)
    marker.restore(plan, journal)
    assert msgspec.json.decode(plan.read_bytes()) == {"model": "m"}
    (line,) = journal.read_bytes().splitlines()
    assert msgspec.json.decode(line, type=Checkpoint) == checkpoint
    address.content = b"[]"
    with pytest.raises(KilterError, match="does not say what is made"):
        marker.restore(plan, journal)
    marker.remove()
    assert not address.exists()
