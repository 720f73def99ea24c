"""A scheduler process of its own for each test, with a real Redis; workers and registry speak their real protocols."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import grpc.aio
import pytest

from nnpm.api.scheduler.v1 import deployment_pb2 as pb
from nnpm.api.scheduler.v1 import deployment_service_pb2 as rpc
from nnpm.api.scheduler.v1 import deployment_service_pb2_grpc
from nnpm.rpc.channels import open_channel
from support.known_registry import KnownRegistry
from support.ports import free_ports
from support.processes import Process, wait_healthy
from support.scripted_worker import ScriptedWorker
from support.waiting import eventually


class Scheduler:
    """The process and its control port."""

    def __init__(
        self, folder: Path, redis_url: str, registry_address: str, database_url: str, name: str = "scheduler"
    ) -> None:
        port = free_ports(2)
        self.data, self.control = f"127.0.0.1:{port}", f"127.0.0.1:{port + 1}"
        self.mesh = f"unix:{folder}/{name}.sock"
        self.process = Process(
            [sys.executable, "-m", "nnpm_scheduler"],
            folder / f"{name}.log",
            {
                "NNPM_REDIS_URL": redis_url,
                "NNPM_REGISTRY_ADDRESS": registry_address,
                "NNPM_SCHEDULER_LISTEN": self.data,
                "NNPM_CONTROL_LISTEN": self.control,
                "NNPM_MESH_LISTEN": self.mesh,
                "NNPM_SCHEDULER_DATABASE_URL": database_url,
                "NNPM_LOG_FORMAT": "json",
            },
        )

    def wait(self) -> None:
        """Until it is healthy."""
        wait_healthy(self.control, process=self.process)

    def kill(self) -> None:
        """As a crash would."""
        self.process.kill()

    def restart(self) -> None:
        """Comes back after `kill`."""
        self.process.start()
        self.wait()


class Deployments:
    """The control port's client, in the words of the tests."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self.stub = deployment_service_pb2_grpc.DeploymentServiceStub(channel)

    async def create(self, package: str, selector: str = "latest", **fields: object) -> pb.Deployment:
        spec = pb.DeploymentSpec(package=pb.PackageSource(package=package, selector=selector))
        spec.replicas = int(str(fields.pop("replicas", 1)))
        request = rpc.CreateDeploymentRequest(
            deployment=pb.Deployment(name=str(fields.pop("name", "")), spec=spec),
            request_id=str(fields.pop("request_id", "")),
        )
        return (await self.stub.CreateDeployment(request)).deployment

    async def update(self, name: str, *paths: str, etag: str = "", **fields: object) -> pb.Deployment:
        source = pb.PackageSource(package="acme/tiny", selector=str(fields.pop("selector", "")))
        spec = pb.DeploymentSpec(package=source, replicas=int(str(fields.pop("replicas", 0))))
        request = rpc.UpdateDeploymentRequest(deployment=pb.Deployment(name=name, spec=spec, etag=etag))
        request.update_mask.paths.extend(paths)
        return (await self.stub.UpdateDeployment(request)).deployment

    async def get(self, name: str = "acme-tiny") -> pb.Deployment:
        return (await self.stub.GetDeployment(rpc.GetDeploymentRequest(name=name))).deployment

    async def workers(self) -> list[pb.Worker]:
        return list((await self.stub.ListWorkers(rpc.ListWorkersRequest())).workers)

    async def until(
        self, state: str, *, name: str = "acme-tiny", revision: int = 0, deadline: float = 15.0
    ) -> pb.Deployment:
        """The deployment once it is in that state (of that revision, if one is named)."""
        wanted = pb.DeploymentState.Value(f"DEPLOYMENT_STATE_{state}")

        async def reached() -> pb.Deployment | None:
            found = await self.get(name)
            return found if found.status.state == wanted and revision in (0, found.status.revision) else None

        return await eventually(reached, deadline, what=f"{name} is {state}")


@pytest.fixture
async def registry() -> AsyncIterator[KnownRegistry]:
    async with KnownRegistry() as registry:
        for version in ("1.0.0", "2.0.0", "3.0.0"):
            registry.add("acme/tiny", version)
        yield registry


@pytest.fixture
def scheduler(tmp_path: Path, redis_url: str, registry: KnownRegistry, database_url: str) -> Iterator[Scheduler]:
    scheduler = Scheduler(tmp_path, redis_url, registry.address, database_url)
    with scheduler.process:
        scheduler.wait()
        yield scheduler
        if scheduler.process.returncode is None:
            assert scheduler.process.stop() == 0


@pytest.fixture
async def deployments(scheduler: Scheduler) -> AsyncIterator[Deployments]:
    async with open_channel(scheduler.control) as channel:
        yield Deployments(channel)


Connect = Callable[..., Awaitable[ScriptedWorker]]


@pytest.fixture
async def connect(scheduler: Scheduler, deployments: Deployments) -> AsyncIterator[Connect]:
    """`await connect("worker-0", memory=...)`: a worker whose Session is open."""
    async with AsyncExitStack() as workers:

        async def connect(name: str = "worker-0", *, memory: int = 0, hold: bool = False) -> ScriptedWorker:
            worker = ScriptedWorker(scheduler.mesh, name, memory=memory)
            worker.hold = hold
            await workers.enter_async_context(worker)
            await eventually(lambda: worker.peers, what=f"{name} has a Session")
            return worker

        yield connect
