"""Is a process of the mesh serving? Asked of it, not guessed from its pid."""

import asyncio

from redis.exceptions import AuthenticationError, RedisError

from nnpm.queue.connection import connect
from nnpm.rpc import health
from nnpm.rpc.tls import Tls


async def is_serving(address: str, timeout: float = 1.0, tls: Tls | None = None) -> bool:
    """Ask whoever listens at `address`, within `timeout` seconds: gRPC's health check, or PING for a Redis URL."""
    if _is_redis(address):
        return await _redis_answers(address, timeout)
    return await health.is_serving(address, timeout, tls=tls)


async def all_serving(addresses: tuple[str, ...], timeout: float = 1.0, *, tls: Tls | None = None) -> bool:
    """Whether every one of `addresses` serves; they are asked at the same time."""
    return all(await asyncio.gather(*(is_serving(address, timeout, tls) for address in addresses)))


async def all_answer(addresses: tuple[str, ...], timeout: float, *, tls: Tls | None = None) -> bool:
    """Whether every one of `addresses` says anything at all within `timeout` seconds, if only that it cannot serve."""
    return all(
        await asyncio.gather(
            *(
                _redis_answers(address, timeout) if _is_redis(address) else health.answers(address, timeout, tls=tls)
                for address in addresses
            )
        )
    )


def _is_redis(address: str) -> bool:
    return address.startswith(("redis://", "rediss://", "unix://"))


async def _redis_answers(url: str, timeout: float) -> bool:
    redis = connect(url)
    try:
        async with asyncio.timeout(timeout):
            return bool(await redis.ping())
    except AuthenticationError:  # it is there; whether the services know its password is theirs to say
        return True
    except (RedisError, OSError, TimeoutError):
        return False
    finally:
        await redis.aclose()
