"""What is deployed survives the death of the scheduler, of workers, of Redis; nothing is loaded twice for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from nnpm.api.scheduler.v1 import deployment_pb2 as pb
from nnpm.api.scheduler.v1 import deployment_service_pb2 as rpc
from nnpm.errors import InvalidArgument
from support.redis_server import RedisServer
from support.waiting import eventually

HEALTHY_WITHIN = 5.0
"""Seconds."""


async def test_a_killed_scheduler_serves_again_without_reloading(scheduler, deployments, connect) -> None:
    one, two = await connect("worker-0"), await connect("worker-1")
    await deployments.create("acme/tiny", "1.0.0")
    await deployments.until("READY")
    scheduler.kill()
    scheduler.restart()
    ready = await deployments.until("READY", deadline=HEALTHY_WITHIN)
    assert ready.status.serving_version == "1.0.0"
    # Once it leads and has settled, a new deployment shows that it acts, and with a greater token.
    other = await deployments.create("acme/tiny", "2.0.0", name="other")
    await deployments.until("READY", name=other.name)
    loads = [*one.loads, *two.loads]
    assert sorted(load.version for load in loads) == ["1.0.0", "2.0.0"]
    first, second = sorted(loads, key=lambda load: load.version)
    assert second.fencing_token > first.fencing_token
    assert not one.unloads
    assert not two.unloads


async def test_what_changed_while_the_scheduler_was_away_is_caught_up(scheduler, deployments, connect) -> None:
    worker = await connect()
    await deployments.create("acme/tiny", "1.0.0")
    await deployments.until("READY")
    worker.hold = True
    await deployments.update("acme-tiny", "spec.package.selector", selector="2.0.0")
    await eventually(lambda: len(worker.loads) == 2)
    scheduler.kill()
    worker.finish()
    scheduler.restart()
    ready = await deployments.until("READY", revision=2)
    assert ready.status.serving_version == "2.0.0"
    await eventually(lambda: worker.ready == ["2.0.0"])
    assert len(worker.loads) == 2


async def test_a_paused_deployment_stays_paused_across_a_restart(scheduler, deployments, connect) -> None:
    worker = await connect()
    await deployments.create("acme/tiny")
    await deployments.until("READY")
    await deployments.stub.PauseDeployment(rpc.PauseDeploymentRequest(name="acme-tiny"))
    await eventually(lambda: not worker.held)
    scheduler.kill()
    scheduler.restart()
    await eventually(lambda: worker.sessions == 2)
    other = await deployments.create("acme/tiny", "2.0.0", name="other")
    await deployments.until("READY", name=other.name)
    assert (await deployments.get()).status.state == pb.DEPLOYMENT_STATE_PAUSED
    assert worker.ready == ["2.0.0"]


async def test_an_update_that_failed_stays_failed_and_its_predecessor_comes_back(
    scheduler, deployments, connect
) -> None:
    worker = await connect()
    await deployments.create("acme/tiny", "1.0.0")
    await deployments.until("READY")
    worker.refuse = InvalidArgument("MODEL_LOAD_FAILED", "this is no ONNX file")
    await deployments.update("acme-tiny", "spec.package.selector", selector="2.0.0")
    await deployments.until("FAILED")
    scheduler.kill()
    await worker.die()
    scheduler.restart()
    fresh = await connect("worker-1")
    await eventually(lambda: fresh.ready == ["1.0.0"])
    failed = await deployments.get()
    assert failed.status.state == pb.DEPLOYMENT_STATE_FAILED
    assert failed.status.message == "this is no ONNX file"
    await eventually(lambda: _serves(deployments, "1.0.0"))


async def test_a_broken_session_reloads_nothing(deployments, connect) -> None:
    worker = await connect()
    await deployments.create("acme/tiny")
    await deployments.until("READY")
    await worker.cut()
    await eventually(lambda: worker.sessions == 2)
    await eventually(lambda: _serves(deployments, "3.0.0"))
    assert len(worker.loads) == 1


async def test_a_silent_worker_is_replaced(deployments, connect) -> None:
    one, two = await connect("worker-0"), await connect("worker-1")
    await deployments.create("acme/tiny")
    await deployments.until("READY")
    silent, spare = (one, two) if one.held else (two, one)
    silent.mute = True
    await eventually(lambda: spare.ready, 6.0)


async def test_a_worker_that_comes_back_gives_up_what_was_replaced(deployments, connect) -> None:
    one, two = await connect("worker-0"), await connect("worker-1")
    await deployments.create("acme/tiny")
    await deployments.until("READY")
    silent, spare = (one, two) if one.held else (two, one)
    silent.mute = True
    await eventually(lambda: spare.ready, 6.0)
    silent.mute = False
    await eventually(lambda: len(one.held) + len(two.held) == 1)
    assert (await deployments.get()).status.ready_replicas == 1


async def test_a_worker_lost_while_loading_does_not_stop_the_deployment(deployments, connect) -> None:
    one = await connect("worker-0", hold=True)
    await deployments.create("acme/tiny")
    await eventually(lambda: one.loads)
    await one.die()
    await connect("worker-1")
    await deployments.until("READY")


class TestRedis:
    """A Redis that dies and forgets everything."""

    @pytest.fixture
    def redis_url(self, tmp_path: Path) -> Iterator[str]:
        folder = tmp_path / "redis"
        folder.mkdir()
        self.redis = RedisServer(folder)
        try:
            yield self.redis.start().url
        finally:
            self.redis.stop()

    async def test_the_fencing_token_grows_over_a_redis_that_lost_its_data(self, deployments, connect) -> None:
        worker = await connect()
        await deployments.create("acme/tiny", "1.0.0")
        await deployments.until("READY")
        self.redis.kill()
        self.redis.start()
        with self.redis.client() as redis:
            await eventually(lambda: redis.get("{nnpm}:leader:token"), HEALTHY_WITHIN, what="somebody leads again")
        await deployments.update("acme-tiny", "spec.package.selector", selector="2.0.0")
        await deployments.until("READY", revision=2, deadline=HEALTHY_WITHIN)
        tokens = [load.fencing_token for load in worker.loads]
        assert tokens == sorted(set(tokens))

    async def test_deployments_can_be_read_and_changed_while_redis_is_away(self, deployments, connect) -> None:
        await connect()
        self.redis.kill()
        made = await deployments.create("acme/tiny")
        assert (await deployments.get()).name == made.name
        self.redis.start()
        await deployments.until("READY")


async def _serves(deployments, version: str) -> bool:
    return (await deployments.get()).status.serving_version == version
