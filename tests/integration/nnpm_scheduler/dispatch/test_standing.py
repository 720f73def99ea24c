"""Class and tenant of calls, told by metadata, on every transport: who goes first, and what is refused."""

import asyncio

import grpc
import pytest

from nnpm.rpc.status import from_call
from support.front import Answer, Asked, Front, HandWorker, echo, echo_request, revision, running_front, table
from support.waiting import eventually

PRIORITY, TENANT = "nnpm-priority", "nnpm-tenant"


class Gate:
    """Handles requests one by one, and none before it is opened."""

    def __init__(self) -> None:
        self.open = asyncio.Event()

    async def handle(self, asked: Asked) -> Answer:
        await self.open.wait()
        return await echo(asked)


def send(front: Front, number: int, **metadata: str) -> "asyncio.Task[bytes]":
    pairs = [(f"nnpm-{key}", value) for key, value in metadata.items()]
    return asyncio.create_task(front.infer(echo_request([number, 0, 0]), timeout=60, metadata=pairs))


async def occupied(front: Front, worker: HandWorker) -> "list[asyncio.Task[bytes]]":
    """What fills the window, so that whatever comes next waits in the scheduler."""
    front.routes.replace(table(revision(batch=1)))
    calls = []
    for number in (1, 2):
        calls.append(send(front, number))
        await eventually(lambda: front.calls() == len(calls))
    await eventually(lambda: worker.seen)
    return calls


async def test_the_urgent_goes_first_and_within_a_class_tenants_take_turns(redis_url: str) -> None:
    gate = Gate()
    async with running_front(redis_url) as front, HandWorker(front, gate.handle) as worker:
        calls = await occupied(front, worker)
        later = [
            *[(number, {"priority": "low", "tenant": "many"}) for number in (10, 11, 12)],
            *[(number, {"tenant": "many"}) for number in (20, 21, 22)],
            (30, {"tenant": "few"}),
            (40, {"priority": "high", "tenant": "many"}),
        ]
        for number, metadata in later:
            calls.append(send(front, number, **metadata))
            await eventually(lambda: front.calls() == len(calls))
        gate.open.set()
        await asyncio.gather(*calls)
    first = [int(asked.first) for asked in worker.seen][2:]
    assert first[0] == 40
    assert sorted(first[1:3]) == [20, 30]
    assert first[3:] == [21, 22, 10, 11, 12]


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [(PRIORITY, "urgent", "INVALID_PRIORITY"), (TENANT, "t" * 129, "INVALID_TENANT")],
)
async def test_a_class_or_tenant_that_cannot_be_is_refused(redis_url: str, key: str, value: str, reason: str) -> None:
    async with running_front(redis_url) as front:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await front.infer(echo_request(), metadata=[(key, value)])
        error = from_call(refused.value)
        assert (error.code, error.reason) == ("INVALID_ARGUMENT", reason)
        await eventually(front.at_rest)
