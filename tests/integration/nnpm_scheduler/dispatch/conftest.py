"""The dispatch path runs on the event loop that the service runs on."""

import asyncio
from collections.abc import Callable

import uvloop


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """uvloop differs from asyncio where it matters here: timers, the order of callbacks, cancellation of reads."""
    return {"uvloop": uvloop.new_event_loop}
