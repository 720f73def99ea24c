"""The native transport, driven by real gRPC clients; Python's half is the test itself."""

import os
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from integration.nnpm_wire.driven import Driven

_WIRE = find_spec("nnpm_wire")
_BUILT = _WIRE is not None and _WIRE.origin is not None
collect_ignore_glob = [] if _BUILT or os.environ.get("CI") == "true" else ["test_*.py"]
"""Without cargo there is no native transport (scripts/native), and nothing of it to test."""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., "Driven"]]:
    """Opens fronts, and closes them in the end."""
    from integration.nnpm_wire.driven import Driven  # noqa: PLC0415 -- not without the wheel

    opened: list[Driven] = []

    def open_front(**settings: object) -> Driven:
        opened.append(Driven(tmp_path / f"upstream-{len(opened)}", **settings))
        return opened[-1]

    yield open_front
    for driven in opened:
        driven.close()


@pytest.fixture
def driven(start: Callable[..., "Driven"]) -> "Driven":
    """One with roomy bounds."""
    return start()
