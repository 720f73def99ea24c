"""Watches the memory of a mesh under a load that it carries with ease: whether anything grows."""

import asyncio
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from redis.exceptions import RedisError

from chaos.history import History
from chaos.load import Load
from chaos.mesh import Mesh

SHARE = 0.7
"""Of what it can carry."""
WARM_UP, WINDOW = 60.0, 10.0
"""Seconds: what grows in the first does not count; medians over the second are compared."""
GROWTH = 0.02
"""Of a process's memory, or of Redis's, that is still none."""
CALLERS, TRIAL_SECONDS = 64, 8.0
"""How many callers find out what the mesh can carry, in how many seconds."""
LATE = 1.0
"""Seconds that the load may be late: whoever is later does not see when answers come."""
_LOOK_EVERY = 1.0
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True)
class Watch:
    """What was seen once a second: bytes of each process (and of what Redis says it uses), entries in streams."""

    bytes: dict[str, list[tuple[float, int]]] = field(default_factory=dict)
    most_entries: int = 0

    def note(self, name: str, at: float, size: int) -> None:
        """A size was seen."""
        self.bytes.setdefault(name, []).append((at, size))

    def growth(self, name: str, begin: float, end: float) -> float:
        """From the window that begins then to the one that ends then, as a share."""
        seen = self.bytes[name]
        first = [size for at, size in seen if begin <= at <= begin + WINDOW]
        last = [size for at, size in seen if end - WINDOW <= at <= end]
        return median(last) / median(first) - 1.0 if first and last else 0.0


async def peak(history: History, load: Load) -> float:
    """Answers a second, when many call as fast as they are answered."""
    begin = time.monotonic()
    await load.saturate(CALLERS, TRIAL_SECONDS)
    settled = begin + TRIAL_SECONDS / 4
    ended = [end.at for ends in history.ends.values() for end in ends if end.code == "OK"]
    return sum(settled <= at <= begin + TRIAL_SECONDS for at in ended) / (TRIAL_SECONDS * 3 / 4)


async def watch(mesh: Mesh, seen: Watch, until: float) -> None:
    """Look once a second."""
    pids = {name: member.pid for name, member in mesh.members.items()}
    client = mesh.queue.client()
    try:
        while (now := time.monotonic()) < until:
            for name, pid in pids.items():
                seen.note(name, now, resident_bytes(pid))
            try:
                seen.note("used by Redis", now, int((await client.info("memory"))["used_memory"]))
                entries = [await client.xlen(key) async for key in client.scan_iter("nnpm:{*}:requests")]
                seen.most_entries = max(seen.most_entries, *entries, 0)
            except (RedisError, OSError):
                pass  # a second without a look: who has died shows in the verdict
            await asyncio.sleep(max(0.0, now + _LOOK_EVERY - time.monotonic()))
    finally:
        await client.aclose()


def resident_bytes(pid: int) -> int:
    """Of a process; 0 if it has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
    except OSError:
        return 0


async def hold(
    mesh: Mesh, history: History, load: Load, say: Callable[[str], None], minutes: float
) -> tuple[Sequence[str], Mapping[str, float]]:
    """The load for so many minutes; what was measured. What has grown goes into the history."""
    carried = await peak(history, load)
    rate, seconds = SHARE * carried, minutes * 60
    say(f"{carried:.0f} answers a second are the most; {rate:.0f} calls a second for {minutes:g} minutes")
    begin = time.monotonic()
    seen = Watch()
    async with asyncio.TaskGroup() as group:
        group.create_task(watch(mesh, seen, begin + seconds))
        group.create_task(load.run(seconds, begin, rate=rate))
    if load.late > LATE:
        history.at_rest.append(f"nothing is told: this program was {load.late:.1f} s late, as the machine is too busy")
    warm = min(WARM_UP, seconds / 2)
    grown = {name: seen.growth(name, begin + warm, begin + seconds) for name in seen.bytes}
    history.at_rest += [
        f"{name} has grown by {share:.1%} after the first {warm:g} s" for name, share in grown.items() if share > GROWTH
    ]
    worst = max((name for name in grown if name != "used by Redis"), key=lambda name: grown[name])
    notes = (
        f"{rate:.0f} calls a second for {minutes:g} minutes, {SHARE:.0%} of {carried:.0f}",
        f"resident memory after the first {warm:g} s: {grown[worst]:+.2%} at most ({worst}); {GROWTH:.0%} is promised",
        f"what Redis uses: {grown['used by Redis']:+.2%}; streams held {seen.most_entries} entries at most",
    )
    figures = {
        "calls_per_second": rate,
        "most_per_second": carried,
        "minutes": minutes,
        "most_entries": float(seen.most_entries),
        **{f"growth of {name}": share for name, share in grown.items()},
    }
    return notes, figures
