"""What `nnpm up` does: take the data folder, lay out the mesh, and supervise it, here or in the background."""

import asyncio
import importlib.metadata
import os
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from nnpm.mesh.data_folder import DataFolder, FolderLock
from nnpm.mesh.log_output import LogConsole
from nnpm.mesh.plan import MeshPlan, outside_redis, plan_mesh
from nnpm.mesh.ports import Ports, require_free
from nnpm.mesh.redis_server import find_redis_server
from nnpm.mesh.run_folder import clear_run_folder, run_folder
from nnpm.mesh.state import MeshState, RunningProcess
from nnpm.mesh.supervisor import OWN_NAME, Supervisor
from nnpm.mesh.trace_service import TraceReceiver

PORT_PATIENCE = 2.0
"""Seconds that the ports of a mesh that was killed may take to become free."""


@dataclass(frozen=True, slots=True)
class UpOptions:
    """What a person can choose about a mesh.

    `port_base` as in `Ports.from_base`. `timeout`: seconds until everything must be healthy.
    """

    data: Path
    port_base: int | None = None
    workers: int = 1
    timeout: float = 60.0


def run_here(
    options: UpOptions, environ: Mapping[str, str], on_ready: Callable[[MeshState], None], stream: TextIO | None
) -> None:
    """Run the mesh in this process until SIGINT or SIGTERM; the second one kills what still runs.

    Args:
        environ: what the services inherit.
        stream: where their lines are shown; None: only in the log files.

    Raises:
        FailedPrecondition: DATA_FOLDER_IN_USE, DATA_FOLDER_NEWER, PORT_TAKEN, REDIS_NOT_FOUND.
        Unavailable: MESH_START_FAILED.
    """
    folder = DataFolder.at(options.data)
    lock = FolderLock.take(folder)
    try:
        folder.prepare()
        run = run_folder(folder.root)
        try:
            plan = _lay_out(options, folder, run, environ)
            lock.describe(plan.addresses.scheduler)
            names = [*(process.name for process in plan.processes()), OWN_NAME]
            console = LogConsole(stream, names) if stream is not None else None
            asyncio.run(supervise(plan, folder, console, on_ready, options.timeout))
        finally:
            clear_run_folder(run)
    finally:
        lock.release()


def _lay_out(options: UpOptions, folder: DataFolder, run: Path, environ: Mapping[str, str]) -> MeshPlan:
    redis = None if outside_redis(environ) else find_redis_server()
    ports = Ports.from_base(options.port_base)
    require_free(ports.all(), PORT_PATIENCE if folder.state_file.exists() else 0.0)
    return plan_mesh(folder, run=run, ports=ports, workers=options.workers, environ=environ, redis=redis)


async def supervise(
    plan: MeshPlan,
    folder: DataFolder,
    console: LogConsole | None,
    on_ready: Callable[[MeshState], None],
    timeout: float,
) -> None:
    """Run the processes of `plan`, and the trace receiver, until a signal; the lock of `folder` is held by the caller.

    Raises:
        Unavailable: MESH_START_FAILED.
    """
    stop, hurry = asyncio.Event(), asyncio.Event()

    def on_signal() -> None:
        (hurry if stop.is_set() else stop).set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, on_signal)
    async with TraceReceiver(plan.addresses.traces, forward=plan.forward):
        await Supervisor(plan, folder, _first_state(plan), console).run(stop, hurry, on_ready, timeout)


def _first_state(plan: MeshPlan) -> MeshState:
    processes = [
        RunningProcess(process.name, None, process.address, process.health_at, process.metrics)
        for process in plan.processes()
    ]
    if plan.outside_redis:
        processes.insert(0, RunningProcess("redis", None, plan.outside_redis, (plan.outside_redis,)))
    return MeshState(os.getpid(), importlib.metadata.version("nnpm"), plan.addresses, tuple(processes))
