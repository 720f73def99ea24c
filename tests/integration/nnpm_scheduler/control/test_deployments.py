"""Deployments against a real scheduler process: from CreateDeployment to the workers' commands and back."""

import asyncio

import pytest

from nnpm.api.scheduler.v1 import deployment_pb2 as pb
from nnpm.api.scheduler.v1 import deployment_service_pb2 as rpc
from nnpm.errors import Aborted, AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, Unavailable
from support.known_registry import KnownRegistry
from support.waiting import eventually


async def test_a_deployment_is_loaded_and_becomes_ready(deployments, connect) -> None:
    worker = await connect()
    made = await deployments.create("acme/tiny", "1.0.0")
    assert (made.name, made.status.revision) == ("acme-tiny", 1)
    ready = await deployments.until("READY")
    assert (ready.status.serving_version, ready.status.serving_revision, ready.status.ready_replicas) == ("1.0.0", 1, 1)
    load = worker.loads[0]
    assert (load.package, load.version, load.namespace) == ("acme/tiny", "1.0.0", "acme")
    assert load.fencing_token > 0
    assert load.inputs[0].name == "x"
    assert b'"version":"1.0.0"' in load.manifest


async def test_a_worker_is_welcomed_and_told_its_peers(scheduler, connect) -> None:
    worker = await connect()
    assert worker.welcome.lease_ms == 2000
    assert worker.welcome.clock_ns > 0
    assert [(peer.scheduler, peer.address) for peer in worker.peers] == [(worker.welcome.scheduler, scheduler.mesh)]


async def test_without_workers_it_waits_and_says_so(deployments, connect) -> None:
    await deployments.create("acme/tiny")
    waiting = await eventually(lambda: _with_message(deployments, "no worker"))
    assert waiting.status.state == pb.DEPLOYMENT_STATE_PROGRESSING
    await connect()
    await deployments.until("READY")


async def test_replicas_are_spread_and_a_lost_one_is_replaced_at_once(deployments, connect) -> None:
    one, two, three = [await connect(f"worker-{number}") for number in range(3)]
    await deployments.create("acme/tiny", replicas=2)
    await eventually(lambda: _ready(deployments, 2))
    holders = [worker for worker in (one, two, three) if worker.ready]
    (spare,) = [worker for worker in (one, two, three) if not worker.ready]
    await holders[0].die()
    await eventually(lambda: spare.ready, 5.0)
    await eventually(lambda: _ready(deployments, 2))


async def test_more_replicas_than_workers_are_explained(deployments, connect) -> None:
    await connect()
    await deployments.create("acme/tiny", replicas=3)
    ready = await deployments.until("READY")
    assert ready.status.message == (
        "1 of 3 replicas are warm: workers that can run it: 1, and each holds one replica of a revision"
    )


async def test_an_update_loads_the_new_revision_before_the_old_one_goes(deployments, connect) -> None:
    worker = await connect()
    await deployments.create("acme/tiny", "1.0.0")
    await deployments.until("READY")
    worker.hold = True
    changed = await deployments.update("acme-tiny", "spec.package", selector="2.0.0")
    assert changed.status.revision == 2
    await eventually(lambda: len(worker.loads) == 2)
    still = await deployments.get()
    assert (still.status.serving_version, still.status.state) == ("1.0.0", pb.DEPLOYMENT_STATE_PROGRESSING)
    assert not worker.unloads
    worker.finish()
    ready = await deployments.until("READY")
    assert (ready.status.serving_version, ready.status.serving_revision) == ("2.0.0", 2)
    await eventually(lambda: worker.ready == ["2.0.0"])
    assert [unload.revision for unload in worker.unloads] == [worker.loads[0].revision]


async def test_an_update_that_cannot_be_loaded_fails_and_takes_nothing_away(deployments, connect) -> None:
    worker = await connect()
    await deployments.create("acme/tiny", "1.0.0")
    await deployments.until("READY")
    worker.refuse = InvalidArgument("MODEL_LOAD_FAILED", "this is no ONNX file")
    await deployments.update("acme-tiny", "spec.package", selector="2.0.0")
    failed = await deployments.until("FAILED")
    assert (failed.status.reason, failed.status.message) == ("MODEL_LOAD_FAILED", "this is no ONNX file")
    assert failed.status.serving_version == "1.0.0"
    revision = (await deployments.stub.GetRevision(rpc.GetRevisionRequest(deployment="acme-tiny", number=2))).revision
    assert (revision.state, revision.message) == (pb.REVISION_STATE_FAILED, "this is no ONNX file")
    assert len(worker.loads) == 2
    assert worker.ready == ["1.0.0"]


async def test_deploying_what_failed_again_tries_it_anew(deployments, connect) -> None:
    worker = await connect()
    worker.refuse = InvalidArgument("MODEL_LOAD_FAILED", "this is no ONNX file")
    await deployments.create("acme/tiny", "1.0.0")
    await deployments.until("FAILED")
    worker.refuse = None
    again = await deployments.update("acme-tiny", "spec.package", selector="1.0.0")
    assert again.status.revision == 1
    await deployments.until("READY")


