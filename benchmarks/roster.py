"""Who takes part."""

import importlib.util
from collections.abc import Collection, Iterator, Sequence

from benchmarks.contestant import Contestant
from benchmarks.peers.echo import Echo
from benchmarks.peers.in_process import InProcess
from benchmarks.peers.mesh import Mesh
from benchmarks.points import Point
from benchmarks.served import Served
from benchmarks.workbench import Workbench

PEERS = ("nnpm", "in-process", "echo")
"""What `--peers` may name."""


def contestants(
    bench: Workbench, points: Collection[Point], *, peers: Collection[str], transports: Sequence[str]
) -> tuple[Contestant, ...]:
    """Those asked for that have anything to say about one of the points, the mesh first."""
    wanted = set(peers) or set(PEERS)
    made: list[Contestant] = []
    if "nnpm" in wanted:
        made += _meshes(bench, points, transports or _transports())
    if "in-process" in wanted:
        made.append(InProcess(bench))
    if "echo" in wanted:
        made.append(Served(Echo(bench), bench.models, lambda model, rows: rows))
    return tuple(each for each in made if any(each.serves(point) for point in points))


def _meshes(bench: Workbench, points: Collection[Point], transports: Sequence[str]) -> Iterator[Contestant]:
    for copies in sorted({point.copies for point in points}):
        models = list(dict.fromkeys(point.model for point in points if point.copies == copies))
        for transport in transports:
            name = "nnpm" if transport in {"native", "auto"} else f"nnpm {transport}"
            name = name if copies == 1 else f"{name} x{copies}"
            mesh = Mesh(bench, name, transport=transport, copies=copies, models=models)
            yield Served(mesh, bench.models, bench.reference)


def _transports() -> Sequence[str]:
    """Both, where the native one is built."""
    return ("native", "grpc") if importlib.util.find_spec("nnpm_wire") else ("grpc",)
