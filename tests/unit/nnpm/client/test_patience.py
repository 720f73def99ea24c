import asyncio

import pytest

from nnpm.client.patience import Patience, patiently
from nnpm.errors import InvalidArgument, Unavailable

AWAY = Unavailable("SERVER_UNREACHABLE", "away")


async def test_a_service_that_comes_back_is_answered_by() -> None:
    calls = 0

    async def call() -> str:
        nonlocal calls
        calls += 1
        if calls < 3:
            raise AWAY
        return "answer"

    assert await patiently(call, patience=10) == "answer"
    assert calls == 3


async def test_patience_ends() -> None:
    async def call() -> str:
        raise AWAY

    async with asyncio.timeout(5):
        with pytest.raises(Unavailable):
            await patiently(call, patience=0.3)


async def test_other_errors_are_not_tried_again() -> None:
    calls = 0

    async def call() -> str:
        nonlocal calls
        calls += 1
        raise InvalidArgument("INVALID_RANGE", "wrong")

    with pytest.raises(InvalidArgument):
        await patiently(call)
    assert calls == 1


async def test_getting_further_renews_patience() -> None:
    patience = Patience(0.25)
    for _ in range(5):
        await patience.wait(AWAY)
        patience.renew()


async def test_without_getting_further_the_fault_comes_out() -> None:
    patience = Patience(0.25)

    async def wait_on() -> None:
        for _ in range(10):
            await patience.wait(AWAY)

    with pytest.raises(Unavailable):
        await wait_on()
