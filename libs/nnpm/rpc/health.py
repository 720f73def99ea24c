"""Is somebody serving there? gRPC's health check, as a client asks it."""

import asyncio
import contextlib
import socket

import grpc
import grpc.aio
from grpc_health.v1 import health_pb2

from nnpm.rpc.tls import Tls

CHECK = "/grpc.health.v1.Health/Check"

# What a server that listens everywhere is dialled at from its own machine.
_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "[::]": "[::1]"}  # noqa: S104 -- read, not listened on


def own_address(listen: str) -> str:
    """Where a process on this machine reaches the server that listens on `listen`."""
    if listen.startswith("unix:"):
        return listen
    host, _, port = listen.rpartition(":")
    return f"{_LOOPBACK.get(host, host)}:{port}"


async def is_serving(address: str, timeout: float = 1.0, *, tls: Tls | None = None) -> bool:
    """Whether `address` (`host:port` or `unix:/path`) answers SERVING within `timeout` seconds.

    Sockets of this machine are asked in the clear, as they are served.
    """
    return await _status(address, timeout, tls) == health_pb2.HealthCheckResponse.SERVING


async def answers(address: str, timeout: float = 1.0, *, tls: Tls | None = None) -> bool:
    """Whether `address` gives any answer: a frozen process, or one whose loop hangs, gives none."""
    return await _status(address, timeout, tls) is not None


async def _status(address: str, timeout: float, tls: Tls | None) -> int | None:
    try:
        async with asyncio.timeout(timeout):
            return await _asked(address, timeout, tls) if await _accepts(address) else None
    except TimeoutError:
        return None


async def _accepts(address: str) -> bool:
    """A bare connection first: it costs a tenth of a gRPC channel, and most questions come before anybody listens."""
    kind, _, path = address.partition(":")
    try:
        if kind == "unix":
            _, writer = await asyncio.open_unix_connection(path)
        else:
            host, _, port = address.rpartition(":")
            _, writer = await asyncio.open_connection(host.strip("[]"), int(port), family=socket.AF_UNSPEC)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def _asked(address: str, timeout: float, tls: Tls | None) -> int | None:
    credentials = tls.channel_credentials() if tls and not address.startswith("unix:") else None
    options = [("grpc.use_local_subchannel_pool", 1)]
    if credentials is None:
        channel = grpc.aio.insecure_channel(address, options=options)
    else:
        channel = grpc.aio.secure_channel(address, credentials, options=options)
    async with channel:
        check = channel.unary_unary(
            CHECK,
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer: health_pb2.HealthCheckResponse = await check(health_pb2.HealthCheckRequest(), timeout=timeout)
        except grpc.aio.AioRpcError:
            return None
    return int(answer.status)
