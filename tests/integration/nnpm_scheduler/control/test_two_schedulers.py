"""Two scheduler processes on one database and one Redis: one leads, both know, the other takes over."""

from pathlib import Path

from nnpm.rpc.channels import open_channel
from support.known_registry import KnownRegistry
from support.scripted_worker import ScriptedWorker
from support.waiting import eventually


async def test_the_other_takes_over_when_the_leader_dies(
    scheduler, deployments, tmp_path: Path, redis_url: str, registry: KnownRegistry, database_url: str
) -> None:
    second = type(scheduler)(tmp_path, redis_url, registry.address, database_url, "second")
    with second.process:
        second.wait()
        async with (
            open_channel(second.control) as channel,
            ScriptedWorker(scheduler.mesh, "worker-0") as worker,
            ScriptedWorker(second.mesh, "worker-0") as other_session,
        ):
            other_session.held = worker.held  # one worker that keeps a Session with each
            others = type(deployments)(channel)
            await eventually(lambda: worker.peers and other_session.peers)
            assert {peer.address for peer in other_session.peers} == {scheduler.mesh, second.mesh}

            await deployments.create("acme/tiny", "1.0.0")
            await deployments.until("READY")
            assert not other_session.loads
            await other_session.cut()  # a real worker tells both; this one tells the other when it says Hello again
            await eventually(lambda: other_session.sessions == 2)
            assert (await others.get()).name == "acme-tiny"

            scheduler.kill()
            await others.update("acme-tiny", "spec.package.selector", selector="2.0.0")
            await eventually(lambda: other_session.loads)
            assert other_session.loads[0].version == "2.0.0"
            assert other_session.loads[0].fencing_token > worker.loads[0].fencing_token
