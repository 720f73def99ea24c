"""No process outlives its parent, by either of the two ways."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from nnpm.mesh.child import GUARD
from support.little_mesh.running import alive
from support.processes import Process
from support.waiting import wait_until

PARENT = """
import asyncio, os, sys
from nnpm.mesh.child import Child

async def main():
    child = await Child.start(("sleep", "600"), dict(os.environ), watch=sys.argv[1] == "watch")
    print("child", child.pid, flush=True)
    await child.exited()
    print("exited", flush=True)

asyncio.run(main())
"""


@pytest.fixture(params=["kernel", "watch"])
def parent(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Process]:
    """A process with one child under guard: by the kernel as on Linux, or by a watcher as elsewhere."""
    with Process([sys.executable, "-c", PARENT, request.param], tmp_path / "out") as process:
        wait_until(lambda: "child" in process.output)
        yield process


def child_of(parent: Process) -> int:
    return int(parent.output.split()[1])


def test_a_child_dies_with_a_killed_parent(parent: Process) -> None:
    child = child_of(parent)
    wait_until(lambda: Path(f"/proc/{child}/comm").read_text() == "sleep\n", what="the guard became the command")
    parent.kill()
    wait_until(lambda: not alive(child), 5.0)


def test_a_child_that_is_still_starting_dies_with_its_parent_too(parent: Process) -> None:
    child = child_of(parent)
    parent.kill()
    wait_until(lambda: not alive(child), 5.0)


def test_a_childs_own_end_is_noticed(parent: Process) -> None:
    child = child_of(parent)
    os.kill(child, signal.SIGKILL)
    wait_until(lambda: "exited" in parent.output, 5.0)
    assert parent.wait(5.0) == 0


def test_a_command_that_does_not_exist_says_so(tmp_path: Path) -> None:
    with Process([sys.executable, GUARD, str(os.getpid()), "--", "no-such-program"], tmp_path / "out") as process:
        assert process.wait(10.0) == 127
        assert "no-such-program: No such file or directory" in process.output
