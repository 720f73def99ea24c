"""What two scheduler processes carry against one (the second half of `--scale`).

Where there are fewer cores than processes that want one, two schedulers cannot serve more requests a second, and what
they would carry on cores of their own is told by the processor time that each spends on its requests.
"""

import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import h2load, proc_stat
from benchmarks.load_run import LoadError, Target
from benchmarks.oip import OipClient, wait_for_model
from benchmarks.peers.mesh import Mesh
from benchmarks.points import Point
from benchmarks.ports import free_port
from benchmarks.processes import Program
from benchmarks.workbench import Workbench

POINT = Point("tiny", 64, copies=2)
"""Two workers: one alone would soon be what limits two schedulers. So many requests are in flight at each scheduler."""

FIRST_REQUESTS = 4_000
HEAD = (
    "| schedulers | requests a second | their CPU-ms per 1,000 | CPU-ms per 1,000, all processes |",
    "|---|---|---|---|",
)
ADDRESSES = ("NNPM_SCHEDULER_LISTEN", "NNPM_CONTROL_LISTEN", "NNPM_MESH_LISTEN")


@dataclass(frozen=True, slots=True)
class Carried:
    """By so many schedulers, medians.

    Attributes:
        scheduler: CPU-ms of the schedulers for 1,000 requests.
        cpu: the same of all processes of the mesh.
    """

    schedulers: int
    per_second: float
    scheduler: float
    cpu: float


@dataclass(frozen=True, slots=True)
class Growth:
    """Two schedulers against one: by requests a second, and by processor time per request."""

    steps: tuple[Carried, ...]
    by_rate: float
    by_cpu: float


def measure(bench: Workbench, transport: str, *, rounds: int, seconds: float, say: Callable[[str], None]) -> Growth:
    """One scheduler and two, in turns. Raises StartError, LoadError."""
    mesh = Mesh(bench, "schedulers", transport=transport, copies=POINT.copies, models=(POINT.model,))
    say("starting a mesh with two schedulers")
    second: Program | None = None
    try:
        mesh.start()
        address, environment = _beside(mesh)
        log = bench.folder("schedulers") / "second.log"
        second = Program([sys.executable, "-m", "nnpm_scheduler"], log, environment)
        with OipClient(address) as client:
            if not wait_for_model(client, POINT.model):
                raise LoadError(f"the second scheduler serves nothing:\n{second.log_end()}")
        first = mesh.target(POINT)
        targets = (first, Target(first.url.replace(mesh.address, address), first.body))
        processes = {**mesh.processes(), "scheduler": [*mesh.processes()["scheduler"], second.pid]}
        return _grown(targets, processes, rounds, seconds, say)
    finally:
        if second is not None:
            second.stop()
        mesh.stop()


def as_markdown(growth: Growth) -> str:
    """A table, and what it comes to."""
    rows = [
        f"| {step.schedulers} | {step.per_second:,.0f} | {step.scheduler:.3g} | {step.cpu:.3g} |"
        for step in growth.steps
    ]
    said = (
        f"Two schedulers carry {growth.by_rate:.2f} times what one does on this machine's cores together, and "
        f"{growth.by_cpu:.2f} times on a core each (by their CPU-ms per 1,000 requests)."
    )
    return "\n".join([*HEAD, *rows, "", said]) + "\n"


def as_json(growth: Growth) -> dict[str, object]:
    return asdict(growth)


def _beside(mesh: Mesh) -> tuple[str, dict[str, str]]:
    """Where a second scheduler takes calls, and its environment: the first one's, but for the addresses."""
    (pid,) = mesh.processes()["scheduler"]
    variables = Path(f"/proc/{pid}/environ").read_text().split("\0")
    environment = dict(variable.split("=", 1) for variable in variables if "=" in variable)
    port = free_port(3)
    listen = [f"127.0.0.1:{port + number}" for number in range(len(ADDRESSES))]
    return listen[0], environment | dict(zip(ADDRESSES, listen, strict=True))


def _grown(
    targets: Sequence[Target],
    processes: Mapping[str, Sequence[int]],
    rounds: int,
    seconds: float,
    say: Callable[[str], None],
) -> Growth:
    carried: dict[int, list[Carried]] = {1: [], 2: []}
    rates = {count: _once(targets[:count], processes, FIRST_REQUESTS).per_second for count in carried}
    for number in range(rounds):
        for count in (1, 2) if number % 2 else (2, 1):
            requests = max(FIRST_REQUESTS, round(rates[count] * seconds))
            carried[count].append(_once(targets[:count], processes, requests))
            say(f"round {number + 1}  {count} schedulers  {carried[count][-1].per_second:>9,.0f}/s")
    one, two = (_median(each) for each in carried.values())
    return Growth((one, two), two.per_second / one.per_second, 2 * one.scheduler / two.scheduler)


def _once(targets: Sequence[Target], processes: Mapping[str, Sequence[int]], requests: int) -> Carried:
    """So many requests, shared among the targets, sent at the same time."""
    used = proc_stat.of_groups(processes)
    with ThreadPoolExecutor(len(targets)) as pool:
        loads = pool.map(
            lambda target: h2load.run(
                target, requests=requests // len(targets), in_flight=POINT.in_flight, timeout=60 + requests / 100
            ),
            targets,
        )
        took = max(load.seconds for load in loads)
    spent = {name: after - used[name] for name, after in proc_stat.of_groups(processes).items()}
    return Carried(
        schedulers=len(targets),
        per_second=requests / took,
        scheduler=1e6 * spent["scheduler"] / requests,
        cpu=1e6 * sum(spent.values()) / requests,
    )


def _median(steps: Sequence[Carried]) -> Carried:
    return Carried(
        schedulers=steps[0].schedulers,
        per_second=statistics.median(step.per_second for step in steps),
        scheduler=statistics.median(step.scheduler for step in steps),
        cpu=statistics.median(step.cpu for step in steps),
    )
