"""Who takes part."""

import importlib.util
from collections.abc import Collection, Iterator, Sequence

from benchmarks.contestant import Contestant, Server
from benchmarks.peers.echo import Echo
from benchmarks.peers.in_process import InProcess
from benchmarks.peers.mesh import Mesh
from benchmarks.peers.mlserver import MLServer
from benchmarks.peers.mosec import Mosec
from benchmarks.peers.outside import Outside
from benchmarks.peers.triton import Triton
from benchmarks.points import Point
from benchmarks.served import Served
from benchmarks.workbench import Workbench

PEERS = ("nnpm", "in-process", "echo", "triton", "mosec", "mlserver")
"""What `--peers` may name."""

TRITON_DELAYS = (0, 500)
"""Microseconds: the first is best with few in flight, the second with many."""


def contestants(
    bench: Workbench,
    points: Collection[Point],
    *,
    peers: Collection[str],
    transports: Sequence[str],
    outside: Sequence[tuple[str, str]] = (),
) -> tuple[Contestant, ...]:
    """Those asked for that have anything to say about one of the points, the mesh first."""
    wanted = set(peers) or set(PEERS)
    made: list[Contestant] = []
    if "nnpm" in wanted:
        made += (_served(bench, mesh) for mesh in _meshes(bench, points, transports or _transports()))
    if "in-process" in wanted:
        made.append(InProcess(bench))
    if "echo" in wanted:
        made.append(Served(bench, Echo(bench), lambda model, rows: rows))
    made += (_served(bench, server) for server in _peers(bench, points, wanted))
    made += (_served(bench, Outside(bench, name, address)) for name, address in outside)
    return tuple(each for each in made if any(each.serves(point) for point in points))


def _served(bench: Workbench, server: Server) -> Contestant:
    return Served(bench, server, bench.reference)


def _meshes(bench: Workbench, points: Collection[Point], transports: Sequence[str]) -> Iterator[Server]:
    for copies, models in _models_by_copies(points):
        for transport in transports:
            name = "nnpm grpc" if transport == "grpc" else "nnpm"
            yield Mesh(bench, name + _times(copies), transport=transport, copies=copies, models=models)


def _peers(bench: Workbench, points: Collection[Point], wanted: Collection[str]) -> Iterator[Server]:
    for copies, models in _models_by_copies(points):
        if "triton" in wanted:
            for delay in TRITON_DELAYS:
                name = f"Triton {delay / 1e3:g} ms{_times(copies)}"
                yield Triton(bench, name, delay=delay, copies=copies, models=models)
        if "mosec" in wanted:
            yield Mosec(bench, f"Mosec{_times(copies)}", copies=copies, models=models)
        if "mlserver" in wanted and copies == 1:
            yield MLServer(bench, "MLServer", batching=False, models=models)
            yield MLServer(bench, "MLServer batching", batching=True, models=models)


def _models_by_copies(points: Collection[Point]) -> list[tuple[int, list[str]]]:
    return [
        (copies, list(dict.fromkeys(point.model for point in points if point.copies == copies)))
        for copies in sorted({point.copies for point in points})
    ]


def _times(copies: int) -> str:
    return "" if copies == 1 else f" x{copies}"


def _transports() -> Sequence[str]:
    """Both, where the native one is built."""
    return ("native", "grpc") if importlib.util.find_spec("nnpm_wire") else ("grpc",)
