"""Load and unload through the inference protocol: they return when it is done, and say why it can't be."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from nnpm.api.inference import inference_pb2 as oip
from nnpm.api.inference import inference_pb2_grpc
from nnpm.api.scheduler.v1 import deployment_pb2 as pb
from nnpm.errors import Aborted, FailedPrecondition, InvalidArgument, NotFound, Unimplemented
from nnpm.rpc.channels import open_channel
from support.waiting import eventually


class Models:
    """The inference port's client."""

    def __init__(self, stub: inference_pb2_grpc.GRPCInferenceServiceStub) -> None:
        self._stub = stub

    async def load(self, model: str) -> None:
        await self._stub.RepositoryModelLoad(oip.RepositoryModelLoadRequest(model_name=model))

    async def unload(self, model: str) -> None:
        await self._stub.RepositoryModelUnload(oip.RepositoryModelUnloadRequest(model_name=model))

    async def ready(self, model: str) -> bool:
        return (await self._stub.ModelReady(oip.ModelReadyRequest(name=model))).ready


@pytest.fixture
async def models(scheduler) -> AsyncIterator[Models]:
    async with open_channel(scheduler.data) as channel:
        yield Models(inference_pb2_grpc.GRPCInferenceServiceStub(channel))


async def test_loading_a_package_deploys_it_with_defaults(models: Models, deployments, connect) -> None:
    await connect()
    await models.load("acme/tiny")
    assert await models.ready("acme-tiny")
    assert (await deployments.get()).status.serving_version == "3.0.0"


async def test_loading_waits_for_the_last_step(models: Models, connect) -> None:
    worker = await connect(hold=True)
    loading = asyncio.create_task(models.load("acme/tiny@1.0.0"))
    await eventually(lambda: worker.loads)
    assert not await models.ready("acme/tiny")
    assert not loading.done()
    worker.finish()
    await loading
    assert await models.ready("acme/tiny")


async def test_unloading_pauses_and_loading_resumes(models: Models, deployments, connect) -> None:
    worker = await connect()
    await deployments.create("acme/tiny", "1.0.0")
    await deployments.until("READY")
    await models.unload("acme/tiny")
    assert not await models.ready("acme-tiny")
    assert not worker.held
    assert (await deployments.get()).status.state == pb.DEPLOYMENT_STATE_PAUSED
    await models.load("acme-tiny")
    assert await models.ready("acme-tiny")
    assert (await deployments.get()).status.serving_version == "1.0.0"


async def test_a_load_that_brings_its_own_configuration_or_files_is_refused(scheduler, connect) -> None:
    await connect()
    request = oip.RepositoryModelLoadRequest(model_name="acme/tiny")
    request.parameters["config"].string_param = "{}"
    async with open_channel(scheduler.data) as channel:
        with pytest.raises(Unimplemented) as refused:
            await inference_pb2_grpc.GRPCInferenceServiceStub(channel).RepositoryModelLoad(request)
    assert refused.value.reason == "EXTENSION_NOT_SERVED"


async def test_a_load_that_is_overtaken_by_an_unload_ends_at_once(models: Models, connect) -> None:
    worker = await connect(hold=True)
    loading = asyncio.create_task(models.load("acme/tiny@1.0.0"))
    await eventually(lambda: worker.loads)
    await models.unload("acme/tiny")
    async with asyncio.timeout(10):
        with pytest.raises(Aborted) as overtaken:
            await loading
    assert overtaken.value.reason == "DEPLOYMENT_CHANGED"


async def test_loads_and_unloads_of_many_callers_all_end(models: Models, deployments, connect) -> None:
    await connect()
    await deployments.create("acme/tiny", "1.0.0")
    await deployments.until("READY")
    calls = [models.load("acme-tiny") if number % 2 else models.unload("acme-tiny") for number in range(20)]
    async with asyncio.timeout(30):
        outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [outcome for outcome in outcomes if not (outcome is None or isinstance(outcome, Aborted))] == []
    await models.load("acme-tiny")
    assert await models.ready("acme-tiny")


async def test_a_load_that_cannot_be_says_why(models: Models, connect) -> None:
    worker = await connect()
    worker.refuse = InvalidArgument("RUNTIME_UNKNOWN", "this worker has no such runtime")
    with pytest.raises(FailedPrecondition) as refused:
        await models.load("acme/tiny")
    assert refused.value.reason == "MODEL_LOAD_FAILED"
    assert "this worker has no such runtime" in refused.value.message


async def test_what_nobody_published_or_deployed_is_not_found(models: Models) -> None:
    for attempt, reason in (
        (models.load("no/such"), "VERSION_NOT_FOUND"),
        (models.load("nosuch"), "DEPLOYMENT_NOT_FOUND"),
        (models.unload("acme/tiny"), "DEPLOYMENT_NOT_FOUND"),
    ):
        with pytest.raises(NotFound) as refused:
            await attempt
        assert refused.value.reason == reason
