"""The client's edge of a call: a deadline, the trace context, and nnpm's errors instead of gRPC's.

A channel around grpc.aio's, not interceptors: an interceptor may raise nothing but gRPC's own errors (its call object
trips over them when it is collected), and it costs a task a call.
"""

from collections.abc import AsyncIterator, Callable
from typing import Any, Self

import grpc
import grpc.aio
from opentelemetry import propagate
from opentelemetry.propagators.textmap import Setter

from nnpm.rpc.status import from_call


class EdgeChannel(grpc.aio.Channel):
    """A grpc.aio channel whose calls raise `NnpmError`.

    Calls with one response are awaited; calls with many are iterated (`async for`). `timeout`, seconds, is the deadline
    of a call with one request and one response that states none.
    """

    def __init__(self, channel: grpc.aio.Channel, address: str, timeout: float) -> None:
        self._channel = channel
        self._address = address
        self._timeout = timeout

    def unary_unary(self, *args: Any, **options: Any) -> Any:
        """A method with one request and one response."""
        return self._one(self._channel.unary_unary(*args, **options), self._timeout)

    def stream_unary(self, *args: Any, **options: Any) -> Any:
        """A method with many requests and one response."""
        return self._one(self._channel.stream_unary(*args, **options), None)

    def unary_stream(self, *args: Any, **options: Any) -> Any:
        """A method with one request and many responses."""
        return self._many(self._channel.unary_stream(*args, **options))

    def stream_stream(self, *args: Any, **options: Any) -> Any:
        """A method with many requests and many responses."""
        return self._many(self._channel.stream_stream(*args, **options))

    def _one(self, method: Callable[..., Any], default_timeout: float | None) -> Callable[..., Any]:
        async def call(request: Any, timeout: float | None = None, metadata: Any = None, **options: Any) -> Any:
            deadline = default_timeout if timeout is None else timeout
            try:
                return await method(request, timeout=deadline, metadata=_traced(metadata), **options)
            except grpc.aio.AioRpcError as error:
                raise from_call(error, self._address) from None

        return call

    def _many(self, method: Callable[..., Any]) -> Callable[..., Any]:
        async def call(request: Any, metadata: Any = None, **options: Any) -> AsyncIterator[Any]:
            responses = method(request, metadata=_traced(metadata), **options)
            try:
                async for response in responses:
                    yield response
            except grpc.aio.AioRpcError as error:
                raise from_call(error, self._address) from None
            finally:
                # A consumer that stops early must not leave the server streaming into the void.
                responses.cancel()

        return call

    async def __aenter__(self) -> Self:
        await self._channel.__aenter__()
        return self

    async def __aexit__(self, *exception: Any) -> None:
        await self._channel.__aexit__(*exception)

    async def close(self, grace: float | None = None) -> None:
        """Close; calls in flight have `grace` seconds, or are cancelled at once."""
        await self._channel.close(grace)

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """The connection's state."""
        return self._channel.get_state(try_to_connect)

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """Wait until the state is another."""
        await self._channel.wait_for_state_change(last_observed_state)

    async def channel_ready(self) -> None:
        """Wait until connected."""
        await self._channel.channel_ready()


class _MetadataSetter(Setter[grpc.aio.Metadata]):
    def set(self, carrier: grpc.aio.Metadata, key: str, value: str) -> None:
        carrier[key] = value


_SETTER = _MetadataSetter()


def _traced(metadata: Any) -> grpc.aio.Metadata:
    carried = grpc.aio.Metadata(*(metadata or ()))
    propagate.inject(carried, setter=_SETTER)
    return carried
