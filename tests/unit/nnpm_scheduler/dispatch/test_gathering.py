"""Calls that come one by one are handed over together, and none waits long for others."""

import asyncio

from nnpm_scheduler.dispatch.calls_aio import AioCall
from nnpm_scheduler.dispatch.gathering import PATIENCE, Gathering
from nnpm_scheduler.dispatch.window import MOST_IN_ENTRY
from support.core import call_of
from support.front import echo_request


class Turns:
    """A gathering, and what it handed over: how many calls each time. `unanswered` is what the transport would say."""

    def __init__(self) -> None:
        self.unanswered = 0
        self.handed: list[list[AioCall]] = []
        self.gathering = Gathering(lambda: self.unanswered, self.handed.append)

    def come(self) -> AioCall:
        """A call that is answered later than this test ends, unless the test says so."""
        self.unanswered += 1
        call = call_of(echo_request())
        self.gathering.add(call)
        return call

    @property
    def sizes(self) -> list[int]:
        return [len(calls) for calls in self.handed]


async def turn(times: int = 1) -> None:
    """So many turns of the loop."""
    for _ in range(times):
        await asyncio.sleep(0)


async def test_a_call_alone_is_handed_over_in_the_next_turn() -> None:
    turns = Turns()
    for number in range(1, 4):
        turns.come()
        await turn()
        assert turns.sizes == [1] * number
        turns.unanswered = 0


async def test_calls_that_come_in_turns_of_their_own_are_handed_over_together_in_their_order() -> None:
    turns = Turns()
    turns.unanswered = 1
    came = []
    for _ in range(20):
        came.append(turns.come())
        await turn(5)
    assert turns.sizes == []
    await turn(PATIENCE + 2)
    assert turns.handed == [came]


async def test_the_first_of_those_that_were_answered_together_waits_for_the_others() -> None:
    turns = Turns()
    turns.unanswered = 1
    turns.come()
    await turn(PATIENCE + 2)
    turns.unanswered = 0
    turns.come()
    await turn(5)
    turns.come()
    await turn(PATIENCE + 2)
    assert turns.sizes == [1, 2]


async def test_a_call_waits_for_so_many_quiet_turns_and_no_longer() -> None:
    turns = Turns()
    turns.unanswered = 1_000
    turns.come()
    await turn(PATIENCE)
    assert turns.sizes == []
    await turn(2)
    assert turns.sizes == [1]


async def test_calls_that_never_stop_coming_are_handed_over_an_entry_at_a_time() -> None:
    turns = Turns()
    turns.unanswered = 1
    for _ in range(2 * MOST_IN_ENTRY + 1):
        turns.come()
        await turn()
    assert turns.sizes[:2] == [MOST_IN_ENTRY, MOST_IN_ENTRY]


async def test_calls_that_came_at_once_are_one_block_however_many_they_are() -> None:
    turns = Turns()
    for _ in range(3 * MOST_IN_ENTRY):
        turns.come()
    await turn()
    assert turns.sizes == [3 * MOST_IN_ENTRY]
