"""`scripts/chaos`, once its environment is there."""

import asyncio
import json
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from random import Random

from chaos import namespaces, options, plan, rest, scenarios
from chaos.checker import judge
from chaos.faults import Faults
from chaos.history import History, Trouble
from chaos.load import Load, Mix
from chaos.mesh import Mesh, MeshError, Shape
from chaos.namespaces import Namespaces
from chaos.network import Network, NetworkError
from chaos.proxies import Proxies
from chaos.report import Verdict
from nnpm.errors import FailedPrecondition, NnpmError
from nnpm.mesh.redis_server import RedisServer, find_redis_server, server_version

CALM = 6.0
"""Seconds at the end of the load in which no fault begins, a fifth of short loads."""
LETHAL_EVERY = 25.0
"""Seconds between two calls that kill who runs them."""
PRELOADED = frozenset({"jump-clock", "slow-disk"})
"""Faults that need the library of `chaos.shim`."""
SLOWED = frozenset({"slow-worker", "slow-mesh"})
"""Faults that need a network which can be slow."""


def main() -> int:
    """The exit code: 0 if every verdict is good, 1 if one is not, 2 if there was none."""
    asked = options.parse()
    if asked.plan:
        for seed in asked.seeds:
            print(f"seed {seed}")
            print("\n".join(f"  {fault}" for fault in _plan(asked, seed)))
        return 0
    if asked.network != "proxies" and not asked.target and (why := namespaces.enter()):
        if asked.network == "namespaces":
            print(f"scripts/chaos: {why}", file=sys.stderr)
            return 2
        _say(f"networks are cut and slowed by proxies, as {why}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGINT, signal.default_int_handler)
    verdicts: list[Verdict] = []
    try:
        for seed in asked.seeds:
            verdicts += _verdicts(asked, seed)
    except KeyboardInterrupt:
        sys.exit("scripts/chaos: interrupted; everything is stopped")
    except (MeshError, NetworkError, NnpmError) as fault:
        print(f"scripts/chaos: {fault}", file=sys.stderr)
        return 2
    if asked.json:
        print(json.dumps([verdict.as_json() for verdict in verdicts], indent=2))
    return 0 if all(verdict.passed for verdict in verdicts) else 1


def _verdicts(asked: options.Options, seed: int) -> list[Verdict]:
    folder = Path(tempfile.mkdtemp(prefix="nnpm-chaos-"))
    running = _outside(asked, seed, folder) if asked.target else _inside(asked, seed, folder)
    try:
        return asyncio.run(running)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


async def _inside(asked: options.Options, seed: int, folder: Path) -> list[Verdict]:
    """A mesh of our own, broken by the seed's plan or by scenarios."""
    history = History()
    shape = Shape(asked.schedulers, asked.workers, _redis(asked), asked.fsync, asked.transport)
    network = _network(asked)
    mesh = Mesh(shape, folder, history, network)
    verdicts = []
    try:
        await mesh.start()
        before = await rest.redis_bytes(mesh)
        _say(f"{asked.schedulers} schedulers, {asked.workers} workers, {shape.redis.kind} {_dotted(shape.redis)}")
        _say(f"networks: {network.kind}")
        if not asked.scenarios:
            faults = await _break(asked, seed, mesh, history)
            await _look_back(mesh, history, before)
            verdicts.append(_judged(asked, Verdict(f"seed {seed}", history, judge(history), faults), folder))
        for name in asked.scenarios:
            await mesh.until_it_serves()
            mesh.history = history = History()
            notes, figures = await scenarios.play(name, mesh, history, _say, asked.minutes)
            await _look_back(mesh, history, before)
            verdicts.append(_judged(asked, Verdict(name, history, judge(history), 1, notes, figures), folder))
    finally:
        await mesh.stop()
    return verdicts


async def _look_back(mesh: Mesh, history: History, before: int) -> None:
    """What clients were not told."""
    history.at_rest += await rest.wait_for_rest(mesh, before)
    rest.read_journals(mesh, history)
    rest.read_tokens(mesh, history)


def _judged(asked: options.Options, verdict: Verdict, folder: Path) -> Verdict:
    """Say it, and keep what it was found by."""
    if not asked.json:
        print("\n".join(verdict.as_lines()), flush=True)
    if asked.keep is not None:
        kept = asked.keep / verdict.name.replace(" ", "-").replace(":", "-")
        shutil.copytree(folder, kept, dirs_exist_ok=True, ignore=shutil.ignore_patterns("cache", "packs"))
        verdict.history.write(kept / "history.jsonl")
    return verdict


async def _break(asked: options.Options, seed: int, mesh: Mesh, history: History) -> int:
    """Load and faults at the same time; how many faults."""
    dice = Random(f"load {seed}")  # noqa: S311 -- to be repeated
    faults = [fault for fault in _plan(asked, seed) if _is_possible(mesh, fault)]
    if not mesh.can_preload:
        _say("no clock jumps and no slow disks: there is no C compiler for the library that makes them")
    lethal = tuple(float(at) for at in range(5, int(asked.seconds), int(LETHAL_EVERY)))
    load = Load(
        {name: mesh.data_address(name) for name in mesh.schedulers}, history, dice, rate=asked.rate, lethal=lethal
    )
    begin = time.monotonic()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(load.run(asked.seconds, begin))
            group.create_task(Faults(mesh, history, Random(f"severity {seed}"), _say).run(faults, begin))  # noqa: S311
    finally:
        await load.close()
    return len(faults)


def _is_possible(mesh: Mesh, fault: plan.Fault) -> bool:
    if fault.kind in PRELOADED:
        return mesh.can_preload
    if fault.kind == "cut-sessions":
        return bool(mesh.to_schedulers)
    return mesh.network.can_slow or fault.kind not in SLOWED


async def _outside(asked: options.Options, seed: int, folder: Path) -> list[Verdict]:
    """Calls of a server that somebody else runs, and breaks: what clients are told is all that there is to judge."""
    history = History()
    dice = Random(f"load {seed}")  # noqa: S311 -- to be repeated
    load = Load({asked.target: asked.target}, history, dice, rate=asked.rate, mix=Mix(quick=0, never=0))
    try:
        await load.run(asked.seconds, time.monotonic())
    finally:
        await load.close()
    # Nobody says when the target was broken: it may have been at any time.
    history.troubles.append(Trouble("down", asked.target, 0.0, time.monotonic()))
    verdict = Verdict(f"seed {seed} at {asked.target}", history, judge(history), 0)
    return [_judged(asked, verdict, folder)]


def _plan(asked: options.Options, seed: int) -> list[plan.Fault]:
    calm = min(CALM, asked.seconds / 5)
    return plan.draw(seed, asked.seconds - calm, schedulers=asked.schedulers, workers=asked.workers, kinds=asked.faults)


def _network(asked: options.Options) -> Network:
    return Namespaces() if namespaces.entered() and asked.network != "proxies" else Proxies()


def _redis(asked: options.Options) -> RedisServer:
    if asked.redis is None:
        return find_redis_server()
    version = server_version(asked.redis)
    if version is None:
        raise FailedPrecondition("REDIS_NOT_FOUND", f"{asked.redis} is no Redis or Valkey server that runs here")
    return RedisServer(asked.redis, asked.redis.name, version)


def _dotted(redis: RedisServer) -> str:
    return ".".join(str(part) for part in redis.version)


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
