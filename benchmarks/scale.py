"""How throughput grows with worker slots, where a run takes 20 ms and next to no processor time (`--scale`)."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

import numpy as np

import nnpm
from benchmarks import bodies, h2load, proc_stat, sleeper
from benchmarks.load_run import Target
from benchmarks.peers.mesh import Mesh
from benchmarks.workbench import Workbench

RUN_SECONDS = 0.020


@dataclass(frozen=True, slots=True)
class Step:
    """One number of slots.

    Attributes:
        share: the rate in per cent of slots / 20 ms.
        growth: the rate in per cent of what it would be if it had grown from one slot on as the slots have.
        scheduler: how much of one core the scheduler took, in per cent.
        cpu: milliseconds of all processes of the mesh for 1,000 requests.
    """

    slots: int
    per_second: float
    share: float
    growth: float
    scheduler: float
    cpu: float


def measure(bench: Workbench, transport: str, most: int, seconds: float, say: Callable[[str], None]) -> list[Step]:
    """Double the replicas up to `most`, each on a worker of its own that has one request at a time."""
    mesh = Mesh(
        bench, "scale", transport=transport, copies=most, models=(), environment={"PYTHONPATH": str(sleeper.RUNTIMES)}
    )
    say(f"starting a mesh with {most} workers")
    try:
        mesh.start()
        rows = np.full((1, 1), RUN_SECONDS, np.float32)
        body = bench.folder("scale") / "sleeper.body"
        body.write_bytes(bodies.framed(bodies.request(sleeper.SLEEPER, rows, served_as=sleeper.SLEEPER.name)))
        target = Target(f"http://{mesh.address}/inference.GRPCInferenceService/ModelInfer", body)
        steps: list[Step] = []
        with nnpm.Client(mesh.data) as client:
            sleeper.publish(client, bench.folder("scale-package"))
            slots = 1
            while slots <= most:
                sleeper.deploy(client, slots)
                steps.append(_step(mesh, target, slots, seconds, steps[0].per_second if steps else 0.0))
                say(f"{slots:>4} slots  {steps[-1].per_second:>8,.1f}/s  {steps[-1].share:.1f} % of linear")
                slots *= 2
        return steps
    finally:
        mesh.stop()


def as_markdown(steps: list[Step]) -> str:
    """A table."""
    lines = [
        "| slots | requests a second | % of slots / 20 ms | % of linear | scheduler, % of a core | CPU-ms per 1,000 |",
        "|---|---|---|---|---|---|",
    ]
    for step in steps:
        share = f"{step.share:.1f} | {step.growth:.1f}"
        figures = f"{step.per_second:,.1f} | {share} | {step.scheduler:.0f} | {step.cpu:.3g}"
        lines.append(f"| {step.slots} | {figures} |")
    return "\n".join(lines) + "\n"


def as_json(steps: list[Step]) -> list[dict[str, float]]:
    return [asdict(step) for step in steps]


def _step(mesh: Mesh, target: Target, slots: int, seconds: float, of_one: float) -> Step:
    """Two requests in flight for each slot, so that the next one is there when a run ends. `of_one` slot: the rate."""
    in_flight, linear = 2 * slots, slots / RUN_SECONDS
    h2load.run(target, requests=4 * in_flight, in_flight=in_flight, timeout=60)
    requests = max(4, round(seconds * linear / in_flight)) * in_flight
    groups = mesh.processes()
    used, begin = proc_stat.of_groups(groups), time.monotonic()
    load = h2load.run(target, requests=requests, in_flight=in_flight, timeout=60 + 10 * requests / linear)
    took = time.monotonic() - begin
    spent = {name: after - used[name] for name, after in proc_stat.of_groups(groups).items()}
    rate = requests / load.seconds
    return Step(
        slots=slots,
        per_second=rate,
        share=100 * rate / linear,
        growth=100 * rate / (slots * (of_one or rate)),
        scheduler=100 * spent["scheduler"] / took,
        cpu=1e6 * sum(spent.values()) / requests,
    )
