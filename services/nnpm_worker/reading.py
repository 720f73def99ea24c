"""What is read when, and the heartbeats: a worker whose loop stands still is silent, and taken for dead.

Each replica's stream is read by a `Reader` of its own; here is decided whether anything may be read at all, replicas
come and go, and what is parked is looked after. (Dispatch protocol, rules 3 and 6.)
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from redis.asyncio import Redis

from nnpm.telemetry.logs import get_logger
from nnpm_worker.control import Control
from nnpm_worker.hands import Hands, HeldState
from nnpm_worker.intake import Intake
from nnpm_worker.reader import Reader
from nnpm_worker.replica import Replica
from nnpm_worker.server import Server
from nnpm_worker.serving import Serving

_TICK_SECONDS = 0.05
_BUSY_TICK_SECONDS = 0.005
"""Between two looks while something is waited for here: an empty hand, a suspect."""

_log = get_logger("reading")


@dataclass(frozen=True, slots=True)
class Voice:
    """What the loop asks and says on the Sessions.

    Attributes:
        may_read: whether requests may be taken (rule 6).
        beat: sends a heartbeat that says how many requests are in hand.
        drained: says that nothing is in hand and nothing more is taken.
    """

    may_read: Callable[[], bool]
    beat: Callable[[int], None]
    drained: Callable[[], None]


class Reading:
    """See the module.

    Args:
        redis: where the streams lie.
        consumer: this worker's incarnation.
        hands: what is in hand.
        intake: takes what was read in hand.
        serving: runs it.
        voice: on the Sessions.
        changed: set by whoever gives this loop something to do.
        lease: seconds.
    """

    def __init__(
        self,
        *,
        redis: Redis,
        consumer: str,
        hands: Hands,
        intake: Intake,
        serving: Serving,
        voice: Voice,
        changed: asyncio.Event,
        lease: float,
    ) -> None:
        self._redis = redis
        self._consumer = consumer
        self._hands = hands
        self._intake = intake
        self._serving = serving
        self._voice = voice
        self._changed = changed
        self._lease = lease
        self._control = Control(redis)
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._alone: asyncio.Task[None] | None = None
        self._last_beat = 0.0
        self._may_read = False
        self._draining = False
        self._drained = False
        self._stopping = False

    @property
    def connected(self) -> bool:
        """Whether Redis is in reach."""
        return self._control.connected

    async def run(self) -> None:
        """Look after everything until `stop` was called and nothing is in hand any more."""
        tasks = [asyncio.create_task(self._control.run()), asyncio.create_task(self._watch_parked())]
        try:
            while not self._is_done():
                self._changed.clear()
                self._beat()
                self._look_after_parked()
                self._look_after_reads()
                self._look_after_suspect()
                self._let_leave()
                self._say_drained()
                await self._rest()
            self._say_drained()
        finally:
            await _end([*tasks, *self._readers.values(), *filter(None, [self._alone])])

    def drain(self) -> None:
        """Read nothing more, and say so once nothing is in hand; heartbeats go on."""
        self._draining = True
        self._changed.set()

    def stop(self) -> None:
        """Drain, and end the loop."""
        self._stopping = True
        self.drain()

    async def join(self, replica: Replica) -> None:
        """Begin to read a replica's stream; waits for Redis as long as it takes."""
        revision = replica.revision.id
        server = Server(replica, self._serving.see_to)
        server.reader = Reader(
            revision,
            redis=self._redis,
            consumer=self._consumer,
            control=self._control,
            hands=self._hands,
            intake=self._intake,
            came=self._serving.came,
            wanted=lambda: server.entries_wanted if self._taking else 0,
        )
        self._serving.servers[revision] = server
        self._readers[revision] = asyncio.create_task(server.reader.run(), name=f"reader-{revision}")
        await server.reader.opened.wait()

    async def leave(self, revision: str) -> None:
        """Stop reading a revision; returns when nothing of it is in hand, and its group is left."""
        server = self._serving.servers.get(revision)
        if server is None:
            return
        server.leaving = True
        self._changed.set()
        await server.left.wait()
        await _end([self._readers.pop(revision)])
        await server.reader.leave()
        server.close()

    async def leave_all(self) -> None:
        """Leave every group; the loop has ended."""
        for server in self._serving.servers.values():
            await server.reader.leave()

    @property
    def _taking(self) -> bool:
        return self._may_read and not self._draining and self._serving.suspect is None

    def _look_after_reads(self) -> None:
        """What changes with time, and with the Sessions, is noticed here and not at every read."""
        self._may_read = self._voice.may_read()
        for server in self._serving.servers.values():
            server.reader.check()
            if self._taking and not server.leaving:
                server.reader.want()
            else:
                server.reader.end_read()

    def _look_after_parked(self) -> None:
        """Parked entries come back with their Session, or go with their scheduler."""
        parked = self._hands.in_state(HeldState.PARKED)
        if not parked:
            return
        self._serving.came(self._intake.sort_parked())
        for revision in {held.revision for held in parked}:
            self._serving.servers[revision].reader.acknowledge_soon()

    def _look_after_suspect(self) -> None:
        """Rule 3: one runs once everything else in hand is answered, and nothing is read meanwhile."""
        if self._alone is not None:
            if not self._alone.done():
                return
            self._alone.result()  # a fault of this code ends the worker
            self._alone = None
        if self._serving.suspect is not None and self._is_quiet():
            self._alone = asyncio.create_task(self._serving.run_suspect(self._serving.suspect))

    def _is_quiet(self) -> bool:
        others = [held.state for held in self._hands if held is not self._serving.suspect]
        return not self._reads and HeldState.WAITING not in others and HeldState.RUNNING not in others

    def _let_leave(self) -> None:
        """Replicas that leave are let go once nothing of theirs is in hand."""
        for revision, server in list(self._serving.servers.items()):
            if server.leaving and not server.reader.reading and not self._hands.of(revision):
                del self._serving.servers[revision]
                server.left.set()

    def _beat(self) -> None:
        now = time.monotonic()
        # A little early, so that a turn that ends just before the time does not put it off by one more.
        if now - self._last_beat >= self._lease / 2 - _TICK_SECONDS:
            self._last_beat = now
            self._voice.beat(self._hands.requests)

    def _say_drained(self) -> None:
        if self._draining and not self._drained and self._at_rest:
            self._drained = True
            self._voice.drained()

    def _is_done(self) -> bool:
        return self._stopping and self._at_rest

    @property
    def _at_rest(self) -> bool:
        """Nothing is in hand, and no read is outstanding that could bring something."""
        return not self._hands and not self._reads

    @property
    def _reads(self) -> bool:
        """Whether any read is outstanding."""
        return any(server.reader.reading for server in self._serving.servers.values())

    async def _rest(self) -> None:
        waited_for = self._draining or self._serving.suspect or any(s.leaving for s in self._serving.servers.values())
        with suppress(TimeoutError):
            async with asyncio.timeout(_BUSY_TICK_SECONDS if waited_for else _TICK_SECONDS):
                await self._changed.wait()

    async def _watch_parked(self) -> None:
        """What is parked and no longer pending with this worker was taken back by its scheduler."""
        while True:
            await asyncio.sleep(self._lease)
            for revision in {held.revision for held in self._hands.in_state(HeldState.PARKED)}:
                await self._serving.servers[revision].reader.forget_taken_back()


async def _end(tasks: Sequence[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
