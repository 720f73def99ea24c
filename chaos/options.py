"""What can be asked of `scripts/chaos`."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos.plan import NAMES
from chaos.scenarios import NAMES as SCENARIO_NAMES
from chaos.scenarios import SCENARIOS

DESCRIPTION = """Start a mesh (several schedulers, many workers, a real Redis), put it under load, break it as a seed
draws, and judge every call afterwards by the invariants of the dispatch protocol. One line a fault, one verdict a seed.

    scripts/chaos                                  one seed, 60 s, 3 schedulers, 8 workers
    scripts/chaos --seed 1 --seeds 10              ten seeds, one after the other
    scripts/chaos --faults kill-worker,flush-redis only these
    scripts/chaos --plan --seed 7                  only print what would happen
    scripts/chaos --scenario worker-killed         one of the situations that the documentation promises about
    scripts/chaos --scenario steady --minutes 10   whether memory grows under 70 % of what the mesh can carry
    scripts/chaos --redis /usr/bin/redis-server    another server than the one that the mesh would choose
    scripts/chaos --target HOST:PORT               no mesh of its own: load and judge one that runs, and that serves
                                                   the model of this program; break it yourself meanwhile
"""
ALL = "all"


@dataclass(frozen=True, slots=True)
class Options:
    """The command line, checked."""

    seeds: tuple[int, ...]
    seconds: float
    rate: float
    schedulers: int
    workers: int
    faults: tuple[str, ...]
    scenarios: tuple[str, ...]
    minutes: float
    target: str
    redis: Path | None
    fsync: str
    transport: str
    network: str
    plan: bool
    json: bool
    keep: Path | None


def parse(arguments: Sequence[str] | None = None) -> Options:
    """Exits with 2 and a message for a wrong command line."""
    parser = argparse.ArgumentParser(
        prog="scripts/chaos", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seed", type=int, default=1, help="the first seed (default 1)")
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="how many seeds, one after the other")
    parser.add_argument("--seconds", type=float, default=60.0, help="of load for each seed (default 60)")
    parser.add_argument("--rate", type=float, default=60.0, help="calls a second (default 60)")
    parser.add_argument("--schedulers", type=int, default=3, metavar="N")
    parser.add_argument("--workers", type=int, default=8, metavar="N")
    parser.add_argument("--faults", metavar="KIND,...", default="", help=f"of: {', '.join(NAMES)} (default: all)")
    parser.add_argument(
        "--scenario",
        choices=(*SCENARIO_NAMES, ALL),
        default="",
        help="one situation instead of drawn faults, or all but `steady` in turn",
    )
    parser.add_argument("--minutes", type=float, default=10.0, help="of load for the scenario `steady` (default 10)")
    parser.add_argument("--target", metavar="HOST:PORT", default="", help="of a server that runs already")
    parser.add_argument("--redis", type=Path, metavar="PATH", help="the redis-server or valkey-server to use")
    parser.add_argument("--appendfsync", choices=("always", "everysec", "no"), default="everysec")
    parser.add_argument("--transport", choices=("auto", "native", "grpc"), default="auto")
    parser.add_argument(
        "--network",
        choices=("auto", "namespaces", "proxies"),
        default="auto",
        help="what is cut and slowed: network namespaces, or proxies on loopback where these are not allowed",
    )
    parser.add_argument("--plan", action="store_true", help="print the faults of each seed and do nothing")
    parser.add_argument("--json", action="store_true", help="print the verdicts as JSON")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep histories, journals and logs there")
    found = parser.parse_args(arguments)
    if found.schedulers < 1 or found.workers < 1 or found.seeds < 1:
        parser.error("--schedulers, --workers and --seeds must be at least 1")
    if found.seconds <= 0 or found.rate <= 0 or found.minutes <= 0:
        parser.error("--seconds, --minutes and --rate must be above 0")
    faults = tuple(filter(None, (part.strip() for part in found.faults.split(",")))) or NAMES
    if unknown := set(faults) - set(NAMES):
        parser.error(f"--faults: no such kind: {', '.join(sorted(unknown))} (there are {', '.join(NAMES)})")
    return Options(
        seeds=tuple(range(found.seed, found.seed + found.seeds)),
        seconds=found.seconds,
        rate=found.rate,
        schedulers=found.schedulers,
        workers=found.workers,
        faults=faults,
        scenarios=tuple(SCENARIOS) if found.scenario == ALL else tuple(filter(None, (found.scenario,))),
        minutes=found.minutes,
        target=found.target,
        redis=found.redis,
        fsync=found.appendfsync,
        transport=found.transport,
        network=found.network,
        plan=found.plan,
        json=found.json,
        keep=found.keep,
    )
