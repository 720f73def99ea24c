"""More comes than can be done: who is refused at the door, and how a client is told."""

import asyncio
from collections import Counter

import grpc

from nnpm.errors import NnpmError
from nnpm.rpc.status import from_call
from support.front import Answer, Asked, Front, HandWorker, echo, echo_request, revision, running_front, table
from support.waiting import eventually

RUN = 0.02


async def slowly(asked: Asked) -> Answer:
    """One request at a time."""
    await asyncio.sleep(RUN)
    return await echo(asked)


def slow(front: Front) -> HandWorker:
    front.routes.replace(table(revision(batch=1)))
    worker = HandWorker(front, slowly)
    worker.run_ns = int(RUN * 1e9)
    return worker


async def outcomes(front: Front, calls: int, timeout: float) -> list[NnpmError | None]:
    """So many calls at once over one connection."""
    async with front.channel() as channel:
        infer = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer")

        async def one() -> NnpmError | None:
            try:
                await infer(echo_request(), timeout=timeout)
            except grpc.aio.AioRpcError as error:
                return from_call(error)
            return None

        return await asyncio.gather(*[one() for _ in range(calls)])


async def test_a_call_that_would_be_late_is_refused_at_once_and_told_when_to_come_back(redis_url: str) -> None:
    async with running_front(redis_url) as front, slow(front):
        assert set(await outcomes(front, 6, 60)) == {None}  # a few runs, from which their length is known
        found = await outcomes(front, 300, 3.0)
        refused = [error for error in found if error is not None and error.reason == "OVERLOADED"]
        counted = Counter("" if error is None else error.reason for error in found)
        assert len(refused) >= 20, counted
        assert counted[""] >= 10, counted
        for error in refused:
            assert error.code == "RESOURCE_EXHAUSTED"
            assert 0.1 <= (error.retry_after or 0) < 60
            assert float(error.metadata["predicted_seconds"]) > 0.5  # what is left of 3 s, on however slow a machine
        await eventually(front.at_rest)


async def test_a_burst_upon_an_idle_model_is_taken_in_by_those_who_have_time(redis_url: str) -> None:
    async with running_front(redis_url) as front, slow(front):
        assert set(await outcomes(front, 50, 60)) == {None}
        await eventually(front.at_rest)
