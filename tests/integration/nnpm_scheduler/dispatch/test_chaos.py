"""Workers die and freeze, clients cancel, Redis is flushed and killed: every call still ends once, with its own answer.

The invariants are those of the dispatch path's README; each run draws its faults from a seed.
"""

import asyncio
import random
from collections import Counter

import grpc
import pytest

from nnpm.api.inference import inference_pb2 as pb
from nnpm.rpc.status import from_call
from support.front import Answer, Asked, Front, HandWorker, echo, echo_request, running_front
from support.redis_server import RedisServer
from support.waiting import eventually

CALLS = 240
ENDS = {"answered", "cancelled", "DEADLINE_EXCEEDED", "QUEUE_UNAVAILABLE", "POISON_REQUEST"}
"""A suspect whose lone run is hit by a second kill is poison, falsely: kills are more frequent here than in life."""


async def slowly(asked: Asked) -> Answer:
    await asyncio.sleep(0.002)
    return await echo(asked)


async def one_call(front: Front, number: int, dice: random.Random, ends: Counter[int], outcomes: Counter[str]) -> None:
    await asyncio.sleep(dice.random() * 3)
    body = echo_request([number, 0, 0], id=str(number))
    call = asyncio.create_task(front.infer(body, timeout=20))
    if dice.random() < 0.1:
        await asyncio.sleep(dice.random() / 10)
        call.cancel()
    try:
        answer = pb.ModelInferResponse.FromString(await call)
    except asyncio.CancelledError:
        outcomes["cancelled"] += 1
    except grpc.aio.AioRpcError as error:
        outcomes[from_call(error).reason] += 1
    else:
        assert answer.id == str(number)
        assert answer.raw_output_contents[0] == pb.ModelInferRequest.FromString(body).raw_input_contents[0]
        outcomes["answered"] += 1
    ends[number] += 1


async def wreck(front: Front, redis: RedisServer, dice: random.Random) -> None:
    """Faults for three seconds, with always one worker more to come."""
    workers = [HandWorker(front, slowly)]
    await workers[0].__aenter__()
    async with asyncio.timeout(30):
        for _ in range(12):
            await asyncio.sleep(0.25)
            match dice.choice(["kill", "kill", "add", "flush", "restart"]):
                case "kill":
                    await workers.pop(dice.randrange(len(workers))).kill()
                case "flush" if front.stream.open:
                    await front.redis.flushall()
                case "restart":
                    await asyncio.to_thread(redis.kill)
                    await asyncio.to_thread(redis.start)
            if len(workers) < 2:
                workers.append(HandWorker(front, slowly))
                await workers[-1].__aenter__()


@pytest.mark.parametrize("seed", [1, 2, 3])
async def test_every_call_ends_once_whatever_dies(own_redis: RedisServer, seed: int) -> None:
    dice = random.Random(seed)
    ends: Counter[int] = Counter()
    outcomes: Counter[str] = Counter()
    async with running_front(own_redis.url) as front:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(wreck(front, own_redis, dice))
            for number in range(CALLS):
                tasks.create_task(one_call(front, number, dice, ends, outcomes))
        assert set(ends.values()) == {1}
        assert len(ends) == CALLS
        assert set(outcomes) <= ENDS
        assert outcomes["answered"] > CALLS * 0.8, outcomes
        async with HandWorker(front):
            await eventually(front.at_rest, 20)
            await eventually(front.only_the_living_are_consumers)
