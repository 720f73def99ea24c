"""Looks whether a mesh is at rest: invariant 4, from outside."""

import asyncio
import re
import time
import urllib.request
from collections.abc import Sequence

from redis.asyncio import Redis

from chaos.history import Begin, History
from chaos.mesh import Mesh
from nnpm.queue.keys import GROUP, SCHEDULERS

SECONDS = 40.0
"""Within which it must come to rest: several rounds of the janitor."""
GROWTH = 16 << 20
"""Bytes of Redis that may be more than before the load: its own tables and buffers."""
_METRIC = "nnpm_in_flight_calls "
_TOKEN = re.compile(r'"fencing_token": ?(\d+)')


async def redis_bytes(mesh: Mesh) -> int:
    """What Redis uses now."""
    client = mesh.queue.client()
    try:
        return int((await client.info("memory"))["used_memory"])
    finally:
        await client.aclose()


async def wait_for_rest(mesh: Mesh, before: int) -> list[str]:
    """What is left lying about after a while; empty if nothing is.

    Args:
        before: bytes that Redis used before the load.
    """
    until = time.monotonic() + SECONDS
    while True:
        left = await _left(mesh, before)
        if not left or time.monotonic() > until:
            return left + mesh.unasked
        await asyncio.sleep(0.5)


async def _left(mesh: Mesh, before: int) -> list[str]:
    found = [f"{name} is not running" for name, member in mesh.members.items() if not member.alive]
    client = mesh.queue.client()
    try:
        found += await _in_redis(mesh, client)
        used = int((await client.info("memory"))["used_memory"])
        if used > before + GROWTH:
            found.append(f"Redis uses {used - before} bytes more than before")
    except OSError as error:
        found.append(f"Redis does not answer: {error}")
    finally:
        await client.aclose()
    for name in mesh.schedulers:
        # A Session is a call, too: one with each worker.
        try:
            held = await asyncio.to_thread(_calls_held, mesh.metrics_address(name)) - len(mesh.workers)
        except OSError as error:
            found.append(f"{name} does not tell what it holds: {error}")  # it may be starting yet
            continue
        if held:
            found.append(f"{name} holds {held:+g} calls")
    return found


async def _in_redis(mesh: Mesh, client: Redis) -> list[str]:
    found = []
    async for key in client.scan_iter("nnpm:{*}:requests"):
        text = key.decode()
        if length := await client.xlen(key):
            found.append(f"{text} holds {length} entries")
        for group in await client.xinfo_groups(key):
            if group["pending"]:
                found.append(f"{text} has {group['pending']} entries pending")
            consumers = await client.xinfo_consumers(key, GROUP)
            living = [each for each in consumers if each["idle"] < SECONDS * 1000]
            if len(consumers) > len(mesh.workers):
                found.append(f"{text} has {len(consumers)} consumers ({len(living)} seen lately)")
    listed = await client.scard(SCHEDULERS)
    if listed != len(mesh.schedulers):
        found.append(f"{listed} schedulers are listed, {len(mesh.schedulers)} live")
    return found


def _calls_held(address: str) -> float:
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
        for line in answer.read().decode().splitlines():
            if line.startswith(_METRIC):
                return float(line.removeprefix(_METRIC))
    return 0.0


def read_journals(mesh: Mesh, history: History) -> None:
    """What the workers began since the history's first call, into the history."""
    since = min((call.sent for call in history.calls.values()), default=0.0)
    for path in sorted(mesh.journals.glob("*.journal")):
        found = begins(int(path.stem), path.read_text().splitlines())
        history.begins += [begin for begin in found if begin.at >= since]


def begins(pid: int, lines: Sequence[str]) -> list[Begin]:
    """One process's journal."""
    return [
        Begin(int(number), pid, float(at)) for at, *numbers in (line.split() for line in lines) for number in numbers
    ]


def read_tokens(mesh: Mesh, history: History) -> None:
    """The fencing tokens that the schedulers say they lead with, into the history."""
    for scheduler in mesh.schedulers:
        for line in mesh.members[scheduler].log.read_text(errors="replace").splitlines():
            if '"fencing_token"' in line and (found := _TOKEN.search(line)):
                history.tokens.append(int(found[1]))
