"""The replicas of this worker: Load and Unload, in the background, one load at a time."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from enum import Enum, auto

from nnpm.errors import Internal, NnpmError, ResourceExhausted
from nnpm.telemetry.logs import get_logger
from nnpm_worker.packages import Packages
from nnpm_worker.plugins import Runtimes
from nnpm_worker.replica import LoadLimits, Replica, Revision, open_replica

_log = get_logger("models")


class ModelState(Enum):
    """Where a replica stands; the names are those of the protocol."""

    FETCHING = auto()
    LOADING = auto()
    READY = auto()
    UNLOADING = auto()
    UNLOADED = auto()
    FAILED = auto()


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """What schedulers are told of a replica. `error` is set when FAILED; the rest once READY."""

    revision: str
    state: ModelState
    token: int
    error: NnpmError | None = None
    memory_bytes: int = 0
    rows: int = 1
    providers: tuple[str, ...] = ()


class Traffic:
    """What the reading loop does for a replica. Handed to Models so that the two need not know each other."""

    def __init__(self, join: Callable[[Replica], Awaitable[None]], leave: Callable[[str], Awaitable[None]]) -> None:
        self.join = join
        """Make the group and begin to read."""
        self.leave = leave
        """Stop reading; returns when nothing of that revision is in hand."""


@dataclass(slots=True)
class _Slot:
    status: ModelStatus
    replica: Replica | None = None
    task: asyncio.Task[None] | None = None


class Models:
    """What is loaded, being loaded, and going.

    Args:
        packages: where files come from.
        runtimes: what loads them.
        limits: of every load.
        memory_bytes: that all models together may take.
        traffic: of ready replicas.
        tell: called at every change of a status.
        count: called with the number of loaded replicas when it changes.
    """

    def __init__(
        self,
        *,
        packages: Packages,
        runtimes: Runtimes,
        limits: LoadLimits,
        memory_bytes: int,
        traffic: Traffic,
        tell: Callable[[ModelStatus], None],
        count: Callable[[int], None],
    ) -> None:
        self._packages = packages
        self._runtimes = runtimes
        self._limits = limits
        self._memory_bytes = memory_bytes
        self._traffic = traffic
        self._tell = tell
        self._count = count
        self._slots: dict[str, _Slot] = {}
        self._one_load = asyncio.Lock()
        self._token = 0
        self._closed = False
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def statuses(self) -> list[ModelStatus]:
        """Of every replica that is known here."""
        return [slot.status for slot in self._slots.values()]

    @property
    def used_bytes(self) -> int:
        """What the loaded models take."""
        return sum(slot.status.memory_bytes for slot in self._slots.values())

    def load(self, revision: Revision, token: int) -> None:
        """Begin to load, unless it is there or on its way. A smaller fencing token than seen before changes nothing."""
        if not self._accepts(token):
            return
        slot = self._slots.get(revision.id)
        if slot is None:
            self._slots[revision.id] = slot = _Slot(ModelStatus(revision.id, ModelState.FETCHING, token))
            slot.task = self._start(self._load(slot, revision))
        elif slot.status.state is ModelState.UNLOADING:
            # It is on its way out: bring it back once it is gone.
            slot.task = self._start(self._load_after(slot.task, revision, token))
        else:
            slot.status = replace(slot.status, token=token)
            self._tell(slot.status)

    def refuse(self, revision: str, token: int, error: NnpmError) -> None:
        """Answer a Load that cannot even begin."""
        if self._accepts(token):
            self._tell(ModelStatus(revision, ModelState.FAILED, token, error))

    def unload(self, revision: str, token: int) -> None:
        """Begin to unload. A smaller fencing token than seen before changes nothing."""
        if not self._accepts(token):
            return
        slot = self._slots.get(revision)
        if slot is None:
            self._tell(ModelStatus(revision, ModelState.UNLOADED, token))
        elif slot.status.state is not ModelState.UNLOADING:
            loading = slot.task if slot.replica is None else None
            self._change(
                slot, ModelStatus(revision, ModelState.UNLOADING, token, memory_bytes=slot.status.memory_bytes)
            )
            slot.task = self._start(self._unload(slot, token, loading))

    async def close(self) -> None:
        """Give up what is loading, and free what is loaded; the traffic has ended already.

        Commands that still come change nothing: the end of the Session tells their schedulers.
        """
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for slot in self._slots.values():
            if slot.replica is not None:
                await slot.replica.close()
        self._slots.clear()
        self._count(0)

    def _accepts(self, token: int) -> bool:
        if self._closed:
            return False
        if token < self._token:
            _log.warning("a command of a deposed leader is ignored", token=token, seen=self._token)
            return False
        self._token = token
        return True

    def _start(self, work: Awaitable[None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _change(self, slot: _Slot, status: ModelStatus) -> None:
        slot.status = status
        self._tell(status)
        self._count(sum(other.replica is not None for other in self._slots.values()))

    async def _load_after(self, before: asyncio.Task[None] | None, revision: Revision, token: int) -> None:
        if before is not None:
            await before
        self.load(revision, token)

    async def _load(self, slot: _Slot, revision: Revision) -> None:
        try:
            async with self._one_load:
                await self._open_guarded(slot, revision)
        except NnpmError as error:
            self._fail(slot, error)

    async def _open_guarded(self, slot: _Slot, revision: Revision) -> None:
        try:
            await self._open(slot, revision)
        except NnpmError:
            raise
        except Exception as error:
            # A fault of this code: the schedulers shall hear of it, and other models be loaded.
            _log.exception("loading failed", revision=revision.id)
            raise Internal("INTERNAL_ERROR", f"the worker failed to load the model: {error}") from error

    def _fail(self, slot: _Slot, error: NnpmError) -> None:
        revision, token = slot.status.revision, slot.status.token
        _log.warning("a model could not be loaded", revision=revision, reason=error.reason, why=error.message)
        # Forgotten: a later Load of the same revision begins anew.
        self._slots.pop(revision, None)
        self._change(slot, ModelStatus(revision, ModelState.FAILED, token, error))

    async def _open(self, slot: _Slot, revision: Revision) -> None:
        self._runtimes.check(revision.manifest)
        size = revision.manifest.size
        if self.used_bytes + size > self._memory_bytes:
            raise ResourceExhausted(
                "OUT_OF_MEMORY",
                f"the model takes {size} bytes; {self.used_bytes} of this worker's {self._memory_bytes} are taken",
                hint="unload another model, or raise NNPM_WORKER_MEMORY_BYTES",
            )
        self._change(slot, ModelStatus(revision.id, ModelState.FETCHING, slot.status.token))
        package = await self._packages.open(revision.namespace, revision.manifest)
        try:
            self._change(slot, ModelStatus(revision.id, ModelState.LOADING, slot.status.token))
            replica = await open_replica(revision, package, self._runtimes, self._limits)
        except BaseException:
            package.close()
            raise
        slot.replica = replica
        await self._traffic.join(replica)
        self._change(slot, _ready(replica, slot.status.token))

    async def _unload(self, slot: _Slot, token: int, loading: asyncio.Task[None] | None) -> None:
        revision = slot.status.revision
        if loading is not None:
            loading.cancel()
            await asyncio.gather(loading, return_exceptions=True)
        if slot.replica is not None:
            await self._traffic.leave(revision)
            await slot.replica.close()
            slot.replica = None
        self._slots.pop(revision, None)
        self._change(slot, ModelStatus(revision, ModelState.UNLOADED, token))


def _ready(replica: Replica, token: int) -> ModelStatus:
    return ModelStatus(
        replica.revision.id,
        ModelState.READY,
        token,
        memory_bytes=replica.memory_bytes,
        rows=replica.plan.rows,
        providers=replica.providers,
    )
