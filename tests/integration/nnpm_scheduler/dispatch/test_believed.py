"""A reply is accepted only from who has read the request: number and nonce must be its own."""

import asyncio
import secrets

from nnpm.api.inference import inference_pb2 as pb
from nnpm.api.worker.v1 import worker_pb2 as wire
from nnpm.api.worker.v1.worker_pb2_grpc import WorkerServiceStub
from nnpm.rpc.channels import open_channel
from support.front import Answer, Asked, HandWorker, echo, echo_request, running_front
from support.waiting import eventually

FORGERIES = 2_000


def forged(number: int, nonce: int) -> wire.Reply:
    """An answer by somebody who guesses."""
    head = pb.ModelInferResponse(model_name="forged").SerializeToString()
    return wire.Reply(number=number, nonce=nonce, offset=0, count=1, head=head, final=True)


async def test_a_reply_without_the_requests_nonce_answers_nobody(redis_url: str) -> None:
    wake = asyncio.Event()

    async def patient(asked: Asked) -> Answer:
        await wake.wait()
        return await echo(asked)

    async with running_front(redis_url) as front, HandWorker(front, patient) as reader:
        call = asyncio.create_task(front.infer(echo_request(id="mine"), timeout=30))
        await eventually(lambda: reader.seen)
        number, scheduler = reader.seen[0].number, reader.entries[0].scheduler
        async with open_channel(front.mesh) as channel:
            service = WorkerServiceStub(channel)
            for first in range(0, FORGERIES, 500):
                # Guessed nonces, and those next to nothing.
                nonces = [first, *(secrets.randbits(64) for _ in range(499))]
                answer = await service.Deliver(
                    wire.DeliverRequest(
                        worker="somebody",
                        scheduler=scheduler,
                        revision="acme-echo.1",
                        replies=[forged(number, nonce) for nonce in nonces],
                    )
                )
                assert answer.completed == 0
        assert not call.done()
        wake.set()
        answered = pb.ModelInferResponse.FromString(await call)
        assert (answered.id, answered.model_name) != ("mine", "forged")
        await eventually(front.at_rest)
