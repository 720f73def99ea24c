"""Situations that the documentation promises about, each with what is measured in it.

A scenario adds what it finds wrong to the history's `at_rest`, beside what the checker finds in its calls.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from random import Random

from chaos import steady
from chaos.history import Begin, Call, History, Trouble
from chaos.load import Load, Mix
from chaos.mesh import Mesh
from chaos.rest import begins
from nnpm.queue.schedulers import LEASE

Say = Callable[[str], None]
Shown = tuple[Sequence[str], Mapping[str, float]]
"""What was measured: for people, and for programs."""

HELD = 96
"""Requests in the hands of the mesh when a worker dies; each takes the model `HOLD` milliseconds."""
HOLD = 200
SLACK = 1.0
"""Seconds in which what a lost worker had in hand runs elsewhere, from when its loss can be known."""
PLAIN = Mix(streams=0, foreign=0, cancelled=0, hasty=0, quick=0, large=0, never=0)
GOOD_CALLS = 1_000
STREAMED, CANCELLED, STREAM_HOLD = 1_000, 100, 1_200
"""Requests of one stream, how many of them are cancelled, and milliseconds that each takes: longer than sending all."""
_FIRST = 1_000_000
MEASURING_ERROR = 0.25
"""Seconds that this program may notice a thing late on a busy machine."""


async def play(name: str, mesh: Mesh, history: History, say: Say, minutes: float) -> Shown:
    """Play one on a mesh that is whole; what was measured. Its calls have numbers that no other scenario has."""
    dice = Random(f"scenario {name}")  # noqa: S311 -- to be repeated
    addresses = {scheduler: mesh.data_address(scheduler) for scheduler in mesh.schedulers}
    mix = Mix(never=0) if name == STEADY else PLAIN
    load = Load(addresses, history, dice, rate=60.0, mix=mix, first=_FIRST * (1 + NAMES.index(name)))
    try:
        if name == STEADY:
            return await steady.hold(mesh, history, load, say, minutes)
        return await SCENARIOS[name](mesh, history, load, say)
    finally:
        await load.close()


async def _worker_killed(mesh: Mesh, history: History, load: Load, say: Say) -> Shown:
    """A worker is killed with requests in hand."""
    return await _worker_lost(mesh, history, load, say, frozen=False)


async def _worker_frozen(mesh: Mesh, history: History, load: Load, say: Say) -> Shown:
    """A worker is frozen with requests in hand."""
    return await _worker_lost(mesh, history, load, say, frozen=True)


async def _worker_lost(mesh: Mesh, history: History, load: Load, say: Say, *, frozen: bool) -> Shown:
    """A worker is lost with requests in hand: when do they run elsewhere?"""
    sending = asyncio.create_task(load.burst(HELD, milliseconds=HOLD))
    victim = await _busy_worker(mesh)
    pid = mesh.members[victim].pid
    since = time.monotonic()
    if frozen:
        mesh.members[victim].freeze()
    else:
        mesh.members[victim].wanted = False
        mesh.kill(victim)
    say(f"{victim} is {'frozen' if frozen else 'killed'}")
    await sending
    if frozen:
        mesh.members[victim].thaw()
        history.troubles.append(Trouble("freeze-worker", victim, since, time.monotonic()))
    else:
        mesh.members[victim].start()
    elsewhere = _first_begins(_all_begins(mesh), pid)
    # What was answered although nobody else ran it had its answer under way.
    in_hand = [
        number
        for number in _unanswered_at(history, _begins(mesh, pid), since)
        if number in elsewhere or not _answered(history, history.calls[number])
    ]
    delays = [elsewhere[number] - since for number in in_hand if number in elsewhere]
    allowed = SLACK + (LEASE if frozen else 0.0)
    if not in_hand:
        history.at_rest.append(f"{victim} had nothing in hand: nothing was shown")
    history.at_rest += [f"call {number} never ran elsewhere" for number in in_hand if number not in elsewhere]
    # Suspects run alone: as many at once as there are other workers, and the rest after them.
    at_once = sorted(delays)[: len(mesh.workers) - 1] or [0.0]
    first, last = at_once[0], at_once[-1]
    if last > allowed + MEASURING_ERROR:
        history.at_rest.append(
            f"what {victim} had in hand began to run elsewhere after {last:.2f} s; {allowed:g} s is promised"
        )
    note = (
        f"{len(in_hand)} requests in the hands of {victim}; elsewhere {first:.2f} to {last:.2f} s later ({allowed:g} s)"
    )
    return [note], {"in_hand": len(in_hand), "first_seconds": first, "last_seconds": last, "allowed_seconds": allowed}


async def _halves(mesh: Mesh, history: History, load: Load, say: Say) -> Shown:
    """One scheduler and half of the workers are killed under load: only the dead scheduler's calls fail."""
    begin = time.monotonic()
    loading = asyncio.create_task(load.run(12.0, begin))
    await asyncio.sleep(3.0)
    dead = mesh.schedulers[-1]
    workers = mesh.workers[: max(1, len(mesh.workers) // 2)]
    for name in (dead, *workers):
        mesh.kill(name)
    say(f"killed: {dead}, {', '.join(workers)}")
    await loading
    failed = [
        call for call in history.calls.values() if any(end.code != "OK" for end in history.ends.get(call.number, ()))
    ]
    history.at_rest += [
        f"call {call.number} of {call.target} failed, which lives" for call in failed if call.target != dead
    ]
    codes = sorted({end.code for call in failed for end in history.ends[call.number]})
    history.at_rest += [f"a call of the dead scheduler ended with {code}" for code in codes if code != "UNAVAILABLE"]
    others = sum(call.target != dead for call in failed)
    sent, told = len(history.calls), ", ".join(codes) or "none"
    note = f"{len(failed)} of {sent} calls failed, {others} of living schedulers: {told}"
    return [note], {"calls": sent, "failed": len(failed), "failed_of_the_living": others}


async def _poison(mesh: Mesh, history: History, load: Load, say: Say) -> Shown:
    """A request that kills its worker, among good ones, by every scheduler."""
    say(f"one lethal call among {GOOD_CALLS}")
    await load.burst(GOOD_CALLS + 1, milliseconds=1, lethal_at=GOOD_CALLS // 2)
    right = sum(_answered(history, call) for call in history.calls.values())
    lethal = next(call for call in history.calls.values() if call.lethal)
    told = [end.reason or end.code for end in history.ends.get(lethal.number, ())]
    if right != GOOD_CALLS:
        history.at_rest.append(f"{right} of {GOOD_CALLS} good calls were answered")
    if told != ["POISON_REQUEST"]:
        history.at_rest.append(f"the lethal call was told {told}")
    if len(history.deaths) > 2:
        history.at_rest.append(f"{len(history.deaths)} workers died")
    died = len(history.deaths)
    note = f"{right} of {GOOD_CALLS} good calls answered; the lethal one: {told}; {died} workers died"
    return [note], {"good": GOOD_CALLS, "answered": right, "workers_died": died}


async def _stream(mesh: Mesh, history: History, load: Load, say: Say) -> Shown:
    """Many requests in flight on one stream, some of them cancelled in the middle."""
    scheduler = mesh.members[mesh.schedulers[0]].pid
    # What the first stream leaves in memory is what any number of further ones use again.
    await load.partly_cancelled(STREAMED, CANCELLED, milliseconds=HOLD)
    before = steady.resident_bytes(scheduler)
    say(f"{CANCELLED} of {STREAMED} requests of a stream are cancelled")
    cancelled, at = await load.partly_cancelled(STREAMED, CANCELLED, milliseconds=STREAM_HOLD)
    last = max(history.calls)
    answers = sum(_answered(history, history.calls[number]) for number in range(last - STREAMED + 1, last + 1))
    begun = [begin for begin in _all_begins(mesh) if begin.number in cancelled]
    late = {begin.number for begin in begun if begin.at > at + MEASURING_ERROR}
    under_way = sum(_answered(history, history.calls[number]) for number in cancelled)
    growth = steady.resident_bytes(scheduler) / before - 1.0
    if answers != STREAMED - CANCELLED or under_way:
        history.at_rest.append(f"{answers} answers, {under_way} of them of what was cancelled")
    if late:
        history.at_rest.append(
            f"{len(late)} requests were begun more than {MEASURING_ERROR:g} s after they were cancelled"
        )
    if growth > steady.GROWTH:
        history.at_rest.append(f"the scheduler has grown by {growth:.1%}")
    ran = len({begin.number for begin in begun})
    note = (
        f"{answers} of {STREAMED} answered ({under_way} of them cancelled); of {len(cancelled)} cancelled {ran} "
        f"had begun, {len(late)} were begun later; the scheduler's memory {growth:+.1%}"
    )
    figures = {
        "answers": answers,
        "cancelled": len(cancelled),
        "begun_before": ran - len(late),
        "begun_later": len(late),
    }
    return [note], figures | {"growth": growth}


async def _busy_worker(mesh: Mesh) -> str:
    """A worker that has just begun something."""
    since = time.monotonic()
    async with asyncio.timeout(30):
        while True:
            for name in mesh.workers:
                if any(begin.at >= since for begin in _begins(mesh, mesh.members[name].pid)):
                    return name
            await asyncio.sleep(0.01)


def _begins(mesh: Mesh, pid: int) -> list[Begin]:
    path = mesh.journals / f"{pid}.journal"
    return begins(pid, path.read_text().splitlines()) if path.exists() else []


def _all_begins(mesh: Mesh) -> list[Begin]:
    return [begin for path in mesh.journals.glob("*.journal") for begin in _begins(mesh, int(path.stem))]


def _first_begins(found: Iterable[Begin], but: int) -> dict[int, float]:
    """When each call was first begun by another process than that one."""
    first: dict[int, float] = {}
    for begin in found:
        if begin.pid != but:
            first[begin.number] = min(begin.at, first.get(begin.number, begin.at))
    return first


def _unanswered_at(history: History, found: Iterable[Begin], at: float) -> list[int]:
    """What of these had begun by then, and whose answer was not under way yet."""
    # A process's journal has earlier scenarios' calls, too.
    begun = {begin.number for begin in found if begin.at <= at and begin.number in history.calls}
    later = at + MEASURING_ERROR
    return sorted(number for number in begun if all(end.at > later for end in history.ends.get(number, ())))


def _answered(history: History, call: Call) -> bool:
    return any(end.code == "OK" for end in history.ends.get(call.number, ()))


SCENARIOS: Mapping[str, Callable[[Mesh, History, Load, Say], Coroutine[None, None, Shown]]] = {
    "worker-killed": _worker_killed,
    "worker-frozen": _worker_frozen,
    "halves": _halves,
    "poison": _poison,
    "stream": _stream,
}
STEADY = "steady"
"""Takes as long as is asked for, and is played only by its name."""
NAMES = (*SCENARIOS, STEADY)
