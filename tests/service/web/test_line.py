"""Requests take turns."""

import asyncio
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from kilter.service.web.exchange import Exchange
from kilter.service.web.line import FEW, MOST, Line


class Noted:
    """An exchange that notes in which turn of the loop it was begun."""

    def __init__(self, turns: list[int], begun: list[tuple[int, int]], number: int) -> None:
        self._turns = turns
        self._begun = begun
        self._number = number

    def begin(self, waited: float = 0.0) -> None:
        assert waited >= 0
        self._begun.append((self._turns[0], self._number))


@given(st.lists(st.integers(0, 3 * MOST), max_size=6))
def test_all_are_begun_in_their_order_and_not_too_many_in_a_turn(arriving: list[int]) -> None:
    """However many arrive in each turn of the loop."""
    turns, begun = [0], list[tuple[int, int]]()

    async def run() -> None:
        line, loop, number = Line(), asyncio.get_running_loop(), 0
        for count in arriving:
            for _ in range(count):
                line.begin(cast(Exchange, Noted(turns, begun, number)), loop)
                number += 1
            await asyncio.sleep(0)
            turns[0] += 1
        while len(begun) < number:
            await asyncio.sleep(0)
            turns[0] += 1

    asyncio.run(run())
    assert [number for _, number in begun] == list(range(sum(arriving)))
    in_turn = [turn for turn, _ in begun]
    # What arrives in a turn may be begun beside what has waited for it, and FEW may have come before.
    assert all(in_turn.count(turn) <= 2 * MOST for turn in set(in_turn))


def test_a_few_are_begun_at_once() -> None:
    """Each in its own turn, for as long as they like."""
    turns, begun = [0], list[tuple[int, int]]()

    async def run() -> None:
        line, loop = Line(), asyncio.get_running_loop()
        for number in range(10 * FEW):
            line.begin(cast(Exchange, Noted(turns, begun, number)), loop)
            assert begun[-1] == (number, number)
            await asyncio.sleep(0)
            turns[0] += 1

    asyncio.run(run())
