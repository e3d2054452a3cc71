"""Room for pictures while they are decoded: a small file may need hundreds of megabytes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Room:
    """So many pixels in memory at once, by all threads together; whoever needs more than is left waits in a row."""

    def __init__(self, pixels: int) -> None:
        self._pixels = self._left = pixels
        self._door = threading.Lock()
        """Held by the one that waits: those behind it do not go before it, however little they need."""
        self._changed = threading.Condition()

    @contextmanager
    def take(self, pixels: int) -> Iterator[None]:
        """Have room for so many pixels, or all that there is."""
        taken = min(pixels, self._pixels)
        with self._door, self._changed:
            self._changed.wait_for(lambda: self._left >= taken)
            self._left -= taken
        try:
            yield
        finally:
            with self._changed:
                self._left += taken
                self._changed.notify_all()
