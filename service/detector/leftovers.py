"""Folders to write to before a rename, and what processes that were killed have left of them."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def scratch_folder(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder with a name that begins so, which is removed at the end if it is still there.

    So are those that killed processes left: whoever writes to one holds a lock on it, which ends with the process.
    """
    with _locked(parent):
        for folder in parent.glob(f"{glob_escape(prefix)}*"):
            with suppress(OSError):
                _remove_if_left(folder)
        made = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
        held = os.open(made, os.O_RDONLY)
        with suppress(OSError):  # a file system without locks: then nothing there is ever taken for left
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)
        os.close(held)
