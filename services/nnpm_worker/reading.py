"""The loop that reads Redis, and sends the heartbeats: a worker whose loop stands still is silent, and taken for dead.

One turn: a heartbeat if it is time; XDEL, XACK of what was answered and reads for every idle replica, in one pipeline;
runs started. With empty hands the turn ends in a blocking read of one entry; else in waiting for a run or a Deliver to
end. (Dispatch protocol, rules 2, 5 and 6.)
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from redis.asyncio import Redis

from nnpm.queue.groups import leave_group, make_group
from nnpm.telemetry.logs import get_logger
from nnpm_worker.hands import Hands, HeldState
from nnpm_worker.intake import Intake
from nnpm_worker.replica import Replica
from nnpm_worker.serving import Server, Serving
from nnpm_worker.stream import MOST_STREAMS, REDIS_ERRORS, Received, StreamConnection

_RETRY_SECONDS = 0.2  # between tries to reach Redis
_LOOK_AGAIN_SECONDS = 0.005
_UNBLOCK_SECONDS = 0.05

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
        redis: for everything but the reading itself, which has a connection of its own.
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
        self._last_beat = 0.0
        self._last_look = 0.0
        self._turn = 0
        self._draining = False
        self._drained = False
        self._stopping = False
        self.connected = False
        """Whether Redis is in reach."""

    async def run(self) -> None:
        """Read until `stop` was called and nothing is in hand any more."""
        while not self._is_done():
            try:
                connection = await StreamConnection.open(self._redis, self._consumer)
            except REDIS_ERRORS as error:
                await self._without_redis(error)
                continue
            try:
                await self._read(connection)
            except REDIS_ERRORS as error:
                await self._without_redis(error)
            finally:
                await connection.close()
        self._say_drained()

    def drain(self) -> None:
        """Read nothing more, and say so once nothing is in hand; heartbeats go on."""
        self._draining = True
        self._changed.set()

    def stop(self) -> None:
        """Drain, and end the loop."""
        self._stopping = True
        self.drain()

    async def join(self, replica: Replica) -> None:
        """Make the group of a replica's revision and begin to read it; waits for Redis as long as it takes."""
        revision = replica.revision.id
        while True:
            try:
                await make_group(self._redis, revision)
                break
            except REDIS_ERRORS as error:
                _log.warning("the group cannot be made yet", revision=revision, why=str(error))
                await asyncio.sleep(_RETRY_SECONDS)
        self._serving.servers[revision] = Server(replica, replica.revision.batching.patience(replica.plan.rows))
        self._changed.set()

    async def leave(self, revision: str) -> None:
        """Stop reading a revision; returns when nothing of it is in hand, and its group is left."""
        server = self._serving.servers.get(revision)
        if server is None:
            return
        server.leaving = True
        self._changed.set()
        await server.left.wait()
        await self._leave_group(revision)

    async def leave_all(self) -> None:
        """Leave every group; the loop has ended."""
        for revision in list(self._serving.servers):
            await self._leave_group(revision)

    async def _leave_group(self, revision: str) -> None:
        # A janitor will do it where Redis is away.
        with suppress(*REDIS_ERRORS):
            await leave_group(self._redis, revision, self._consumer)

    def _say_drained(self) -> None:
        if self._draining and not self._drained and not self._hands:
            self._drained = True
            self._voice.drained()

    def _is_done(self) -> bool:
        return self._stopping and not self._hands

    async def _without_redis(self, error: BaseException) -> None:
        """What is in hand is run and delivered all the same; heartbeats go on; acknowledgements wait."""
        if self.connected:
            _log.warning("Redis is out of reach", why=str(error) or type(error).__name__)
        self.connected = False
        self._beat()
        self._intake.sort_parked()
        self._serving.start_runs()
        self._let_leave()
        await asyncio.sleep(_RETRY_SECONDS)

    async def _read(self, connection: StreamConnection) -> None:
        await self._recover(connection)
        self.connected = True
        while not self._is_done():
            self._changed.clear()
            self._beat()
            await self._look_after_parked(connection)
            acks, wants = self._hands.to_acknowledge(), self._wants()
            if acks or wants:
                received, missing = await connection.exchange(acks, wants)
                self._hands.acknowledged(acks)
                await self._make_groups(missing)
                self._accept(received)
            self._serving.start_runs()
            self._let_leave()
            self._say_drained()
            if not self._is_done() and not self._changed.is_set():
                await self._rest(connection)

    async def _rest(self, connection: StreamConnection) -> None:
        """With empty hands wait for one entry, else for a change; never beyond the next heartbeat.

        What is parked does not count: nothing is written for it. While one replica runs and another is idle, look again
        soon: a blocking read would hold up the acknowledgements of the one that runs.
        """
        revisions = self._revisions_to_wait_for()
        seconds = max(0.001, self._last_beat + self._lease / 2 - time.monotonic())
        if not revisions or not self._hands.at_rest:
            await self._wait_for_change(min(seconds, _LOOK_AGAIN_SECONDS) if revisions else seconds)
            return
        reading = asyncio.ensure_future(connection.wait(revisions, min(seconds, self._lease / 4)))
        changing = asyncio.ensure_future(self._changed.wait())
        try:
            await asyncio.wait((reading, changing), return_when=asyncio.FIRST_COMPLETED)
            while not reading.done():
                # Again and again, since it does nothing when it overtakes the read, which goes over another connection.
                await self._redis.client_unblock(connection.client_id)
                await asyncio.wait((reading,), timeout=_UNBLOCK_SECONDS)
            received, missing = await reading
        finally:
            changing.cancel()
            reading.cancel()
        await self._make_groups(missing)
        self._accept(received)
        if not any(self._serving.servers[item.revision].replica.plan.joins for item in received):
            self._serving.start_runs()
        # Else the next turn first reads what was written behind the one that ended the wait.

    async def _wait_for_change(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    def _beat(self) -> None:
        now = time.monotonic()
        # A little early, so that a turn that ends just before the time does not put it off by one more.
        if now - self._last_beat >= self._lease / 2 - 0.02:
            self._last_beat = now
            self._voice.beat(self._hands.requests)

    def _readable(self) -> bool:
        return not self._draining and not self._serving.suspect_is_near and self._voice.may_read()

    def _wants(self) -> dict[str, int]:
        if not self._readable():
            return {}
        wants = {revision: server.entries_wanted for revision, server in self._serving.servers.items()}
        return {revision: count for revision, count in wants.items() if count}

    def _revisions_to_wait_for(self) -> list[str]:
        """At most MOST_STREAMS of what is served, others in the next turn."""
        revisions = list(self._wants())
        if len(revisions) <= MOST_STREAMS:
            return revisions
        self._turn = (self._turn + MOST_STREAMS) % len(revisions)
        return (revisions + revisions)[self._turn : self._turn + MOST_STREAMS]

    async def _make_groups(self, missing: list[str]) -> None:
        """Redis lost a stream or its group, as in a restart with a lost tail: whoever notices makes it, from id 0."""
        for revision in missing:
            if revision in self._serving.servers:
                await make_group(self._redis, revision)

    async def _recover(self, connection: StreamConnection) -> None:
        """Rule 2: a new connection begins with this consumer's own pending entries."""
        for revision in self._serving.servers:
            pending = await connection.pending(revision)
            self._accept(pending)
            self._intake.forget_taken_back(revision, {item.id for item in pending})

    async def _look_after_parked(self, connection: StreamConnection) -> None:
        """Parked entries come back, or go: with their Session, their scheduler, or their place in the pending list."""
        if not self._hands.in_state(HeldState.PARKED):
            return
        self._intake.sort_parked()
        now = time.monotonic()
        if now - self._last_look >= self._lease:
            self._last_look = now
            for revision in {held.revision for held in self._hands.in_state(HeldState.PARKED)}:
                pending = await connection.pending(revision)
                self._intake.forget_taken_back(revision, {item.id for item in pending})

    def _accept(self, received: Sequence[Received]) -> None:
        for held in self._intake.accept(received):
            server = self._serving.servers.get(held.revision)
            if server is not None:
                server.saw(held)

    def _let_leave(self) -> None:
        """Replicas that leave are let go once nothing of theirs is in hand."""
        for revision, server in list(self._serving.servers.items()):
            if server.leaving and not server.busy and not self._hands.of(revision):
                del self._serving.servers[revision]
                server.left.set()
