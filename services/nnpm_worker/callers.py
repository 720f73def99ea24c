"""Calls to schedulers' mesh listeners with bytes for messages: by nnpm_wire where it is installed, else by grpc.aio."""

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import grpc.aio
from google.rpc.status_pb2 import Status

from nnpm.errors import FailedPrecondition, Internal, NnpmError
from nnpm.rpc.status import from_bytes, from_status
from nnpm.rpc.tls import Tls
from nnpm.settings import ServiceSettings
from nnpm.telemetry.logs import get_logger
from nnpm_worker.messages import Buffer

if TYPE_CHECKING:
    from nnpm_wire import Client, ClientTls

_log = get_logger("callers")


class Caller(Protocol):
    """Makes calls of one message up."""

    async def call(self, address: str, path: str, parts: Sequence[Buffer], seconds: float) -> Buffer:
        """The answer to the message that the parts make. Raises NnpmError."""

    async def collect(self, address: str, path: str, parts: Sequence[Buffer], seconds: float) -> Sequence[Buffer]:
        """As `call`, of a method that answers with many messages."""

    def close(self) -> None:
        """Give up what is under way."""


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

    async def call(self, address: str, path: str, parts: Sequence[Buffer], seconds: float) -> Buffer:
        method: Any = self._channel_at(address).unary_unary(path)  # no serialiser: bytes
        answer: bytes = await method(b"".join(parts), timeout=seconds)
        return answer

    async def collect(self, address: str, path: str, parts: Sequence[Buffer], seconds: float) -> Sequence[Buffer]:
        method: Any = self._channel_at(address).unary_stream(path)
        return [message async for message in method(b"".join(parts), timeout=seconds)]

    def close(self) -> None:
        """The channels are the links'."""


class NativeCaller:
    """See `Caller`.

    Args:
        client: of nnpm_wire; closed with this.
        tls: for addresses of other machines.
    """

    def __init__(self, client: "Client", tls: Tls) -> None:
        self._client = client
        self._tls: ClientTls | None = tls.channel_pem()
        self._waiting: dict[int, asyncio.Future[list[bytes]]] = {}
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(client.fileno(), self._turn)

    async def call(self, address: str, path: str, parts: Sequence[Buffer], seconds: float) -> Buffer:
        messages = await self.collect(address, path, parts, seconds)
        if len(messages) != 1:
            raise Internal("INTERNAL_ERROR", f"{len(messages)} messages came where one answers")
        return messages[0]

    async def collect(self, address: str, path: str, parts: Sequence[Buffer], seconds: float) -> Sequence[Buffer]:
        tls = None if address.startswith("unix:") else self._tls
        token = self._client.call(address, path, parts, seconds, tls)
        answer: asyncio.Future[list[bytes]] = self._loop.create_future()
        self._waiting[token] = answer
        try:
            return await answer
        finally:
            self._waiting.pop(token, None)

    def close(self) -> None:
        self._loop.remove_reader(self._client.fileno())
        self._client.close()

    def _turn(self) -> None:
        for token, code, message, details, messages in self._client.turn():
            answer = self._waiting.pop(token, None)
            if answer is None or answer.done():
                continue  # whoever asked was cancelled
            if code == 0:
                answer.set_result(messages)
            else:
                answer.set_exception(_error(code, message, details))


def _error(code: int, message: str, details: bytes) -> NnpmError:
    return from_bytes(details) if details else from_status(Status(code=code, message=message))
