"""A mesh to be broken: a Redis, several schedulers, many workers, each behind links of its own.

The dead are started again, as whatever watches over processes would do.
"""

import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from onnx import TensorProto, helper

import nnpm
from benchmarks.ports import free_port
from chaos import shim
from chaos.calls import MODEL, NEVER, QUICK
from chaos.history import History, Trouble
from chaos.member import Member
from chaos.network import Link, Network
from chaos.queue_server import QueueServer
from chaos.runtime.nnpm_chaos_runtime import JOURNAL, WIDTH
from nnpm.errors import NnpmError
from nnpm.mesh.redis_server import RedisServer

START_SECONDS = 120.0
RESTART_AFTER, LOOK_EVERY = 0.3, 0.1
"""Seconds until a dead process is started again, and between two looks at who is dead."""
RUNTIME = Path(__file__).parent / "runtime"


class MeshError(Exception):
    """The mesh did not start; the message says why."""


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a mesh is, and on which Redis."""

    schedulers: int
    workers: int
    redis: RedisServer
    fsync: str
    transport: str


@dataclass(frozen=True, slots=True)
class Ports:
    """Of one scheduler."""

    data: int
    control: int
    mesh: int
    metrics: int


class Mesh:
    """The processes and the links between them.

    Args:
        folder: for everything that they write.
        history: told who dies, and for how long a scheduler is down.
        network: what lies between them.
    """

    def __init__(self, shape: Shape, folder: Path, history: History, network: Network) -> None:
        self.shape = shape
        self.network = network
        self.folder = folder
        self.journals = folder / "journals"
        self.journals.mkdir(parents=True)
        self.history = history
        self._library = shim.build(folder)
        self._keeper: asyncio.Task[None] | None = None
        self._returns: set[asyncio.Task[None]] = set()
        self.shims: dict[str, shim.Shim] = {}
        self.expected_dead: set[int] = set()
        """Processes that were killed, or asked to stop; any other that ends does so for a fault of its own."""
        self.unasked: list[str] = []
        """Ends of processes that nobody had asked for, and no lethal call explains."""
        self._first_port = first = free_port(3 + 4 * shape.schedulers)
        self.ports = {
            f"scheduler-{n}": Ports(*range(first + 3 + 4 * n, first + 7 + 4 * n)) for n in range(shape.schedulers)
        }
        self.to_redis: dict[str, Link] = {}
        self.to_mesh: dict[str, Link] = {}
        self.to_schedulers: dict[str, Link] = {}
        self._queue: QueueServer | None = None
        self.members: dict[str, Member] = {}

    @property
    def queue(self) -> QueueServer:
        """Redis."""
        if self._queue is None:
            raise MeshError("the mesh was not started")
        return self._queue

    @property
    def can_preload(self) -> bool:
        """Whether clocks can jump and disks be slow."""
        return self._library is not None

    @property
    def schedulers(self) -> list[str]:
        return list(self.ports)

    @property
    def workers(self) -> list[str]:
        return [name for name in self.members if name.startswith("worker-")]

    def data_address(self, scheduler: str) -> str:
        """Where a scheduler takes calls."""
        return f"{self.network.host(scheduler, 'front')}:{self.ports[scheduler].data}"

    def control_address(self, scheduler: str) -> str:
        """Where a scheduler takes deployments."""
        return f"{self.network.host(scheduler, 'front')}:{self.ports[scheduler].control}"

    def metrics_address(self, scheduler: str) -> str:
        """Where a scheduler tells its figures."""
        return f"{self.network.host(scheduler, 'front')}:{self.ports[scheduler].metrics}"

    async def start(self) -> None:
        """Start everything, and deploy the model on every worker. Raises MeshError."""
        workers = [f"worker-{number}" for number in range(self.shape.workers)]
        await self.network.open(["redis", "registry", "artifact", *self.ports, *workers])
        for name in (*self.ports, *workers):
            self.to_redis[name] = await self.network.to_redis(name, self._first_port)
        for name, ports in self.ports.items():
            self.to_mesh[name] = await self.network.to_mesh(name, ports.mesh)
        for name in workers:
            if (link := self.network.to_schedulers(name)) is not None:
                self.to_schedulers[name] = link
        self._add_services(workers)
        self.queue.start()
        await self.queue.until_it_answers()
        for member in self.members.values():
            if member is not self.queue:
                member.start()
        self._keeper = asyncio.create_task(self._keep())
        await self._deploy()
        await self.until_it_serves()

    async def until_it_serves(self) -> None:
        """Returns once every worker has a replica, and every scheduler knows of it. Raises MeshError."""
        until = time.monotonic() + START_SECONDS
        for name in self.schedulers:
            async with nnpm.AsyncClient(
                scheduler=self.data_address(name), control=self.control_address(name)
            ) as client:
                while not await self._is_whole(client):
                    if time.monotonic() > until:
                        raise MeshError(f"{name} does not serve {MODEL}")
                    await asyncio.sleep(LOOK_EVERY)

    async def _is_whole(self, client: nnpm.AsyncClient) -> bool:
        try:
            for model in (MODEL, QUICK):
                deployment = await client.deployment(model)
                if deployment.ready_replicas != self.shape.workers or not await client.ready(model):
                    return False
        except NnpmError:
            return False
        return True

    async def stop(self) -> None:
        """Kill everything."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        for task in self._returns:
            task.cancel()
        await asyncio.gather(*self._returns, return_exceptions=True)
        for member in reversed(list(self.members.values())):
            member.reap()
        await self.network.close()

    def kill(self, name: str) -> None:
        """kill -9."""
        member = self.members[name]
        self.expected_dead.add(member.pid)
        member.kill()

    def terminate(self, name: str) -> None:
        """SIGTERM."""
        member = self.members[name]
        self.expected_dead.add(member.pid)
        member.terminate()

    def client(self) -> nnpm.AsyncClient:
        """For packages and deployments, at the first scheduler."""
        first = self.schedulers[0]
        return nnpm.AsyncClient(
            registry=self._service("registry", 1),
            artifact=self._service("artifact", 2),
            control=self.control_address(first),
            scheduler=self.data_address(first),
        )

    def _base(self, name: str) -> dict[str, str]:
        self.shims[name] = shim.Shim(self._library, self.folder / f"{name}.shim")
        kept = {variable: value for variable, value in os.environ.items() if not variable.startswith("NNPM_")}
        return kept | {"OMP_NUM_THREADS": "1"} | self.shims[name].environment

    def _add_services(self, workers: Sequence[str]) -> None:
        queue_host = self.network.host("redis", "queue")
        self.members["redis"] = self._queue = QueueServer(
            self.shape.redis,
            self.folder / "redis",
            f"{queue_host}:{self._first_port}",
            fsync=self.shape.fsync,
            environment=self._base("redis"),
            inside=self.network.inside("redis"),
        )
        registry, artifact = self._service("registry", 1), self._service("artifact", 2)
        shared = self.network.variables | {
            "NNPM_REGISTRY_ADDRESS": registry,
            "NNPM_ARTIFACT_ADDRESS": artifact,
            "NNPM_TRANSPORT": self.shape.transport,
            "NNPM_LOG_FORMAT": "json",
            "PYTHONUNBUFFERED": "1",
            "GRPC_ENABLE_FORK_SUPPORT": "0",
        }
        self._add("registry", shared, NNPM_REGISTRY_LISTEN=registry, NNPM_REGISTRY_DATABASE_URL=self._sql("registry"))
        packs = self.folder / "packs"
        packs.mkdir()
        self._add(
            "artifact",
            shared,
            NNPM_ARTIFACT_LISTEN=artifact,
            NNPM_ARTIFACT_DATABASE_URL=self._sql("artifact"),
            NNPM_ARTIFACT_STORE=packs.as_uri(),
        )
        for name in self.ports:
            self._add_scheduler(name, shared)
        for name in workers:
            self._add_worker(name, shared)

    def _add_scheduler(self, name: str, shared: Mapping[str, str]) -> None:
        self._add(
            name,
            shared,
            NNPM_REDIS_URL=f"redis://{self.to_redis[name].address}/0",
            NNPM_SCHEDULER_LISTEN=self.data_address(name),
            NNPM_CONTROL_LISTEN=self.control_address(name),
            NNPM_MESH_LISTEN=f"{self.network.host(name, 'mesh')}:{self.ports[name].mesh}",
            NNPM_MESH_ADVERTISE=self.to_mesh[name].address,
            NNPM_METRICS_LISTEN=self.metrics_address(name),
            NNPM_SCHEDULER_DATABASE_URL=self._sql("scheduler"),
        )

    def _add_worker(self, name: str, shared: Mapping[str, str]) -> None:
        self._add(
            name,
            shared,
            NNPM_REDIS_URL=f"redis://{self.to_redis[name].address}/0",
            NNPM_WORKER_NAME=name,
            NNPM_WORKER_CACHE_DIR=str(self.folder / "cache"),
            NNPM_WORKER_THREADS="1",
            NNPM_WORKER_MEMORY_BYTES=str(1 << 30),
            PYTHONPATH=os.pathsep.join(filter(None, (str(RUNTIME), os.environ.get("PYTHONPATH", "")))),
            **{JOURNAL: str(self.journals)},
        )

    def _add(self, name: str, shared: Mapping[str, str], **own: str) -> None:
        command = [*self.network.inside(name), sys.executable, "-m", f"nnpm_{name.partition('-')[0]}"]
        environment = self._base(name) | dict(shared) | own
        self.members[name] = Member(name, command, self.folder / f"{name}.log", environment)

    def _service(self, name: str, offset: int) -> str:
        return f"{self.network.host(name, 'front')}:{self._first_port + offset}"

    def _sql(self, name: str) -> str:
        return f"sqlite:///{self.folder / name}.db"

    async def _deploy(self) -> None:
        until = time.monotonic() + START_SECONDS
        async with self.client() as client:
            while True:
                try:
                    await self._deploy_with(client)
                except NnpmError as error:
                    if time.monotonic() > until:
                        raise MeshError(f"the mesh is not ready after {START_SECONDS:g} s: {error}") from error
                    await asyncio.sleep(0.5)
                else:
                    return

    async def _deploy_with(self, client: nnpm.AsyncClient) -> None:
        everywhere = self.shape.workers
        for deployment, replicas in ((NEVER, 1), (QUICK, everywhere), (MODEL, everywhere)):
            await client.publish(_package(self.folder / deployment, deployment))
            await client.deploy(f"chaos/{deployment}", name=deployment, replicas=replicas, wait=deployment != NEVER)

    async def _keep(self) -> None:
        """Who is dead and wanted is started again."""
        dead: dict[str, float] = {}
        while True:
            now = time.monotonic()
            for name, member in self.members.items():
                if member.wanted and not member.alive and member.pid:
                    if name not in dead:
                        dead[name] = now
                        self._died(name, member, now)
                    elif now - dead[name] >= RESTART_AFTER:
                        del dead[name]
                        member.start()
            await asyncio.sleep(LOOK_EVERY)

    def _died(self, name: str, member: Member, now: float) -> None:
        if member.exit_code:
            self.history.deaths[member.pid] = now
        lethal = name.startswith("worker-") and member.exit_code == -9
        if member.pid not in self.expected_dead and not lethal:
            self.unasked.append(f"{name} ended by itself with code {member.exit_code}: {member.log_end(600)}")
        if name in self.ports:
            task = asyncio.create_task(self._until_up(name, now))
            self._returns.add(task)
            task.add_done_callback(self._returns.discard)

    async def _until_up(self, scheduler: str, since: float) -> None:
        """Notes for how long a scheduler was down."""
        while True:
            await asyncio.sleep(LOOK_EVERY)
            try:
                host, _, port = self.data_address(scheduler).rpartition(":")
                _, writer = await asyncio.open_connection(host, int(port))
            except OSError:
                continue
            writer.close()
            break
        self.history.troubles.append(Trouble("down", scheduler, since - 1.0, time.monotonic()))


def _package(folder: Path, runtime: str) -> Path:
    """A package for a runtime of ours; its ONNX file only says what goes in and comes out."""
    folder.mkdir(exist_ok=True)
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "chaos",
        [helper.make_tensor_value_info("x", TensorProto.INT64, ["n", WIDTH])],
        [helper.make_tensor_value_info("y", TensorProto.INT64, ["n", WIDTH])],
    )
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 17)])
    onnx.save(model, folder / "model.onnx")
    (folder / "nnpm.toml").write_text(
        f'name = "chaos/{runtime}"\nversion = "1.0.0"\nlicense = "Apache-2.0"\n'
        f'model = "model.onnx"\nruntime = "{runtime}"\nbatch_axis = 0\n'
    )
    return folder
