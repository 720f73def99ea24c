"""Makes faults, and puts them right again."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from typing import Any

from redis.exceptions import RedisError

from chaos.history import History, Trouble
from chaos.mesh import Mesh
from chaos.plan import Fault

SLOW_LINK, SLOW_DISK = (0.005, 0.15), (0.05, 0.5)
"""Seconds that a slow link takes for each piece of data, and a slow disk for a flush."""
CLOCK = 3600.0
"""Seconds: how far a clock jumps, to and fro, at most."""

Say = Callable[[str], None]


class Faults:
    """Carries out a plan.

    Args:
        dice: for how bad it gets.
        say: gets one line for each fault.
    """

    def __init__(self, mesh: Mesh, history: History, dice: Random, say: Say) -> None:
        self._mesh = mesh
        self._history = history
        self._dice = dice
        self._say = say

    async def run(self, plan: Sequence[Fault], begin: float) -> None:
        """All of it, from a time on; returns when everything is whole again."""
        async with asyncio.TaskGroup() as group:
            for fault in plan:
                await asyncio.sleep(max(0.0, begin + fault.at - time.monotonic()))
                self._say(str(fault))
                group.create_task(self._one(fault))

    async def _one(self, fault: Fault) -> None:
        since = time.monotonic()
        heal = await self._inject(fault)
        await asyncio.sleep(max(0.0, since + fault.seconds - time.monotonic()))
        await heal()
        self._history.troubles.append(Trouble(fault.kind, fault.target, since, time.monotonic()))

    async def _inject(self, fault: Fault) -> Callable[[], Awaitable[None]]:  # noqa: C901, PLR0911, PLR0912 -- a table
        mesh, name = self._mesh, fault.target
        match fault.kind:
            case "kill-worker" | "kill-scheduler":
                mesh.kill(name)
            case "stop-worker":
                mesh.terminate(name)
            case "freeze-worker" | "freeze-scheduler" | "freeze-redis":
                mesh.members[name].freeze()
                return self._thaw(name)
            case "jump-clock":
                mesh.shims[name].jump(self._dice.uniform(-CLOCK, CLOCK))
            case "cut-worker" | "cut-scheduler":
                await mesh.to_redis[name].cut()
                return self._mend(fault)
            case "slow-worker":
                await mesh.to_redis[name].slow(self._dice.uniform(*SLOW_LINK))
                return self._mend(fault)
            case "cut-sessions":
                await mesh.to_schedulers[name].cut()
                return self._mend(fault)
            case "cut-mesh":
                await mesh.to_mesh[name].cut()
                return self._mend(fault)
            case "slow-mesh":
                await mesh.to_mesh[name].slow(self._dice.uniform(*SLOW_LINK))
                return self._mend(fault)
            case "kill-redis" | "lose-tail":
                return await self._end_redis(lose=fault.kind == "lose-tail")
            case "flush-redis":
                await self._tell_redis("FLUSHALL")
            case "fill-redis":
                await self._tell_redis("CONFIG", "SET", "maxmemory", "1")
                return self._empty
            case "slow-disk":
                mesh.shims["redis"].slow_disk(self._dice.uniform(*SLOW_DISK))
                return self._quick_disk
            case unknown:
                raise ValueError(f"no such fault: {unknown}")
        return _nothing

    def _thaw(self, name: str) -> Callable[[], Awaitable[None]]:
        async def thaw() -> None:
            self._mesh.members[name].thaw()

        return thaw

    def _mend(self, fault: Fault) -> Callable[[], Awaitable[None]]:
        links = {"mesh": self._mesh.to_mesh, "sessions": self._mesh.to_schedulers}
        link = links.get(fault.kind.partition("-")[2], self._mesh.to_redis)[fault.target]
        broken = self._dice.random() < 0.5

        async def mend() -> None:
            await link.heal(broken=broken)

        return mend

    async def _end_redis(self, *, lose: bool) -> Callable[[], Awaitable[None]]:
        queue = self._mesh.queue
        self._mesh.expected_dead.add(queue.pid)
        queue.wanted = False
        queue.kill()
        await asyncio.to_thread(queue.wait)
        if lose:
            queue.lose_tail()

        async def revive() -> None:
            queue.start()
            await queue.until_it_answers()

        return revive

    async def _empty(self) -> None:
        await self._tell_redis("CONFIG", "SET", "maxmemory", "0")

    async def _quick_disk(self) -> None:
        self._mesh.shims["redis"].slow_disk(0.0)

    async def _tell_redis(self, *command: str) -> None:
        """Until it is done: what else ails Redis passes."""
        async with asyncio.timeout(30):
            while True:
                client = self._mesh.queue.client()
                try:
                    answer: Any = client.execute_command(*command)  # type: ignore[no-untyped-call]
                    await answer
                except (RedisError, OSError):
                    await asyncio.sleep(0.1)
                else:
                    return
                finally:
                    await client.aclose()


async def _nothing() -> None:
    """There is nothing to put right."""
