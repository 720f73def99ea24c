"""The frame of a service process: settings, logs, traces, signals, exit code."""

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from nnpm.errors import NnpmError
from nnpm.settings import ServiceSettings
from nnpm.telemetry import logs, traces

S = TypeVar("S", bound=ServiceSettings)
Serve = Callable[[S, asyncio.Event], Awaitable[None]]


def run_service(service: str, settings_type: type[S], serve: Serve[S]) -> int:
    """Run `serve(settings, stop)` until it returns; `stop` is set by SIGTERM or SIGINT. Returns the exit code.

    An NnpmError ends the process with 1 and one line that says what was wrong and what to do.
    """
    try:
        settings = settings_type.load()
        logs.configure(settings, service)
        shutdown_traces = traces.configure(settings, service)
        try:
            _runner()(_until_signalled(serve, settings))
        finally:
            shutdown_traces()
    except NnpmError as error:
        hint = f"\nhint: {error.hint}" if error.hint else ""
        sys.stderr.write(f"nnpm-{service}: {error.message} [{error.reason}]{hint}\n")
        return 1
    return 0


async def _until_signalled(serve: Serve[S], settings: S) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        await serve(settings, stop)
    except* NnpmError as group:
        # A task group wraps what its tasks raise; one line about the first is what a person needs.
        raise _first(group) from None


def _first(group: BaseExceptionGroup[NnpmError]) -> NnpmError:
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, NnpmError)  # noqa: S101 -- except* matched nothing else
    return error


def _runner() -> Callable[[Coroutine[Any, Any, None]], None]:
    """uvloop's runner where it is installed (it is in every service's extra), else asyncio's."""
    try:
        import uvloop  # noqa: PLC0415 -- optional: not on Windows
    except ImportError:
        return asyncio.run
    return uvloop.run
