"""A worker that keeps a real Session with a scheduler and loads nothing: it answers commands as the test says."""

import asyncio
import contextlib
import uuid
from collections.abc import AsyncIterator
from typing import Self

from google.rpc.status_pb2 import Status

from nnpm.api.worker.v1 import worker_pb2 as pb
from nnpm.api.worker.v1 import worker_pb2_grpc
from nnpm.errors import NnpmError
from nnpm.rpc.channels import open_channel
from nnpm.rpc.status import to_status


class ScriptedWorker:
    """Connects, and again after a break, until it is left.

    Attributes:
        held: what it holds, revision id -> ModelState.
        loads: every Load that came.
        unloads: every Unload that came.
        cancelled: numbers of cancelled requests.
        refuse: what a Load is answered with instead of READY.
        hold: while True, a Load gets as far as LOADING.
        mute: while True, nothing is sent: the process hangs.
    """

    def __init__(self, address: str, name: str, *, memory: int = 0) -> None:
        self.name, self.incarnation = name, uuid.uuid4().hex
        self.held: dict[str, pb.ModelState] = {}
        self.loads: list[pb.Load] = []
        self.unloads: list[pb.Unload] = []
        self.cancelled: list[int] = []
        self.drained = False
        self.sessions = 0
        self.welcome = pb.Welcome()
        self.peers: list[pb.Peer] = []
        self.refuse: NnpmError | None = None
        self.hold = False
        self.mute = False
        self._address, self._memory = address, memory
        self._up: asyncio.Queue[pb.SessionRequest] = asyncio.Queue()
        self._running: asyncio.Task[None] | None = None
        self._session: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._running = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *details: object) -> None:
        await self.die()

    async def die(self) -> None:
        """Gone without a word."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    async def cut(self) -> None:
        """The Session breaks; the worker lives on and comes back."""
        if self._session is not None:
            self._session.cancel()
            await asyncio.gather(self._session, return_exceptions=True)

    @property
    def ready(self) -> list[str]:
        """The versions that it has warm."""
        versions = {load.revision: load.version for load in self.loads}
        return sorted(versions[id_] for id_, state in self.held.items() if state == pb.MODEL_STATE_READY)

    def finish(self) -> None:
        """What was held back becomes warm."""
        self.hold = False
        for revision, state in list(self.held.items()):
            if state == pb.MODEL_STATE_LOADING:
                self._tell(revision, pb.MODEL_STATE_READY)

    def say_drained(self) -> None:
        """It reads no more and is about to go."""
        self._up.put_nowait(pb.SessionRequest(drained=pb.Drained()))

    async def _run(self) -> None:
        async with open_channel(self._address) as channel:
            stub = worker_pb2_grpc.WorkerServiceStub(channel)
            while True:
                self._up = asyncio.Queue()
                self._session = asyncio.create_task(self._talk(stub))
                with contextlib.suppress(NnpmError, asyncio.CancelledError):
                    await asyncio.shield(self._session)
                if (current := asyncio.current_task()) and current.cancelling():
                    self._session.cancel()
                    return
                await asyncio.sleep(0.1)

    async def _talk(self, stub: worker_pb2_grpc.WorkerServiceStub) -> None:
        self.sessions += 1
        beating = asyncio.create_task(self._beat())
        try:
            async for response in stub.Session(self._requests()):
                self._obey(response)
        finally:
            beating.cancel()
            await asyncio.gather(beating, return_exceptions=True)

    async def _requests(self) -> AsyncIterator[pb.SessionRequest]:
        models = [pb.ModelStatus(revision=revision, state=state) for revision, state in self.held.items()]
        yield pb.SessionRequest(
            hello=pb.Hello(
                incarnation=self.incarnation,
                name=self.name,
                memory_bytes=self._memory,
                runtimes=["onnx"],
                models=models,
            )
        )
        while True:
            request = await self._up.get()
            if not self.mute:
                yield request

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            self._up.put_nowait(pb.SessionRequest(heartbeat=pb.WorkerHeartbeat(used_memory_bytes=7)))

    def _obey(self, response: pb.SessionResponse) -> None:
        match response.WhichOneof("message"):
            case "welcome":
                self.welcome = response.welcome
            case "peers":
                self.peers = list(response.peers.peers)
            case "load":
                self._load(response.load)
            case "unload":
                self.unloads.append(response.unload)
                self._tell(response.unload.revision, pb.MODEL_STATE_UNLOADED)
            case "cancel":
                self.cancelled += response.cancel.numbers
            case "drain":
                self.drained = True

    def _load(self, load: pb.Load) -> None:
        self.loads.append(load)
        self._tell(load.revision, pb.MODEL_STATE_FETCHING)
        if self.refuse is not None:
            self._tell(load.revision, pb.MODEL_STATE_FAILED, to_status(self.refuse))
            return
        self._tell(load.revision, pb.MODEL_STATE_LOADING)
        if not self.hold:
            self._tell(load.revision, pb.MODEL_STATE_READY)

    def _tell(self, revision: str, state: pb.ModelState, error: Status | None = None) -> None:
        if state in (pb.MODEL_STATE_UNLOADED, pb.MODEL_STATE_FAILED):
            self.held.pop(revision, None)
        else:
            self.held[revision] = state
        status = pb.ModelStatus(revision=revision, state=state, error=error, memory_bytes=1000)
        self._up.put_nowait(pb.SessionRequest(model_status=status))
