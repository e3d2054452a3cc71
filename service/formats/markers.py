"""What stands beside an output at an address while it is made: which of its files are complete, and of what it is made.

By it a run goes on on another machine, where the file that was in the middle is begun again; and whether anything can
be written there is known by it before anything is judged.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from kilter.service.detector.errors import KilterError
from kilter.service.formats.addresses import Address


class RemoteMarker:
    """The small file of an output that is being made."""

    def __init__(self, address: Address) -> None:
        self.address = address

    def write(self, plan: Mapping[str, Any], checkpoint: Any) -> None:
        """Tell how far it is, in one piece. Raises KilterError if it cannot be written."""
        self.address.write_bytes(msgspec.json.encode({"plan": plan, "checkpoint": checkpoint}))

    def restore(self, plan: Path, journal: Path) -> None:
        """Make a plan and a journal of this machine from what is told, if anything is."""
        if not self.address.exists():
            return
        try:
            said = msgspec.json.decode(self.address.read_bytes())
            plan.write_bytes(msgspec.json.encode(said["plan"]))
            journal.write_bytes(msgspec.json.encode(said["checkpoint"]) + b"\n")
        except (msgspec.DecodeError, KeyError, TypeError):
            raise KilterError(f"{self.address} does not say what is made: begin again without --resume") from None

    def remove(self) -> None:
        self.address.unlink(missing_ok=True)
