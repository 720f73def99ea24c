"""Reads one replica's stream: keeps the connection, leaves one read outstanding, gives out what was answered.

(Dispatch protocol, rules 2 and 5.)
"""

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import cast

from redis.asyncio import Redis

from nnpm.queue.groups import leave_group, make_group
from nnpm.queue.keys import GROUP, requests_key
from nnpm.telemetry.logs import get_logger
from nnpm_worker.control import Control
from nnpm_worker.hands import Hands, Held
from nnpm_worker.intake import Intake
from nnpm_worker.stream import ANSWER_SECONDS, BLOCK_SECONDS, MOST_PENDING, REDIS_ERRORS, Ears, Received, RequestStream

_RETRY_SECONDS = 0.2  # between tries to reach Redis
_ACKNOWLEDGE_SECONDS = 0.005
"""For so long what was answered waits for a read to go with."""

_log = get_logger("reader")


class Reader:
    """See the module. All methods are called on the event loop.

    Args:
        revision: whose stream it reads.
        redis: where it lies.
        consumer: this worker's incarnation.
        control: a connection for what cannot wait behind a blocking read.
        hands: what is in hand.
        intake: takes what was read in hand.
        came: told what there is to run.
        wanted: how many entries may be taken now.
    """

    def __init__(
        self,
        revision: str,
        *,
        redis: Redis,
        consumer: str,
        control: Control,
        hands: Hands,
        intake: Intake,
        came: Callable[[Sequence[Held]], None],
        wanted: Callable[[], int],
    ) -> None:
        self._revision = revision
        self._redis = redis
        self._consumer = consumer
        self._control = control
        self._hands = hands
        self._intake = intake
        self._came = came
        self._wanted = wanted
        self._ears = Ears(self._received, self._acknowledged, self._missing, self._lost)
        self.opened = asyncio.Event()
        """Set once the stream was read for the first time."""
        self._stream: RequestStream | None = None
        self._broken = asyncio.Event()
        self._asked = 0.0
        self._acknowledging: asyncio.TimerHandle | None = None

    @property
    def reading(self) -> bool:
        """Whether a read is outstanding."""
        return self._stream is not None and self._stream.reading

    async def run(self) -> None:
        """Read until cancelled."""
        while True:
            try:
                await self._read_one_connection()
            except REDIS_ERRORS as error:
                _log.warning("the stream cannot be read", revision=self._revision, why=str(error) or repr(error))
            await asyncio.sleep(_RETRY_SECONDS)

    async def leave(self) -> None:
        """Leave the group; `run` has ended. A janitor does it where Redis is away."""
        with suppress(*REDIS_ERRORS):
            await leave_group(self._redis, self._revision, self._consumer)

    def want(self) -> None:
        """Leave a read outstanding if anything may be taken; what was answered goes with it."""
        stream = self._stream
        if stream is None or stream.reading:
            return
        count = self._wanted()
        if count:
            self._asked = time.monotonic()
            stream.read(count, self._hands.to_acknowledge(self._revision))

    def end_read(self) -> None:
        """End the read that is outstanding; it may bring something all the same.

        To be called again until it has ended: this does nothing when it overtakes the read, which goes over another
        connection.
        """
        if self._stream is not None and self._stream.reading:
            self._control.unblock(self._stream.client_id)

    def answered(self, held: Held) -> None:
        """An entry is done with; it is acknowledged with the next read, or in a moment."""
        self._hands.done(held)
        self.acknowledge_soon()

    def acknowledge_soon(self) -> None:
        """What is done with goes with the next read, or in a moment."""
        if self._acknowledging is None:
            self._acknowledging = asyncio.get_running_loop().call_later(_ACKNOWLEDGE_SECONDS, self._acknowledge)

    async def forget_taken_back(self) -> None:
        """What is parked and no longer pending with this worker was taken back by its scheduler."""
        key = requests_key(self._revision)
        with suppress(*REDIS_ERRORS):
            found = await self._redis.xpending_range(key, GROUP, "-", "+", MOST_PENDING, consumername=self._consumer)
            self._intake.forget_taken_back(self._revision, [cast("bytes", item["message_id"]) for item in found])

    def check(self) -> None:
        """Give the connection up if Redis has been silent for too long."""
        if self.reading and time.monotonic() - self._asked > BLOCK_SECONDS + ANSWER_SECONDS:
            self._lost(TimeoutError("Redis does not answer"))

    async def _read_one_connection(self) -> None:
        """Rule 2: a new connection begins with this consumer's own pending entries."""
        self._broken.clear()
        await make_group(self._redis, self._revision)
        stream = await RequestStream.open(self._redis, self._revision, self._consumer, self._ears)
        try:
            self._hands.acknowledge_again(self._revision)
            pending = await stream.pending()
            self._intake.forget_taken_back(self._revision, {item.id for item in pending})
            self._stream = stream
            self.opened.set()
            self._received(pending)
            self.acknowledge_soon()
            await self._broken.wait()
        finally:
            self._stream = None
            await stream.close()

    def _received(self, received: Sequence[Received]) -> None:
        new = self._intake.accept(received)
        if received and len(new) < len(received):
            self.acknowledge_soon()  # there may be some with nothing to run
        self._came(new)

    def _acknowledged(self, ids: Sequence[bytes]) -> None:
        self._hands.acknowledged(self._revision, ids)

    def _missing(self) -> None:
        """Redis lost the stream or its group, as in a restart with a lost tail: whoever notices makes it, from id 0."""
        self._lost(LookupError("its group is gone, and is made anew"))

    def _lost(self, error: Exception) -> None:
        if self._stream is not None:
            _log.warning("a connection to Redis is given up", revision=self._revision, why=str(error) or repr(error))
        self._broken.set()

    def _acknowledge(self) -> None:
        self._acknowledging = None
        ids = self._hands.to_acknowledge(self._revision)
        if not ids:
            return
        if self._stream is None:
            return  # the next connection begins with them
        if self._stream.reading:
            self._control.acknowledge(self._revision, ids, lambda: self._acknowledged(ids), self._unacknowledged)
        else:
            self._stream.acknowledge(ids)

    def _unacknowledged(self) -> None:
        self._hands.acknowledge_again(self._revision)
        self.acknowledge_soon()
