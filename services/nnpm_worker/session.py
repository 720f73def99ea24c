"""The Session with the scheduler process at one mesh address: this worker's end of the stream, dialled again and again.

The wire is `nnpm.api.worker.v1.WorkerService/Session`; what it says is translated here, and nowhere else.
"""

import asyncio
import os
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Protocol

from nnpm.api.worker.v1 import worker_pb2 as wire
from nnpm.errors import DataLoss, NnpmError, Unavailable
from nnpm.package.digest import digest_of
from nnpm.package.manifest import Manifest
from nnpm.rpc.status import to_status
from nnpm.telemetry.logs import get_logger
from nnpm_worker.models import ModelState, ModelStatus
from nnpm_worker.replica import Batching, Revision
from nnpm_worker.runtime import Signature, TensorSpec

if TYPE_CHECKING:
    # Typing only: the generated module has one stub class for both kinds of channel.
    from nnpm.api.worker.v1.worker_pb2_grpc import WorkerServiceAsyncStub

_WELCOME_SECONDS = 2.0
_WRITTEN_SECONDS = 0.5
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 0.25  # seconds between dials: a restarted scheduler serves nothing without them

_CLOCKS = 8  # heartbeats; two clocks drift by some microseconds in that time

_log = get_logger("session")


@dataclass(frozen=True, slots=True)
class WorkerFacts:
    """What this worker says of itself. Memory in bytes."""

    incarnation: str
    name: str
    memory_bytes: int
    cores: int
    providers: tuple[str, ...]
    runtimes: tuple[str, ...]


class Commands(Protocol):
    """What a scheduler makes this worker do."""

    def statuses(self) -> Sequence[ModelStatus]:
        """Of every replica here, for a scheduler that comes later or again."""

    def load(self, revision: Revision, token: int) -> None: ...
    def refuse(self, revision: str, token: int, error: NnpmError) -> None: ...
    def unload(self, revision: str, token: int) -> None: ...
    def cancel(self, scheduler: str, numbers: Sequence[int]) -> None: ...
    def drain(self) -> None: ...
    def session_opened(self, address: str, scheduler: str) -> None: ...
    def session_closed(self, address: str) -> None: ...


