"""A link with every scheduler process: a Session, and a second connection for replies and bodies."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc.aio
from redis.asyncio import Redis

from nnpm.api.worker.v1.worker_pb2_grpc import WorkerServiceStub
from nnpm.errors import Unavailable
from nnpm.queue.schedulers import live_schedulers
from nnpm.telemetry.logs import get_logger
from nnpm_worker.models import ModelStatus
from nnpm_worker.schedulers import Schedulers
from nnpm_worker.session import Session
from nnpm_worker.stream import REDIS_ERRORS

if TYPE_CHECKING:
    # Typing only: the generated module has one stub class for both kinds of channel.
    from nnpm.api.worker.v1.worker_pb2_grpc import WorkerServiceAsyncStub

_LIST_SECONDS = 0.25  # between two looks at the list; a new scheduler waits for this worker no longer
_LIST_ANSWER_SECONDS = 1.5

OpenSession = Callable[[str, "WorkerServiceAsyncStub"], Session]

_log = get_logger("links")


@dataclass(frozen=True, slots=True)
class Link:
    """The connections to one mesh address."""

    session: Session
    task: asyncio.Task[None]
    replies: grpc.aio.Channel
    channels: tuple[grpc.aio.Channel, ...]


class Links:
    """Keeps a link with each listed scheduler.

    Args:
        redis: where the list lies.
        schedulers: told what the list says.
        open_channel: a channel to a mesh address.
    """

    def __init__(
        self,
        redis: Redis,
        schedulers: Schedulers,
        open_channel: Callable[[str], grpc.aio.Channel],
    ) -> None:
        self._redis = redis
        self._schedulers = schedulers
        self._open_channel = open_channel
        self._links: dict[str, Link] = {}

    async def run(self, open_session: OpenSession) -> None:
        """Watch the list until cancelled.

        Args:
            open_session: makes the Session for an address, on a stub.
        """
        try:
            while True:
                await self._look(open_session)
                await asyncio.sleep(_LIST_SECONDS)
        finally:
            await self._close(list(self._links))

    def session_with(self, scheduler: str) -> Session | None:
        """The live Session with that very scheduler."""
        if not self._schedulers.has_session(scheduler):
            return None
        return next((link.session for link in self._links.values() if link.session.scheduler == scheduler), None)

    def channel_at(self, address: str) -> grpc.aio.Channel:
        """The channel for replies to an address. Raises Unavailable when there is no link."""
        link = self._links.get(address)
        if link is None:
            raise Unavailable("SERVER_UNREACHABLE", f"there is no link with a scheduler at {address}")
        return link.replies

    def beat(self, in_hand: int, used_bytes: int) -> None:
        """Tell every scheduler that this worker lives."""
        for link in self._links.values():
            link.session.beat(in_hand, used_bytes)

    def tell(self, status: ModelStatus) -> None:
        """Tell every scheduler where a replica stands."""
        for link in self._links.values():
            link.session.tell(status)

    def drained(self) -> None:
        """Tell every scheduler that this worker takes nothing more."""
        for link in self._links.values():
            link.session.drained()

    async def written(self) -> None:
        """Returns once everything that was told has gone out, or after a moment."""
        await asyncio.gather(*(link.session.written() for link in self._links.values()))

    async def _look(self, open_session: OpenSession) -> None:
        try:
            async with asyncio.timeout(_LIST_ANSWER_SECONDS):
                live = await live_schedulers(self._redis)
        except REDIS_ERRORS:
            self._schedulers.list_unreadable()
            return
        self._schedulers.list_read(live)
        for address in {scheduler.address for scheduler in live} - self._links.keys():
            self._links[address] = self._dial(address, open_session)
        await self._close(self._unneeded({scheduler.address for scheduler in live}))

    def _unneeded(self, listed: set[str]) -> Sequence[str]:
        """Addresses where nobody is listed, and whoever answered there is gone."""
        return [
            address
            for address, link in self._links.items()
            if address not in listed and self._schedulers.is_gone(link.session.scheduler, address)
        ]

    def _dial(self, address: str, open_session: OpenSession) -> Link:
        channels = self._open_channel(address), self._open_channel(address)
        session = open_session(address, WorkerServiceStub(channels[0]))
        task = asyncio.create_task(session.run(), name=f"session-{address}")
        return Link(session, task, channels[1], channels)

    async def _close(self, addresses: Sequence[str]) -> None:
        links = [self._links.pop(address) for address in addresses]
        for link in links:
            link.task.cancel()
        for result in await asyncio.gather(*(link.task for link in links), return_exceptions=True):
            if isinstance(result, Exception):
                _log.error("a Session ended by a fault of its own", error=repr(result))
        for link in links:
            for channel in link.channels:
                await channel.close()
