"""One command: starts a mesh, asks too much of it, and says who got what."""

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.load_run import LoadError
from benchmarks.processes import StartError
from fairness.balance import as_table, draw, percentiles
from fairness.load import Seen
from fairness.mesh import sleeping_mesh
from fairness.scenarios import BALANCED_AT, SCENARIOS, Outcome, Rig

DESCRIPTION = """Start a mesh whose replicas sleep, ask more of it than it can do, and say who got what.

    scripts/fairness                         all scenarios, about three minutes
    scripts/fairness --only overload         one of them
    scripts/fairness --seconds 15            shorter runs
    scripts/fairness --target HOST:PORT      a server that runs already, and serves the model `sleeper`
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exits with 1 when a bound does not hold."""
    options = _options(arguments)
    outcomes: dict[str, Outcome] = {}
    try:
        with tempfile.TemporaryDirectory(prefix="nnpm-fairness-") as scratch:
            if options.target:
                outcomes = _measure(options, options.target)
            else:
                with sleeping_mesh(Path(scratch), options.transport, options.workers) as address:
                    outcomes = _measure(options, address)
    except (StartError, LoadError) as fault:
        sys.exit(f"scripts/fairness: {fault}")
    if options.plot and "balance" in outcomes:
        title = f"{options.workers} workers at {BALANCED_AT:.0%}; one of ten runs is eleven times as long"
        draw(outcomes["balance"].policies, title).savefig(options.plot, bbox_inches="tight")
    if options.json:
        print(json.dumps(_as_json(outcomes), indent=2))
    return 0 if all(verdict.holds for outcome in outcomes.values() for verdict in outcome.verdicts) else 1


def _measure(options: argparse.Namespace, address: str) -> dict[str, Outcome]:
    outcomes: dict[str, Outcome] = {}
    for name in options.only.split(","):
        seconds = options.seconds * (3 if name == "overload" else 1)
        rig = Rig(address, options.workers, options.run / 1e3, seconds, options.seed)
        outcomes[name] = asyncio.run(SCENARIOS[name](rig))
        if not options.json:
            print(as_text(name, outcomes[name]), flush=True)
    return outcomes


def as_text(name: str, outcome: Outcome) -> str:
    """A table of the flows, and a line for each verdict."""
    lines = [f"{name}", f"  {'':<16}{'sent/s':>9}{'answered/s':>12}{'p50 ms':>9}{'p99 ms':>9}  refused"]
    for flow, seen in outcome.flows.items():
        refused = ", ".join(f"{count} {reason}" for reason, count in seen.refused.most_common()) or "none"
        lines.append(
            f"  {flow:<16}{len(seen.ends) / seen.seconds:>9.1f}{seen.goodput:>12.1f}"
            f"{seen.percentile(50):>9.1f}{seen.percentile(99):>9.1f}  {refused}"
        )
    if outcome.policies:
        lines += ["", as_table(outcome.policies), ""]
    for verdict in outcome.verdicts:
        held = "ok" if verdict.holds else "NOT"
        lines.append(f"  {held:>4}  {verdict.what}: {verdict.figure:.2f} ({verdict.bound})")
    return "\n".join(lines) + "\n"


def _as_json(outcomes: Mapping[str, Outcome]) -> dict[str, Any]:
    return {
        name: {
            "flows": {flow: _flow_json(seen) for flow, seen in outcome.flows.items()},
            "policies": {policy: percentiles(took) for policy, took in outcome.policies.items()},
            "verdicts": [
                {"what": each.what, "figure": each.figure, "bound": each.bound, "holds": each.holds}
                for each in outcome.verdicts
            ],
        }
        for name, outcome in outcomes.items()
    }


def _flow_json(seen: Seen) -> dict[str, Any]:
    return {
        "sent": len(seen.ends),
        "seconds": seen.seconds,
        "answered": len(seen.answered),
        "p50_ms": seen.percentile(50),
        "p99_ms": seen.percentile(99),
        "refused": dict(seen.refused),
    }


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="scripts/fairness", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default=",".join(SCENARIOS), metavar="NAME,...", help=f"of: {', '.join(SCENARIOS)}")
    parser.add_argument("--seconds", type=float, default=20.0, help="of one load; overload takes three times as long")
    parser.add_argument("--workers", type=int, default=16, help="replicas, each on a worker of its own (default 16)")
    parser.add_argument("--run", type=float, default=80.0, help="milliseconds that a run takes (default 80)")
    parser.add_argument("--seed", type=int, default=1, help="of when calls are sent")
    parser.add_argument("--transport", choices=("auto", "native", "grpc"), default="auto")
    parser.add_argument("--target", metavar="HOST:PORT", default="", help="of a server that runs already")
    parser.add_argument("--plot", metavar="FILE.svg", type=Path, help="where the plot of `balance` goes")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args(arguments)
    if unknown := set(options.only.split(",")) - set(SCENARIOS):
        parser.error(f"--only: no such scenario: {', '.join(sorted(unknown))}")
    if options.seconds <= 0 or options.workers < 1 or options.run <= 0:
        parser.error("--seconds, --workers and --run must be above 0")
    return options
