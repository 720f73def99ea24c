"""Is a process of the mesh serving? Asked of it, not guessed from its pid."""

import asyncio
import contextlib
import socket

import grpc
from grpc_health.v1 import health_pb2
from redis.exceptions import AuthenticationError, RedisError

from nnpm.queue.connection import connect

CHECK = "/grpc.health.v1.Health/Check"


async def is_serving(address: str, timeout: float = 1.0) -> bool:
    """Ask whoever listens at `address`, within `timeout` seconds: gRPC's health check, or PING for a Redis URL."""
    try:
        async with asyncio.timeout(timeout):
            if address.startswith(("redis://", "rediss://", "unix://")):
                return await _redis_answers(address)
            return await _accepts(address) and await _grpc_serves(address, timeout)
    except TimeoutError:
        return False


async def all_serving(addresses: tuple[str, ...], timeout: float = 1.0) -> bool:
    """Whether every one of `addresses` serves; they are asked at the same time."""
    return all(await asyncio.gather(*(is_serving(address, timeout) for address in addresses)))


async def _redis_answers(url: str) -> bool:
    redis = connect(url)
    try:
        return bool(await redis.ping())
    except AuthenticationError:  # it is there; whether the services know its password is theirs to say
        return True
    except (RedisError, OSError):
        return False
    finally:
        await redis.aclose()


async def _accepts(address: str) -> bool:
    """A bare connection first: it costs a tenth of a gRPC channel, and most questions come before anybody listens."""
    kind, _, path = address.partition(":")
    try:
        if kind == "unix":
            _, writer = await asyncio.open_unix_connection(path)
        else:
            host, _, port = address.rpartition(":")
            _, writer = await asyncio.open_connection(host, int(port), family=socket.AF_UNSPEC)
    except OSError:
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def _grpc_serves(address: str, timeout: float) -> bool:
    async with grpc.aio.insecure_channel(address, options=[("grpc.use_local_subchannel_pool", 1)]) as channel:
        check = channel.unary_unary(
            CHECK,
            request_serializer=health_pb2.HealthCheckRequest.SerializeToString,
            response_deserializer=health_pb2.HealthCheckResponse.FromString,
        )
        try:
            answer: health_pb2.HealthCheckResponse = await check(health_pb2.HealthCheckRequest(), timeout=timeout)
        except grpc.aio.AioRpcError:
            return False
    return answer.status == health_pb2.HealthCheckResponse.SERVING
