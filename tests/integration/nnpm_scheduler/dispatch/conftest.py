"""The dispatch path runs on the event loop that the service runs on, over each transport that is there."""

import asyncio
from collections.abc import Callable
from importlib.util import find_spec

import pytest
import uvloop

_WIRE = find_spec("nnpm_wire")
TRANSPORTS = ["grpc", *(["native"] if _WIRE is not None and _WIRE.origin is not None else [])]
"""Without the wheel the sources' folder is found, which is no package and has no origin."""


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """uvloop differs from asyncio where it matters here: timers, the order of callbacks, cancellation of reads."""
    return {"uvloop": uvloop.new_event_loop}


@pytest.fixture(params=TRANSPORTS, autouse=True)
def transport(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What carries calls in and answers out; `running_front` reads it from the environment, as a service does."""
    monkeypatch.setenv("NNPM_TRANSPORT", request.param)
    return str(request.param)
