"""What `nnpm down` does: end the mesh of a data folder, whatever state it is in, and wait until it is gone."""

import os
import signal
import time
from pathlib import Path

from nnpm.errors import FailedPrecondition, Unavailable
from nnpm.mesh.data_folder import DataFolder, Holder, lock_holder
from nnpm.mesh.state import read_state

PATIENCE = 90.0
"""Seconds for an orderly stop: longer than the longest drain."""

KILLED_PATIENCE = 10.0
"""Seconds for the kernel to clear away a killed supervisor."""

ENDS_PATIENCE = 2.0

POLL = 0.05


def stop_mesh(folder: DataFolder, patience: float = PATIENCE) -> bool:
    """Stop the mesh that runs in `folder`; False when none did.

    Raises:
        Unavailable: MESH_STOP_FAILED when its supervisor can't be ended.
    """
    holder = lock_holder(folder)
    if holder is None:
        return False
    pids = {holder.pid, *_processes(folder)}
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, KILLED_PATIENCE)):
        _signal(holder, number)
        if _gone(folder, holder, seconds):
            _wait_for_ends(pids)
            return True
    raise Unavailable(
        "MESH_STOP_FAILED",
        f"process {holder.pid}, the supervisor of {folder.root}, does not end",
        metadata={"pid": str(holder.pid)},
    )


def _processes(folder: DataFolder) -> set[int]:
    """The mesh's processes as far as they are known: a damaged mesh.json keeps no mesh from being stopped."""
    try:
        state = read_state(folder)
    except FailedPrecondition:
        return set()
    return {process.pid for process in state.processes if process.pid} if state else set()


def _signal(holder: Holder, number: signal.Signals) -> None:
    try:
        os.kill(holder.pid, number)
    except ProcessLookupError:
        return
    except PermissionError as error:
        raise Unavailable(
            "MESH_STOP_FAILED",
            f"process {holder.pid} belongs to another user",
            hint="stop the mesh as the user who started it",
            metadata={"pid": str(holder.pid)},
        ) from error


def _wait_for_ends(pids: set[int]) -> None:
    """A supervisor gives up the lock a moment before it ends, and the kernel kills its processes a moment after."""
    until = time.monotonic() + ENDS_PATIENCE
    while any(_runs(pid) for pid in pids) and time.monotonic() < until:
        time.sleep(POLL)


def _runs(pid: int) -> bool:
    """Whether there is such a process, other than one that has ended and waits to be looked at by its parent."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(") ")[2][:1] != "Z"
    except FileNotFoundError:  # a system without /proc
        return True
    except OSError:
        return False


def _gone(folder: DataFolder, holder: Holder, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        current = lock_holder(folder)
        if current is None or current.pid != holder.pid:
            return True
        time.sleep(POLL)
    return False
