"""`nnpm up --detach`: a supervisor in a process of its own, and the one line it says to whoever started it."""

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import Any

from nnpm.errors import BY_CODE, NnpmError, Unavailable
from nnpm.mesh.data_folder import DataFolder, FolderLock
from nnpm.mesh.state import MeshState, read_state
from nnpm.mesh.supervisor import OWN_NAME
from nnpm.mesh.up import UpOptions

STOPPING = 60.0
"""Seconds that a supervisor whose start failed may take to stop what it has started."""


def run_in_background(options: UpOptions, environ: Mapping[str, str]) -> MeshState:
    """Start the mesh in a process of its own, which outlives this one; returns when everything is healthy.

    Raises:
        the same as `run_here`.
    """
    folder = DataFolder.at(options.data)
    FolderLock.take(folder).release()  # the common refusals at once, before anything is started
    folder.logs.mkdir(exist_ok=True)
    ear, mouth = os.pipe()
    try:
        supervisor = _start(options, folder, environ, mouth)
        try:
            os.close(mouth)
            message = _hear(ear, supervisor, options.timeout)
        except BaseException:  # Ctrl-C included: then nothing is to go on without us
            supervisor.terminate()
            supervisor.wait(STOPPING)
            raise
    finally:
        os.close(ear)
    if "error" in message:
        raise _error_from(message["error"])
    state = read_state(folder)
    if state is None:
        raise Unavailable("MESH_START_FAILED", "the mesh became ready and went away", hint="see `nnpm logs mesh`")
    return state


class Starter:
    """The command that started this background process: it waits for one line on a pipe.

    Args:
        descriptor: the pipe's end for writing; closed with the first `tell`.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor: int | None = descriptor

    def tell(self, error: NnpmError | None = None) -> None:
        """Say that the mesh is ready, or why it never will be. Only the first call says anything."""
        if self._descriptor is None:
            return
        message = {} if error is None else {"error": _described(error)}
        descriptor, self._descriptor = self._descriptor, None
        with contextlib.suppress(BrokenPipeError):  # the command was interrupted
            os.write(descriptor, json.dumps(message).encode() + b"\n")
        os.close(descriptor)


def _start(options: UpOptions, folder: DataFolder, environ: Mapping[str, str], mouth: int) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "nnpm.mesh", str(folder.root), "--ready-fd", str(mouth)]
    command += ["--workers", str(options.workers), "--timeout", str(options.timeout)]
    command += [] if options.port_base is None else ["--port-base", str(options.port_base)]
    with folder.log_file(OWN_NAME).open("ab") as log:
        return subprocess.Popen(  # noqa: S603 -- this very program
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=dict(environ),
            pass_fds=[mouth],
            start_new_session=True,
        )


def _hear(ear: int, supervisor: "subprocess.Popen[bytes]", timeout: float) -> Mapping[str, Any]:
    """The one line of the background process: `{}`, or `{"error": ...}`. Raises MESH_START_FAILED when none comes."""
    until = time.monotonic() + timeout + STOPPING  # it keeps the timeout itself, and then stops what it started
    line = b""
    while not line.endswith(b"\n"):
        readable, _, _ = select.select([ear], [], [], max(0.0, until - time.monotonic()))
        piece = os.read(ear, 4096) if readable else b""
        if not piece:  # it is dead, or hangs
            raise _silent(supervisor)
        line += piece
    message: Mapping[str, Any] = json.loads(line)
    return message


def _silent(supervisor: "subprocess.Popen[bytes]") -> Unavailable:
    return Unavailable(
        "MESH_START_FAILED",
        f"the supervisor (pid {supervisor.pid}) ended before the mesh was ready",
        hint="see `nnpm logs mesh` with the same --data",
    )


def _described(error: NnpmError) -> dict[str, Any]:
    return {
        "code": error.code,
        "reason": error.reason,
        "message": error.message,
        "hint": error.hint,
        "metadata": error.metadata,
    }


def _error_from(described: Mapping[str, Any]) -> NnpmError:
    kind = BY_CODE[described["code"]]
    return kind(described["reason"], described["message"], hint=described["hint"], metadata=described["metadata"])
