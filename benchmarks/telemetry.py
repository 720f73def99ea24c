"""What metrics and unsampled tracing cost (`--telemetry`): meshes with and without them, in alternate rounds."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks import run
from benchmarks.peers.mesh import Mesh
from benchmarks.points import Point
from benchmarks.ports import free_port
from benchmarks.sample import Measured
from benchmarks.served import Served
from benchmarks.workbench import Workbench

WITHOUT = Path(__file__).parent / "without_telemetry"
POINTS = (Point("tiny", 64), Point("tiny", 256))
"""Where serving costs the most against the model."""

ROUNDS = 3
"""Rounds for each that is asked for: a few per cent take more of them than a factor of two."""

NONE, UNSAMPLED, SAMPLED = "neither", "metrics, no call sampled", "metrics, 1 % of calls sampled"


@dataclass(frozen=True, slots=True)
class Cost:
    """At one point, in per cent of the mesh that has neither.

    Attributes:
        lost: of its requests a second.
        cpu: more processor time for as many requests.
    """

    in_flight: int
    mesh: str
    per_second: float
    lost: float
    cpu_per_1000: float
    cpu: float


def measure(bench: Workbench, transport: str, *, rounds: int, seconds: float, say: Callable[[str], None]) -> list[Cost]:
    """Medians of each mesh, against the one that has neither."""
    meshes = {
        NONE: {"PYTHONPATH": str(WITHOUT)},
        UNSAMPLED: {"NNPM_TRACE_SAMPLE_RATIO": "0", "NNPM_METRICS_LISTEN": f"127.0.0.1:{free_port(8)}"},
        SAMPLED: {"NNPM_TRACE_SAMPLE_RATIO": "0.01", "NNPM_METRICS_LISTEN": f"127.0.0.1:{free_port(8)}"},
    }
    contestants = [
        Served(
            bench,
            Mesh(bench, name, transport=transport, copies=1, models=("tiny",), environment=environment),
            bench.reference,
        )
        for name, environment in meshes.items()
    ]
    results, _ = run.measure_all(contestants, POINTS, rounds=ROUNDS * rounds, seconds=seconds, say=say)
    return [
        _cost(point.in_flight, name, results[point][name], results[point][NONE]) for point in POINTS for name in meshes
    ]


def _cost(in_flight: int, mesh: str, measured: Measured, bare: Measured) -> Cost:
    return Cost(
        in_flight=in_flight,
        mesh=mesh,
        per_second=measured.per_second,
        lost=100 - 100 * measured.per_second / bare.per_second,
        cpu_per_1000=measured.server_cpu,
        cpu=100 * measured.server_cpu / bare.server_cpu - 100,
    )


def as_markdown(costs: list[Cost]) -> str:
    """A table."""
    lines = [
        "| in flight | a mesh with | requests a second | lost, per cent | CPU-ms per 1,000 | more, per cent |",
        "|---|---|---|---|---|---|",
    ]
    for each in costs:
        figures = f"{each.per_second:,.0f} | {each.lost:.1f} | {each.cpu_per_1000:.3g} | {each.cpu:.1f}"
        lines.append(f"| {each.in_flight} | {each.mesh} | {figures} |")
    return "\n".join(lines) + "\n"


def as_json(costs: list[Cost]) -> list[dict[str, object]]:
    return [asdict(each) for each in costs]
