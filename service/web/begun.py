"""Coroutines that were begun by hand: one that never waits needs no task, which costs as much as a short one's work."""

import types
from collections.abc import Coroutine, Generator
from functools import partial
from typing import Any, TypeVar

T = TypeVar("T")


@types.coroutine
def rest(begun: Coroutine[Any, Any, T], awaited: Any) -> Generator[Any, Any, T]:
    """What a coroutine gives that was begun by `begun.send(None)`, which gave what it waits for."""
    while True:
        try:
            came = yield awaited
        except GeneratorExit:
            begun.close()
            raise
        except BaseException as error:
            step = partial(begun.throw, error)
        else:
            step = partial(begun.send, came)
        try:
            awaited = step()
        except StopIteration as ended:
            found: T = ended.value
            return found
