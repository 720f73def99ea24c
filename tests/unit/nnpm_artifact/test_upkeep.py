"""The service collects garbage by itself."""

import asyncio

from nnpm_artifact.upkeep import Upkeep
from support.artifact import ArtifactRooms, content
from support.waiting import eventually


async def test_garbage_goes_by_itself_also_after_a_failure(rooms: ArtifactRooms) -> None:
    rooms.store.down = {"delete"}
    await rooms.put(content(1000), keep=False)
    upkeep = asyncio.create_task(Upkeep(rooms.collection, 0.02).run())
    await eventually(lambda: rooms.store.refused > 1)
    rooms.store.down = set()
    await eventually(lambda: rooms.packs() == set())
    upkeep.cancel()
    await asyncio.wait([upkeep])
    assert upkeep.cancelled()


async def test_an_interval_of_0_is_never(rooms: ArtifactRooms) -> None:
    await rooms.put(content(1000), keep=False)
    await Upkeep(rooms.collection, 0).run()
    assert len(rooms.packs()) == 2
