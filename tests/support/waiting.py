"""Waiting for a condition, with a deadline: what tests do where others would sleep."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

T = TypeVar("T")

_PAUSE_S = 0.02


def wait_until(condition: Callable[[], T], deadline: float = 10.0, *, what: str = "") -> T:
    """The first true value of `condition`; AssertionError when none came within `deadline` seconds.

    An exception of the condition counts as "not yet" and is named when time is up.
    """
    end = time.monotonic() + deadline
    while True:
        seen: object
        try:
            value = condition()
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told below when it does not go away
            seen = error
        else:
            if value:
                return value
            seen = value
        if time.monotonic() >= end:
            raise AssertionError(f"not within {deadline} s: {what or condition}; last seen: {seen!r}")
        time.sleep(_PAUSE_S)


async def eventually(condition: Callable[[], T | Awaitable[T]], deadline: float = 10.0, *, what: str = "") -> T:
    """`wait_until` for a running event loop; `condition` may be a coroutine function."""
    end = time.monotonic() + deadline
    while True:
        seen: object
        try:
            value = condition()
            if isinstance(value, Awaitable):
                value = await value
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told below when it does not go away
            seen = error
        else:
            if value:
                return value
            seen = value
        if time.monotonic() >= end:
            raise AssertionError(f"not within {deadline} s: {what or condition}; last seen: {seen!r}")
        await asyncio.sleep(_PAUSE_S)
