"""No more is decoded at once than there is room for."""

import threading
import time

import pytest

from kilter.service.judging.admission import Room


def test_what_does_not_fit_waits() -> None:
    """Threads together never hold more than there is, and each gets its turn."""
    room, lock = Room(100), threading.Lock()
    held, most, done = [0], [0], []

    def work(size: int) -> None:
        with room.take(size):
            with lock:
                held[0] += min(size, 100)
                most[0] = max(most[0], held[0])
            time.sleep(0.002)
            with lock:
                held[0] -= min(size, 100)
                done.append(size)

    threads = [threading.Thread(target=work, args=(size,)) for size in [30, 60, 100, 5, 5, 999, 40, 50, 20] * 5]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(done) == len(threads)
    assert 50 < most[0] <= 100


def test_room_is_given_back_whatever_happens() -> None:
    """A picture that cannot be decoded holds up none."""
    room = Room(10)
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), room.take(10):
            _ = 1 / 0
    with room.take(10):
        pass


def test_the_first_to_wait_is_the_first_to_have_room() -> None:
    """Small ones do not go before a large one that waits, so that its turn comes."""
    room, order = Room(10), []
    first = threading.Event()

    def hold() -> None:
        with room.take(6):
            first.set()
            time.sleep(0.1)

    def then(size: int, name: str) -> None:
        with room.take(size):
            order.append(name)

    threads = [threading.Thread(target=hold)]
    threads[0].start()
    first.wait()
    for size, name in ((10, "large"), (1, "small")):
        threads.append(threading.Thread(target=then, args=(size, name)))
        threads[-1].start()
        time.sleep(0.03)
    for thread in threads:
        thread.join()
    assert order == ["large", "small"]