class Session:
    """One address, whoever answers there.

    Args:
        address: of the mesh listener.
        service: a stub on a channel to it.
        facts: for Hello.
        commands: what to do.
        lease: seconds; a scheduler that is silent for twice as long is dialled anew.
    """

    def __init__(
        self, address: str, service: "WorkerServiceAsyncStub", facts: WorkerFacts, commands: Commands, *, lease: float
    ) -> None:
        self._address = address
        self._service = service
        self._facts = facts
        self._commands = commands
        self._lease = lease
        self._up: _Outgoing | None = None
        self._begins: dict[int, asyncio.Future[bool]] = {}
        self._offsets: deque[int] = deque(maxlen=_CLOCKS)
        self.scheduler = ""
        """The incarnation that answered last."""
        self.clock_offset_ns = 0
        """The scheduler's monotonic clock minus this process's."""

    async def run(self) -> None:
        """Keep the Session up until cancelled."""
        pause = _FIRST_PAUSE
        told = False
        while True:
            try:
                await self._hold()
            except (NnpmError, TimeoutError) as error:
                if self._up is not None:
                    pause, told = _FIRST_PAUSE, False
                if not told:
                    _log.warning(
                        "no Session with the scheduler", address=self._address, why=str(error) or "it is silent"
                    )
                    told = True
            finally:
                self._close()
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def beat(self, in_hand: int, used_bytes: int) -> None:
        """Say that this worker lives."""
        self._send(wire.SessionRequest(heartbeat=wire.WorkerHeartbeat(in_hand=in_hand, used_memory_bytes=used_bytes)))

    def tell(self, status: ModelStatus) -> None:
        """Say where a replica stands."""
        self._send(wire.SessionRequest(model_status=_status(status)))

    def drained(self) -> None:
        """Say that nothing is in hand, and that nothing more is taken."""
        self._send(wire.SessionRequest(drained=wire.Drained()))

    async def written(self) -> None:
        """Returns once everything that was said has gone out, or after a moment."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_WRITTEN_SECONDS):
                if self._up is not None:
                    await self._up.written()

    async def begin(self, number: int, nonce: int, entry: bytes) -> bool:
        """Ask whether a suspect may be run. Raises Unavailable when the Session breaks, TimeoutError after a lease."""
        if self._up is None:
            raise Unavailable("SERVER_UNREACHABLE", "there is no Session")
        answer = self._begins.setdefault(number, asyncio.get_running_loop().create_future())
        self._send(wire.SessionRequest(begin=wire.Begin(number=number, nonce=nonce, entry=entry)))
        async with asyncio.timeout(self._lease):
            return await asyncio.shield(answer)

    def _send(self, message: wire.SessionRequest) -> None:
        if self._up is not None:
            self._up.send(message)

    async def _hold(self) -> None:
        up = _Outgoing()
        up.send(wire.SessionRequest(hello=self._hello()))
        down = aiter(self._service.Session(up))
        try:
            self._welcomed((await _next(down, _WELCOME_SECONDS)).welcome, up)
            while True:
                self._obey(await _next(down, 2 * self._lease))
        finally:
            up.close()

    def _welcomed(self, welcome: wire.Welcome, up: "_Outgoing") -> None:
        self.scheduler = welcome.scheduler
        self._offsets.clear()
        self._set_clock(welcome.clock_ns)
        self._up = up
        # What changed between Hello and Welcome was told to nobody.
        for status in self._commands.statuses():
            self.tell(status)
        _log.info("Session opened", address=self._address, scheduler=self.scheduler)
        self._commands.session_opened(self._address, self.scheduler)

    def _close(self) -> None:
        if self._up is None:
            return
        self._up = None
        for answer in self._begins.values():
            if not answer.done():
                answer.set_exception(Unavailable("SERVER_UNREACHABLE", "the Session broke"))
        self._begins.clear()
        self._commands.session_closed(self._address)

    def _obey(self, message: wire.SessionResponse) -> None:
        kind = message.WhichOneof("message")
        if kind == "heartbeat":
            self._set_clock(message.heartbeat.clock_ns)
        elif kind == "load":
            self._load(message.load)
        elif kind == "unload":
            self._commands.unload(message.unload.revision, message.unload.fencing_token)
        elif kind == "cancel":
            self._commands.cancel(self.scheduler, message.cancel.numbers)
        elif kind == "go":
            self._begun(message.go.number, go=True)
        elif kind == "not_wanted":
            self._begun(message.not_wanted.number, go=False)
        elif kind == "drain":
            self._commands.drain()
        # Peers repeats what the list in Redis says; what a newer scheduler may add is not for this version.

    def _load(self, load: wire.Load) -> None:
        try:
            revision = _revision(load)
        except NnpmError as error:
            self._commands.refuse(load.revision, load.fencing_token, error)
        else:
            self._commands.load(revision, load.fencing_token)

    def _begun(self, number: int, *, go: bool) -> None:
        answer = self._begins.pop(number, None)
        if answer is not None and not answer.done():
            answer.set_result(go)

    def _set_clock(self, clock_ns: int) -> None:
        # Each message is some time under way, by which its offset is too small: of the last ones the largest is best.
        self._offsets.append(clock_ns - time.monotonic_ns())
        self.clock_offset_ns = max(self._offsets)

    def _hello(self) -> wire.Hello:
        facts = self._facts
        return wire.Hello(
            incarnation=facts.incarnation,
            name=facts.name,
            version=version("nnpm"),
            memory_bytes=facts.memory_bytes,
            cores=facts.cores,
            providers=facts.providers,
            runtimes=facts.runtimes,
            models=[_status(status) for status in self._commands.statuses()],
            pid=os.getpid(),
        )


class _Outgoing(AsyncIterator[wire.SessionRequest]):
    """What goes up. Not an async generator: gRPC would close it while it runs, and leave its own task pending."""

    def __init__(self) -> None:
        self._messages: asyncio.Queue[wire.SessionRequest | None] = asyncio.Queue()
        self._taken = False

    def send(self, message: wire.SessionRequest) -> None:
        self._messages.put_nowait(message)

    def close(self) -> None:
        self._messages.put_nowait(None)

    async def written(self) -> None:
        """Returns once everything that was sent has gone out: gRPC takes the next message when the last is written."""
        await self._messages.join()

    async def __anext__(self) -> wire.SessionRequest:
        if self._taken:
            self._messages.task_done()
        message = await self._messages.get()
        self._taken = True
        if message is None:
            raise StopAsyncIteration
        return message


async def _next(down: AsyncIterator[wire.SessionResponse], seconds: float) -> wire.SessionResponse:
    """The next message. Raises TimeoutError, or Unavailable at the Session's end."""
    async with asyncio.timeout(seconds):
        try:
            return await anext(down)
        except StopAsyncIteration:
            raise Unavailable("SERVER_STOPPING", "the scheduler ended the Session") from None


def _status(status: ModelStatus) -> wire.ModelStatus:
    return wire.ModelStatus(
        revision=status.revision,
        state=_STATES[status.state],
        error=to_status(status.error) if status.error else None,
        memory_bytes=status.memory_bytes,
        batched=status.rows > 1,
        max_batch_size=status.rows,
        fencing_token=status.token,
        providers=status.providers,
    )


def _revision(load: wire.Load) -> Revision:
    """What a Load asks for, once its manifest is what its digest says."""
    if digest_of(load.manifest) != load.manifest_digest:
        raise DataLoss("CONTENT_MISMATCH", "the manifest is not what its digest says")
    return Revision(
        id=load.revision,
        namespace=load.namespace,
        version=load.version,
        manifest=Manifest.parse(load.manifest),
        signature=Signature(_specs(load.inputs), _specs(load.outputs)),
        batching=_batching(load.batching),
    )


def _batching(batching: wire.Batching) -> Batching:
    longest = batching.max_queue_delay_us / 1e6 if batching.HasField("max_queue_delay_us") else None
    return Batching(batching.max_batch_size, longest, tuple(batching.preferred_batch_sizes))


def _specs(specs: Sequence[wire.TensorSpec]) -> tuple[TensorSpec, ...]:
    return tuple(
        # An optional input has a default in the graph; probe and warm-up leave it out.
        TensorSpec(spec.name, spec.datatype, None if spec.unranked else tuple(spec.shape))
        for spec in specs
        if not spec.optional
    )


_STATES = {state: wire.ModelState.Value(f"MODEL_STATE_{state.name}") for state in ModelState}