async def test_a_load_that_fails_for_now_is_tried_again(deployments, connect) -> None:
    worker = await connect()
    worker.refuse = Unavailable("SERVER_UNREACHABLE", "the artifact service does not answer")
    await deployments.create("acme/tiny")
    await eventually(lambda: _with_message(deployments, "the artifact service does not answer"))
    worker.refuse = None
    await deployments.until("READY")
    assert len(worker.loads) > 1


async def test_paused_is_unloaded_and_resumed_is_loaded(deployments, connect) -> None:
    worker = await connect()
    await deployments.create("acme/tiny")
    await deployments.until("READY")
    await deployments.stub.PauseDeployment(rpc.PauseDeploymentRequest(name="acme/tiny"))
    await eventually(lambda: not worker.held)
    assert (await deployments.get()).status.state == pb.DEPLOYMENT_STATE_PAUSED
    await deployments.stub.ResumeDeployment(rpc.ResumeDeploymentRequest(name="acme-tiny"))
    await deployments.until("READY")


async def test_deleted_is_unloaded_and_gone(deployments, connect) -> None:
    worker = await connect()
    await deployments.create("acme/tiny")
    await deployments.until("READY")
    await deployments.stub.DeleteDeployment(rpc.DeleteDeploymentRequest(name="acme-tiny"))
    await eventually(lambda: not worker.held)
    with pytest.raises(NotFound) as refused:
        await deployments.get()
    assert refused.value.reason == "DEPLOYMENT_NOT_FOUND"


async def test_scaling_reloads_nothing(deployments, connect) -> None:
    one, two = await connect("worker-0"), await connect("worker-1")
    await deployments.create("acme/tiny")
    await deployments.until("READY")
    scaled = await deployments.update("acme-tiny", "spec.replicas", replicas=2)
    assert scaled.status.revision == 2
    await eventually(lambda: one.ready and two.ready)
    assert (len(one.loads), len(two.loads)) == (1, 1)
    await deployments.update("acme-tiny", "spec.replicas", replicas=1)
    await eventually(lambda: len(one.held) + len(two.held) == 1)
    assert (await deployments.until("READY")).status.serving_revision == 3


async def test_rollback_goes_back_to_the_exact_version(deployments, connect, registry: KnownRegistry) -> None:
    worker = await connect()
    await deployments.create("acme/tiny", "1.0.0")
    await deployments.update("acme-tiny", "spec.package.selector", selector="2.0.0")
    await deployments.until("READY", revision=2)
    registry.versions.clear()
    back = (await deployments.stub.RollbackDeployment(rpc.RollbackDeploymentRequest(name="acme-tiny"))).deployment
    assert (back.status.revision, back.spec.package.selector) == (3, "1.0.0")
    await deployments.until("READY", revision=3)
    await eventually(lambda: worker.ready == ["1.0.0"])
    listed = await deployments.stub.ListRevisions(rpc.ListRevisionsRequest(deployment="acme-tiny", page_size=2))
    assert [(each.number, each.version) for each in listed.revisions] == [(3, "1.0.0"), (2, "2.0.0")]
    rest = await deployments.stub.ListRevisions(
        rpc.ListRevisionsRequest(deployment="acme-tiny", page_token=listed.next_page_token)
    )
    assert [each.number for each in rest.revisions] == [1]
    assert not rest.next_page_token


async def test_a_watch_shows_every_state_up_to_the_end(deployments, connect) -> None:
    worker = await connect(hold=True)
    await deployments.create("acme/tiny")
    seen: list[pb.Deployment] = []

    async def watch() -> None:
        request = rpc.WatchDeploymentRequest(name="acme/tiny")
        async for response in deployments.stub.WatchDeployment(request):
            seen.append(response.deployment)  # noqa: PERF401 - one by one is the point

    watching = asyncio.create_task(watch())
    await eventually(lambda: seen and seen[-1].status.message == "loading on worker-0")
    worker.finish()
    await eventually(lambda: seen[-1].status.state == pb.DEPLOYMENT_STATE_READY)
    await deployments.update("acme-tiny", "spec.package.selector", selector="2.0.0")
    await eventually(lambda: seen[-1].status.serving_version == "2.0.0")
    await deployments.stub.DeleteDeployment(rpc.DeleteDeploymentRequest(name="acme-tiny"))
    with pytest.raises(NotFound):
        await asyncio.wait_for(watching, 5)


