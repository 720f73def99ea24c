"""Readiness follows store and database."""

import asyncio
import threading
from pathlib import Path

from nnpm.rpc.readiness import Readiness
from nnpm_artifact.dependencies import Dependencies
from nnpm_artifact.local_store import LocalStore
from nnpm_artifact.threads import Threads
from support.artifact import ArtifactRooms
from support.waiting import eventually


async def test_it_tells_when_the_store_goes_away_and_comes_back(rooms: ArtifactRooms, tmp_path: Path) -> None:
    stop, told = asyncio.Event(), []

    async def tell(ready: bool) -> None:
        told.append(ready)

    dependencies = Dependencies(rooms.store, rooms.database, rooms.threads)
    watching = asyncio.create_task(Readiness(dependencies.check).watch(stop, tell))
    await eventually(lambda: told == [True])
    (tmp_path / "packs").rename(tmp_path / "away")
    await eventually(lambda: told == [True, False])
    (tmp_path / "away").rename(tmp_path / "packs")
    await eventually(lambda: told == [True, False, True])
    stop.set()
    await watching


async def test_a_store_that_hangs_is_asked_once_and_does_not_hold_up_the_stop(
    rooms: ArtifactRooms, tmp_path: Path
) -> None:
    answer = threading.Event()
    asked: list[int] = []

    class HangingStore(LocalStore):
        def check(self) -> None:
            asked.append(1)
            answer.wait(30)

    store, threads, stop = HangingStore(tmp_path / "other"), Threads(1), asyncio.Event()
    dependencies = Dependencies(store, rooms.database, threads)
    waiting = asyncio.create_task(Readiness(dependencies.check).wait(stop))
    await eventually(lambda: asked == [1])
    stop.set()
    await asyncio.wait([waiting], timeout=10)
    assert waiting.done()
    assert asked == [1]
    answer.set()
    threads.close()
    store.close()
