"""The mesh listener against workers that do not keep to the protocol, or speak to a scheduler that is gone."""

from collections.abc import AsyncIterator

import pytest

from nnpm.api.worker.v1 import worker_pb2 as pb
from nnpm.api.worker.v1 import worker_pb2_grpc
from nnpm.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, NotFound
from nnpm.rpc.channels import open_channel
from support.waiting import eventually


@pytest.fixture
async def mesh_port(scheduler) -> AsyncIterator[worker_pb2_grpc.WorkerServiceStub]:
    async with open_channel(scheduler.mesh) as channel:
        yield worker_pb2_grpc.WorkerServiceStub(channel)


async def say(*requests: pb.SessionRequest) -> AsyncIterator[pb.SessionRequest]:
    for request in requests:
        yield request


@pytest.mark.parametrize(
    ("requests", "kind"),
    [
        ([], DeadlineExceeded),
        ([pb.SessionRequest(heartbeat=pb.WorkerHeartbeat())], InvalidArgument),
        ([pb.SessionRequest(hello=pb.Hello(name="nobody"))], InvalidArgument),
    ],
)
async def test_a_session_begins_with_hello(mesh_port, requests: list[pb.SessionRequest], kind: type[Exception]) -> None:
    with pytest.raises(kind) as refused:
        async for _ in mesh_port.Session(say(*requests)):
            pass
    assert getattr(refused.value, "reason", "") == "HELLO_MISSING"


async def test_a_session_ends_when_the_worker_ends_its_side(mesh_port, deployments) -> None:
    hello = pb.SessionRequest(hello=pb.Hello(incarnation="i", name="short"))
    said = [response.WhichOneof("message") async for response in mesh_port.Session(say(hello))]
    assert said[:2] == ["welcome", "peers"]
    await eventually(lambda: _nobody(deployments))


async def test_a_silent_session_is_ended_with_its_reason(mesh_port, deployments) -> None:
    async def hello_and_silence() -> AsyncIterator[pb.SessionRequest]:
        yield pb.SessionRequest(hello=pb.Hello(incarnation="i", name="silent"))
        await eventually(lambda: False, 30.0)

    with pytest.raises(DeadlineExceeded) as ended:
        async for _ in mesh_port.Session(hello_and_silence()):
            pass
    assert ended.value.reason == "WORKER_SILENT"
    assert await _nobody(deployments)


async def test_a_worker_that_says_drained_is_replaced_while_it_is_still_there(deployments, connect) -> None:
    one, two = await connect("worker-0"), await connect("worker-1")
    await deployments.create("acme/tiny")
    await deployments.until("READY")
    leaving, spare = (one, two) if one.held else (two, one)
    leaving.say_drained()
    await eventually(lambda: spare.ready)
    assert (await deployments.get()).status.ready_replicas == 1
    assert {worker.name: worker.draining for worker in await deployments.workers()}[leaving.name]


async def test_replies_for_another_incarnation_are_refused(mesh_port) -> None:
    with pytest.raises(FailedPrecondition) as refused:
        await mesh_port.Deliver(pb.DeliverRequest(worker="i", scheduler="gone", revision="r"))
    assert refused.value.reason == "SCHEDULER_INCARNATION_CHANGED"


async def test_replies_that_nobody_waits_for_are_dropped(mesh_port, connect) -> None:
    worker = await connect()
    reply = pb.Reply(number=1, nonce=2, count=1, head=b"late", final=True)
    request = pb.DeliverRequest(worker="i", scheduler=worker.welcome.scheduler, revision="r", replies=[reply])
    assert (await mesh_port.Deliver(request)).completed == 0


async def test_a_claim_that_nobody_made_is_not_found(mesh_port) -> None:
    with pytest.raises(NotFound) as refused:
        async for _ in mesh_port.RedeemPayload(pb.RedeemPayloadRequest(number=1, nonce=2)):
            pass
    assert refused.value.reason == "CLAIM_NOT_FOUND"


async def _nobody(deployments) -> bool:
    return not await deployments.workers()
