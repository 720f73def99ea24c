"""What can be asked of `scripts/bench`."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.points import cases
from benchmarks.roster import PEERS

DESCRIPTION = """Measure the mesh and its peers in one run, on the same models and bodies, and write what came of it.

Everything is started and stopped by this program; peers are installed into environments of their own on their first
use. Leave the machine alone meanwhile.

    scripts/bench                                    everything: about half an hour
    scripts/bench --quick --only tiny,mid            two models, fewer points, shorter runs
    scripts/bench --peers nnpm,in-process            only these (the first time, others take minutes to install)
    scripts/bench --scale 16                         how the mesh grows with its workers, and with a second scheduler
    scripts/bench --telemetry                        what metrics and tracing cost where no call is sampled
    scripts/bench --peer triton=127.0.0.1:9001       also a server of the Open Inference Protocol that runs already,
                                                     with models of the names that --only takes
"""


@dataclass(frozen=True, slots=True)
class Options:
    """The command line, checked. `seconds` is how long one run of a generator should take."""

    only: frozenset[str]
    peers: frozenset[str]
    outside: tuple[tuple[str, str], ...]
    transports: tuple[str, ...]
    quick: bool
    rounds: int
    seconds: float
    json: bool
    scale: int
    telemetry: bool
    out: Path


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Exits with 2 and a message for a wrong command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", metavar="CASE,...", default="", help=f"of: {', '.join(cases())}")
    parser.add_argument("--peers", metavar="NAME,...", default="", help=f"of: {', '.join(PEERS)}")
    parser.add_argument(
        "--peer", metavar="NAME=HOST:PORT", action="append", default=[], help="also this server; may be repeated"
    )
    parser.add_argument(
        "--transport",
        metavar="T,...",
        default="",
        help="of the mesh: native, grpc, auto; each one named is measured as a mesh of its own",
    )
    parser.add_argument("--quick", action="store_true", help="fewer points, runs of half a second")
    parser.add_argument("--rounds", type=int, default=3, help="how often each point is measured (default 3)")
    parser.add_argument("--seconds", type=float, default=None, help="of load in one measurement (default 2)")
    parser.add_argument(
        "--scale",
        metavar="SLOTS",
        type=int,
        nargs="?",
        const=64,
        default=0,
        help="only: how a mesh's throughput grows from 1 to SLOTS workers (default 64) whose runs take 20 ms, and what "
        "two schedulers carry against one",
    )
    parser.add_argument(
        "--telemetry", action="store_true", help="only: a mesh with metrics and tracing beside one without, in turns"
    )
    parser.add_argument("--json", action="store_true", help="print the results as JSON instead of tables")
    parser.add_argument(
        "--out", metavar="DIR", type=Path, default=Path("bench-results"), help="for table, JSON and plots"
    )
    found = parser.parse_args(arguments)
    if found.rounds < 1:
        parser.error("--rounds must be at least 1")
    return Options(
        only=_among(parser, "--only", found.only, cases()),
        peers=_among(parser, "--peers", found.peers, PEERS),
        outside=tuple(_address(parser, text) for text in found.peer),
        transports=tuple(sorted(_among(parser, "--transport", found.transport, ("native", "grpc", "auto")))),
        quick=found.quick,
        rounds=found.rounds,
        seconds=found.seconds or (0.7 if found.quick else 2.0),
        json=found.json,
        scale=found.scale,
        telemetry=found.telemetry,
        out=found.out,
    )


def _among(parser: argparse.ArgumentParser, flag: str, text: str, known: Sequence[str]) -> frozenset[str]:
    named = frozenset(filter(None, (part.strip() for part in text.split(","))))
    if unknown := named - set(known):
        parser.error(f"{flag}: no such name: {', '.join(sorted(unknown))} (there are {', '.join(known)})")
    return named


def _address(parser: argparse.ArgumentParser, text: str) -> tuple[str, str]:
    name, equals, address = text.partition("=")
    if not (name and equals and address.rpartition(":")[2].isdigit()):
        parser.error(f"--peer takes NAME=HOST:PORT, not {text!r}")
    return name, address
