"""Calls to schedulers' mesh listeners with bytes for messages: by nnpm_wire where it is installed, else by grpc.aio."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import grpc.aio
from google.rpc.status_pb2 import Status

from nnpm.errors import FailedPrecondition, NnpmError
from nnpm.rpc.status import from_bytes, from_status
from nnpm.rpc.tls import Tls
from nnpm.settings import ServiceSettings
from nnpm.telemetry.logs import get_logger
from nnpm_worker.messages import Buffer

if TYPE_CHECKING:
    from nnpm_wire import Client, ClientTls

Messages = Sequence[Buffer]
Done = Callable[[NnpmError | None, Messages], None]
"""Told how a call ended: what it failed with, or the messages that came."""

_log = get_logger("callers")


class Caller(Protocol):
    """Makes calls of one message up."""

    def call(self, address: str, path: str, parts: Sequence[Buffer], seconds: float, done: Done) -> None:
        """Begin the call whose message the parts make; `done` is called on the event loop, never before this returns.

        The parts are not needed any more once this has returned.
        """

    def close(self) -> None:
        """Give up what is under way; nobody is told."""


def open_caller(settings: ServiceSettings, channel_at: Callable[[str], grpc.aio.Channel]) -> Caller:
    """What the setting `transport` asks for. Raises FailedPrecondition TRANSPORT_NOT_INSTALLED."""
    if settings.transport != "grpc":
        try:
            from nnpm_wire import Client  # noqa: PLC0415 -- optional: grpc.aio does the same, slower
        except ImportError as error:
            if settings.transport == "native":
                raise FailedPrecondition(
                    "TRANSPORT_NOT_INSTALLED",
                    "NNPM_TRANSPORT=native, and nnpm_wire is not installed",
                    hint="build it with scripts/native, or set NNPM_TRANSPORT=auto",
                ) from error
        else:
            _log.info("replies travel by", transport="native")
            return NativeCaller(Client(max_message_bytes=settings.max_message_bytes), settings.tls)
    _log.info("replies travel by", transport="grpc")
    return GrpcCaller(channel_at)


class GrpcCaller:
    """See `Caller`.

    Args:
        channel_at: the channel to an address; raises Unavailable when there is none.
    """

    def __init__(self, channel_at: Callable[[str], grpc.aio.Channel]) -> None:
        self._channel_at = channel_at
        self._calls: set[asyncio.Task[None]] = set()

    def call(self, address: str, path: str, parts: Sequence[Buffer], seconds: float, done: Done) -> None:
        call = asyncio.ensure_future(self._call(address, path, b"".join(parts), seconds, done))
        self._calls.add(call)
        call.add_done_callback(self._calls.discard)

    def close(self) -> None:
        for call in self._calls:
            call.cancel()

    async def _call(self, address: str, path: str, message: bytes, seconds: float, done: Done) -> None:
        try:
            # A method with one answer is one with many to whoever reads them all. No serialiser: bytes.
            method: Any = self._channel_at(address).unary_stream(path)
            messages = [answer async for answer in method(message, timeout=seconds)]
        except NnpmError as error:
            done(error, ())
        else:
            done(None, messages)


class NativeCaller:
    """See `Caller`.

    Args:
        client: of nnpm_wire; closed with this.
        tls: for addresses of other machines.
    """

    def __init__(self, client: "Client", tls: Tls) -> None:
        self._client = client
        self._tls: ClientTls | None = tls.channel_pem()
        self._waiting: dict[int, Done] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(client.fileno(), self._turn)

    def call(self, address: str, path: str, parts: Sequence[Buffer], seconds: float, done: Done) -> None:
        tls = None if address.startswith("unix:") else self._tls
        self._waiting[self._client.call(address, path, parts, seconds, tls)] = done

    def close(self) -> None:
        self._loop.remove_reader(self._client.fileno())
        self._client.close()

    def _turn(self) -> None:
        for token, code, message, details, messages in self._client.turn():
            error = None if code == 0 else _error(code, message, details)
            self._waiting.pop(token)(error, messages)


def _error(code: int, message: str, details: bytes) -> NnpmError:
    return from_bytes(details) if details else from_status(Status(code=code, message=message))
