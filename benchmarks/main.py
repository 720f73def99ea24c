"""`scripts/bench`, once its environment is there."""

import json
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import facts, h2load, options, plots, report, roster, run, scale, schedulers, telemetry
from benchmarks.load_run import LoadError
from benchmarks.models import all_models, sources_digest
from benchmarks.points import chosen_points
from benchmarks.processes import StartError
from benchmarks.workbench import Workbench


def main(tools: Path, environment: Callable[[str, Sequence[str]], Path], load_program: Callable[[], Path]) -> int:
    """Measure and report; the exit code.

    Args:
        tools: the folder where the models are kept.
        environment: gives the Python of an environment of that name that holds these packages.
        load_program: gives our own generator, built.
    """
    asked = options.parse()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("scripts/bench: stopped"))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        measure(asked, tools, environment, load_program)
    except KeyboardInterrupt:
        sys.exit("scripts/bench: interrupted; everything is stopped")
    except (StartError, LoadError) as fault:
        sys.exit(f"scripts/bench: {fault}")
    return 0


def measure(
    asked: options.Options,
    tools: Path,
    environment: Callable[[str, Sequence[str]], Path],
    load_program: Callable[[], Path],
) -> None:
    """The run, and its files in the folder asked for."""
    h2load.find()
    begin = time.monotonic()
    about = facts.machine_facts()
    points = chosen_points(asked.only, quick=asked.quick)
    model_files = tools / "models" / sources_digest()
    model_files.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="nnpm-bench-") as scratch:
        bench = Workbench(Path(scratch), model_files, all_models(), environment, load_program)
        if asked.scale or asked.telemetry:
            found, text = _alone(asked, bench)
            write(asked, {"facts": about, **found}, text)
            return
        taking_part = roster.contestants(
            bench, points, peers=asked.peers, transports=asked.transports, outside=asked.outside
        )
        results, idle = run.measure_all(taking_part, points, rounds=asked.rounds, seconds=asked.seconds, say=_say)
    settings = {
        "rounds": asked.rounds,
        "seconds a run": asked.seconds,
        "load": "h2load, one connection for gRPC; for alike and mixed bodies benchmarks/load (Go)",
        "idle": f"all servers together take {100 * idle:.1f} % of a core while nothing is asked",
        "took": f"{time.monotonic() - begin:.0f} s",
    }
    found = report.as_json(about, taking_part, results, settings)
    write(asked, found, report.as_markdown(found))
    plots.draw(found, asked.out)


def _alone(asked: options.Options, bench: Workbench) -> tuple[dict[str, Any], str]:
    """What is measured of the mesh alone, without peers, and the tables of it."""
    transport = next(iter(asked.transports), "")
    found: dict[str, Any] = {}
    texts = []
    if asked.scale:
        steps = scale.measure(bench, transport, asked.scale, asked.seconds, _say)
        growth = schedulers.measure(bench, transport, rounds=asked.rounds, seconds=asked.seconds, say=_say)
        found |= {"scale": scale.as_json(steps), "schedulers": schedulers.as_json(growth)}
        texts += [scale.as_markdown(steps), schedulers.as_markdown(growth)]
    if asked.telemetry:
        costs = telemetry.measure(bench, transport, rounds=asked.rounds, seconds=asked.seconds, say=_say)
        found["telemetry"] = telemetry.as_json(costs)
        texts.append(telemetry.as_markdown(costs))
    return found, "\n".join(texts)


def write(asked: options.Options, found: Mapping[str, Any], text: str) -> None:
    """Into the folder asked for, and to the standard output."""
    asked.out.mkdir(parents=True, exist_ok=True)
    (asked.out / "results.json").write_text(json.dumps(found, indent=2) + "\n")
    (asked.out / "results.md").write_text(text)
    print(json.dumps(found, indent=2) if asked.json else text)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
