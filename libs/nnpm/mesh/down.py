"""What `nnpm down` does: end the mesh of a data folder, whatever state it is in, and wait until it is gone."""

import os
import signal
import time

from nnpm.errors import Unavailable
from nnpm.mesh.data_folder import DataFolder, Holder, lock_holder

PATIENCE = 90.0
"""Seconds for an orderly stop: longer than the longest drain."""

KILLED_PATIENCE = 10.0
"""Seconds for the kernel to clear away a killed supervisor and, with it, its processes."""

POLL = 0.05


def stop_mesh(folder: DataFolder, patience: float = PATIENCE) -> bool:
    """Stop the mesh that runs in `folder`; False when none did.

    Raises:
        Unavailable: MESH_STOP_FAILED when its supervisor can't be ended.
    """
    holder = lock_holder(folder)
    if holder is None:
        return False
    for number, seconds in ((signal.SIGTERM, patience), (signal.SIGKILL, KILLED_PATIENCE)):
        _signal(holder, number)
        if _gone(folder, holder, seconds):
            return True
    raise Unavailable(
        "MESH_STOP_FAILED",
        f"process {holder.pid}, the supervisor of {folder.root}, does not end",
        metadata={"pid": str(holder.pid)},
    )


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


def _gone(folder: DataFolder, holder: Holder, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        current = lock_holder(folder)
        if current is None or current.pid != holder.pid:
            return True
        time.sleep(POLL)
    return False