async def test_a_drained_worker_hands_over_and_is_told_to_leave(deployments, connect) -> None:
    one, two = await connect("worker-0"), await connect("worker-1")
    await deployments.create("acme/tiny")
    await deployments.until("READY")
    leaving, staying = (one, two) if one.held else (two, one)
    drained = (await deployments.stub.DrainWorker(rpc.DrainWorkerRequest(worker=leaving.name))).worker
    assert drained.draining
    await eventually(lambda: staying.ready and not leaving.held)
    await eventually(lambda: leaving.drained)
    assert (await deployments.get()).status.state == pb.DEPLOYMENT_STATE_READY
    with pytest.raises(NotFound):
        await deployments.stub.GetWorker(rpc.GetWorkerRequest(worker="worker-9"))


async def test_workers_and_their_replicas_are_listed(deployments, connect) -> None:
    worker = await connect("worker-7", memory=10_000)
    await deployments.create("acme/tiny")
    await deployments.until("READY")
    (listed,) = await deployments.workers()
    assert (listed.id, listed.name, listed.memory_bytes) == (worker.incarnation, "worker-7", 10_000)
    assert [(each.deployment, each.revision, each.state) for each in listed.replicas] == [
        ("acme-tiny", 1, pb.REPLICA_STATE_READY)
    ]


async def test_bad_requests_are_refused_with_their_reasons(deployments, registry: KnownRegistry) -> None:
    registry.add("acme/tiny", "4.0.0", yanked=True)
    made = await deployments.create("acme/tiny", "1.0.0", request_id="a")
    assert (await deployments.create("acme/tiny", "1.0.0", request_id="a")).etag == made.etag
    expected = [
        (deployments.create("acme/tiny", "9.9.9", name="other"), NotFound, "VERSION_NOT_FOUND"),
        (deployments.create("acme/tiny", "4.0.0", name="other"), FailedPrecondition, "VERSION_YANKED"),
        (deployments.create("acme/tiny", "1.0.0"), AlreadyExists, "DEPLOYMENT_EXISTS"),
        (deployments.create("acme/tiny", "2.0.0", request_id="a"), AlreadyExists, "REQUEST_ID_REUSED"),
        (deployments.create("tiny"), InvalidArgument, "INVALID_PACKAGE_NAME"),
        (deployments.create("acme/tiny", "!!", name="other"), InvalidArgument, "INVALID_SELECTOR"),
        (deployments.create("acme/tiny", name="A/B"), InvalidArgument, "INVALID_DEPLOYMENT_NAME"),
        (deployments.create("acme/tiny", name="other", replicas=5000), InvalidArgument, "INVALID_DEPLOYMENT"),
        (deployments.update("acme-tiny", "status", selector="1.0.0"), InvalidArgument, "INVALID_FIELD_MASK"),
        (deployments.update("acme-tiny", etag="old", selector="1.0.0"), Aborted, "ETAG_MISMATCH"),
        (deployments.update("nobody", selector="1.0.0"), NotFound, "DEPLOYMENT_NOT_FOUND"),
        (
            deployments.stub.ListDeployments(rpc.ListDeploymentsRequest(page_size=-1)),
            InvalidArgument,
            "INVALID_PAGE_SIZE",
        ),
        (
            deployments.stub.ListDeployments(rpc.ListDeploymentsRequest(page_token="?")),
            InvalidArgument,
            "INVALID_PAGE_TOKEN",
        ),
        (deployments.stub.CreateDeployment(rpc.CreateDeploymentRequest()), InvalidArgument, "INVALID_DEPLOYMENT"),
    ]
    for attempt, kind, reason in expected:
        with pytest.raises(kind) as refused:
            await attempt
        assert refused.value.reason == reason


async def test_deployments_are_listed_in_pages(deployments) -> None:
    for name in ("b", "a", "c"):
        await deployments.create("acme/tiny", name=name)
    first = await deployments.stub.ListDeployments(rpc.ListDeploymentsRequest(page_size=2))
    assert [each.name for each in first.deployments] == ["a", "b"]
    second = await deployments.stub.ListDeployments(rpc.ListDeploymentsRequest(page_token=first.next_page_token))
    assert [each.name for each in second.deployments] == ["c"]
    assert not second.next_page_token
    with pytest.raises(FailedPrecondition) as refused:
        await deployments.get("acme/tiny")
    assert refused.value.reason == "AMBIGUOUS_MODEL"


async def test_a_model_that_fits_nowhere_is_explained(deployments, connect, registry: KnownRegistry) -> None:
    registry.add("acme/huge", "1.0.0", size=3 * 2**30)
    await connect(memory=2**30)
    await deployments.create("acme/huge")
    waiting = await eventually(lambda: _with_message(deployments, "a replica takes 3.0 GiB", name="acme-huge"))
    assert "no worker has more than 1.0 GiB left" in waiting.status.message


async def _with_message(deployments, text: str, *, name: str = "acme-tiny") -> pb.Deployment | None:
    found = await deployments.get(name)
    return found if text in found.status.message else None


async def _ready(deployments, replicas: int) -> bool:
    return (await deployments.get()).status.ready_replicas == replicas
