"""Folders to write to before a rename, and what killed processes have left of them."""

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path


@contextmanager
def scratch_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder whose name begins so, which is removed at the end if it is still there. Raises OSError.

    So are those that killed processes left: whoever writes to one holds a lock on it, which ends with the process.
    Where a file system has no locks, nothing is ever taken for left.
    """
    with _lock(parent, wait=True):
        for folder in parent.glob(f"{escape(prefix)}*"):
            with _lock(folder) as alone:
                if alone:
                    shutil.rmtree(folder, ignore_errors=True)
        made = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        held = _lock(made)
        held.__enter__()
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        held.__exit__(None, None, None)


@contextmanager
def _lock(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold the lock on a folder; whether it was there to be had."""
    descriptor, alone = None, False
    if sys.platform != "win32":
        import fcntl

        with suppress(OSError):
            descriptor = os.open(folder, os.O_RDONLY)
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            alone = True
    try:
        yield alone
    finally:
        if descriptor is not None:
            os.close(descriptor)
