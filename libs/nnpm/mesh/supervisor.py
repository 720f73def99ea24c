"""Starts the processes of a mesh in order, keeps them running, stops them in reverse."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

from nnpm.errors import NnpmError, Unavailable
from nnpm.mesh.data_folder import DataFolder
from nnpm.mesh.log_output import LogConsole, RotatedLog, as_log_line
from nnpm.mesh.plan import MeshPlan, ProcessPlan
from nnpm.mesh.process_runner import ProcessRunner
from nnpm.mesh.state import MeshState, remove_state, write_state

OWN_NAME = "mesh"
"""How the supervisor's own lines are marked, and the name of its log file."""


class Supervisor:
    """The processes of one mesh.

    Args:
        state: what mesh.json says at first; pids are filled in as they come.
        console: where lines are shown besides the log files; None shows them nowhere.
    """

    def __init__(self, plan: MeshPlan, folder: DataFolder, state: MeshState, console: LogConsole | None) -> None:
        self._plan = plan
        self._folder = folder
        self._state = state
        self._console = console
        self._logs: Mapping[str, RotatedLog] = {}
        self._tiers: list[Sequence[ProcessRunner]] = []

    async def run(
        self, stop: asyncio.Event, hurry: asyncio.Event, on_ready: Callable[[MeshState], None], timeout: float
    ) -> None:
        """Run the mesh until `stop` is set; returns when every process is gone. `hurry` makes them go at once.

        Args:
            on_ready: called once, when everything is healthy.
            timeout: seconds that the start may take.

        Raises:
            Unavailable: MESH_START_FAILED when a process can't start, or they are not all healthy in time.
        """
        names = [*(process.name for process in self._plan.processes()), OWN_NAME]
        failure: NnpmError | None = None
        with ExitStack() as files:
            self._logs = {name: files.enter_context(RotatedLog(self._folder.log_file(name))) for name in names}
            self._publish(self._state)
            try:
                async with asyncio.TaskGroup() as group:
                    hurrying = group.create_task(self._kill_on(hurry))
                    try:
                        await self._start(group, stop, timeout)
                        if not stop.is_set():
                            self._publish(replace(self._state, ready=True))
                            on_ready(self._state)
                            await stop.wait()
                    except NnpmError as error:
                        failure = error
                    finally:
                        await self._stop()
                        hurrying.cancel()
            finally:
                remove_state(self._folder)
        if failure is not None:
            raise failure

    async def _start(self, group: asyncio.TaskGroup, stop: asyncio.Event, timeout: float) -> None:
        """Start tier after tier; returns when all are healthy, or `stop` is set."""
        stopped = group.create_task(stop.wait())
        try:
            async with asyncio.timeout(timeout):
                for tier in self._plan.tiers:
                    runners = [self._runner(process) for process in tier]
                    self._tiers.append(runners)
                    for runner in runners:
                        group.create_task(runner.run())
                    await _all_started(runners, stopped)
                    if stop.is_set():
                        return
        except TimeoutError as error:
            late = [runner.plan.name for tier in self._tiers for runner in tier if not runner.healthy]
            raise Unavailable(
                "MESH_START_FAILED",
                f"not healthy within {timeout:g} s: {', '.join(late)}",
                hint=f"see `nnpm logs {late[0]}` with the same --data" if late else "",
                metadata={"services": ",".join(late)},
            ) from error
        finally:
            stopped.cancel()

    async def _stop(self) -> None:
        self._say("info", "stopping")
        for tier in reversed(self._tiers):
            for runner in reversed(tier):
                await runner.stop()
        self._say("info", "stopped")

    async def _kill_on(self, hurry: asyncio.Event) -> None:
        await hurry.wait()
        self._say("warning", "asked twice to stop: killing what still runs")
        for tier in self._tiers:
            for runner in tier:
                runner.kill()

    def _runner(self, plan: ProcessPlan) -> ProcessRunner:
        def on_pid(pid: int | None) -> None:
            self._publish(self._state.with_pid(plan.name, pid))

        return ProcessRunner(plan, lambda line: self._show(plan.name, line), on_pid, self._say)

    def _publish(self, state: MeshState) -> None:
        self._state = state
        try:
            write_state(self._folder, state)
        except OSError as error:  # a full disk stops no service that can do without
            self._say("error", "mesh.json could not be written", error=str(error))

    def _say(self, level: str, event: str, **fields: str) -> None:
        self._show(OWN_NAME, as_log_line(level, event, **fields))

    def _show(self, name: str, line: str) -> None:
        self._logs[name].write(line)
        if self._console is not None:
            self._console.show(name, line)


async def _all_started(runners: Sequence[ProcessRunner], stopped: asyncio.Future[Any]) -> None:
    """Wait until every runner has started its process, or `stopped` is done; raises what the first failure was."""
    waiting: set[asyncio.Future[Any]] = {runner.started for runner in runners}
    while waiting and not stopped.done():
        done, _ = await asyncio.wait({*waiting, stopped}, return_when=asyncio.FIRST_COMPLETED)
        for started in done - {stopped}:
            started.result()
        waiting -= done
