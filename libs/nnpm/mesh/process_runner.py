"""One process of the mesh kept running: started, watched until it serves, started again when it dies."""

import asyncio
import time
from collections.abc import Callable

from nnpm.errors import Unavailable
from nnpm.mesh.child import Child
from nnpm.mesh.health import all_answer, all_serving
from nnpm.mesh.plan import ProcessPlan
from nnpm.rpc.tls import Tls

FIRST_DELAY = 0.1
LONGEST_DELAY = 5.0
SETTLED = 1.0
"""Seconds of good health after which a crash counts as the first one again."""

POLL = 0.05
"""Seconds between two questions for the health of a process that starts."""

LOOK = 2.0
"""Seconds between two looks whether a healthy process still answers, and for which each answer is waited."""

SILENT_LOOKS = 8
"""Looks in a row without any answer after which a process is taken for frozen: half a minute, on a busy machine too."""

LAST_WORDS = 1.0
"""Seconds that the rest of a dead process's output is waited for."""

Report = Callable[[str, str], None]
"""Called with (level, event): what the supervisor has to say about the process."""


class ProcessRunner:
    """Runs one process until it is told to stop.

    `started` is done when the process has been healthy for the first time. It fails with MESH_START_FAILED when the
    process gave up by itself before that, with a positive exit status: then it said why, and another try would say it
    again.
    """

    def __init__(
        self,
        plan: ProcessPlan,
        on_line: Callable[[str], None],
        on_pid: Callable[[int | None], None],
        report: Report,
    ) -> None:
        self._plan = plan
        self._on_line = on_line
        self._on_pid = on_pid
        self._report = report
        self._tls = Tls.from_environment(plan.environment)
        self._child: Child | None = None
        self._stopping = asyncio.Event()
        self._gone = asyncio.Event()
        self._crashes = 0
        self._healthy_since: float | None = None
        self._last_line = ""
        self.started: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    @property
    def plan(self) -> ProcessPlan:
        return self._plan

    @property
    def healthy(self) -> bool:
        """Whether the process has served since it was last started."""
        return self._healthy_since is not None

    async def run(self) -> None:
        """Keep the process running until `stop`; returns when it is gone."""
        try:
            while not self._stopping.is_set():
                status = await self._run_once()
                if self._stopping.is_set():
                    break
                if status > 0 and not self.started.done():
                    self.started.set_exception(self._start_failed(status))
                    break
                await self._wait_before_restart(status)
        finally:
            self._gone.set()
            if not self.started.cancel() and not self.started.cancelled():
                self.started.exception()  # looked at, whether or not somebody else still does

    async def stop(self) -> None:
        """SIGTERM, then SIGKILL when the grace is over. Returns when the process is gone."""
        self._stopping.set()
        if self._child is not None:
            self._child.terminate()
        try:
            async with asyncio.timeout(self._plan.grace):
                await self._gone.wait()
        except TimeoutError:
            self._report("warning", f"{self._plan.name} did not stop within {self._plan.grace:g} s and is killed")
            self.kill()
            await self._gone.wait()

    def kill(self) -> None:
        """End the process now; it is not started again."""
        self._stopping.set()
        if self._child is not None:
            self._child.kill()

    async def _run_once(self) -> int:
        begun = time.monotonic()
        child = await Child.start(self._plan.command, self._plan.environment)
        self._child = child
        try:
            self._on_pid(child.pid)
            if self._stopping.is_set():
                child.terminate()
            async with asyncio.TaskGroup() as group:
                output = group.create_task(self._copy_output(child))
                health = group.create_task(self._watch_health(begun))
                status = await child.exited()
                health.cancel()
                child.kill()  # whatever it left behind in its process group
                await asyncio.wait([output], timeout=LAST_WORDS)
                output.cancel()
        finally:
            child.kill()
            self._child = None
        lived_well = self._healthy_since is not None and time.monotonic() - self._healthy_since > SETTLED
        self._crashes = 1 if lived_well else self._crashes + 1
        self._healthy_since = None
        self._on_pid(None)
        return status

    async def _copy_output(self, child: Child) -> None:
        async for line in child.lines():
            self._last_line = line.strip() or self._last_line
            self._on_line(line)

    async def _watch_health(self, begun: float) -> None:
        while not await all_serving(self._plan.health_at, tls=self._tls):  # noqa: ASYNC110 -- another process tells by answering
            await asyncio.sleep(POLL)
        self._healthy_since = time.monotonic()
        self._report("info", f"{self._plan.name} is healthy after {self._healthy_since - begun:.1f} s")
        if not self.started.done():
            self.started.set_result(None)
        await self._watch_silence()

    async def _watch_silence(self) -> None:
        """Kill a process that lives and says nothing; one that says that it cannot serve is left to itself."""
        silent = 0
        while silent < SILENT_LOOKS:
            await asyncio.sleep(LOOK)
            silent = 0 if await all_answer(self._plan.health_at, LOOK, tls=self._tls) else silent + 1
        if self._child is not None and not self._stopping.is_set():
            self._report("warning", f"{self._plan.name} gives no answer any more and is killed")
            self._child.kill()

    async def _wait_before_restart(self, status: int) -> None:
        delay = min(FIRST_DELAY * 2 ** (self._crashes - 1), LONGEST_DELAY)
        self._report("warning", f"{self._plan.name} {_cause(status)}; it is started again in {delay:.1f} s")
        try:
            async with asyncio.timeout(delay):
                await self._stopping.wait()
        except TimeoutError:
            return

    def _start_failed(self, status: int) -> Unavailable:
        return Unavailable(
            "MESH_START_FAILED",
            f"{self._plan.name} could not start ({_cause(status)}): {self._last_line or 'it said nothing'}",
            hint=f"see `nnpm logs {self._plan.name}` with the same --data",
            metadata={"service": self._plan.name, "status": str(status)},
        )


def _cause(status: int) -> str:
    return f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
