"""Two processes on one store and one database: neither takes the other's packs from under its hands."""

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nnpm.errors import Unavailable
from nnpm_artifact.local_store import LocalStore
from nnpm_artifact.pack_ledger import SEAT_LEASE_MS
from nnpm_artifact.pack_store import PackStore
from nnpm_artifact.staged import Staged
from nnpm_artifact.store import pack_rows
from nnpm_artifact.store.schema import PackState
from support.artifact import ArtifactRooms, ManualClock, StumblingStore, content, cut, digest
from support.waiting import eventually

LEASE_S = SEAT_LEASE_MS / 1000


class SlowStore(StumblingStore):
    """Stops in `put`, before the object is there or after, until the test lets it go on."""

    def __init__(self, store: PackStore, *, stored_first: bool) -> None:
        super().__init__(store)
        self._stored_first = stored_first
        self.inside = threading.Event()
        self.go_on = threading.Event()

    def put(self, name: str, staged: Staged) -> bool:
        confirmed = self._stored_first and super().put(name, staged)
        self.inside.set()
        assert self.go_on.wait(30)
        return confirmed or super().put(name, staged)

    def close(self) -> None:
        """The store is the other's to close."""


@pytest.fixture(params=[False, True], ids=["before-the-object", "after-the-object"])
async def slow(
    request: pytest.FixtureRequest, tmp_path: Path, clock: ManualClock, database_url: str
) -> AsyncIterator[tuple[ArtifactRooms, SlowStore, LocalStore]]:
    local = LocalStore(tmp_path / "packs")
    store = SlowStore(local, stored_first=request.param)
    rooms = await ArtifactRooms(store, database_url, clock, seat="slow").start()
    yield rooms, store, local
    store.go_on.set()
    await rooms.close()


@pytest.fixture
async def other(
    slow: tuple[ArtifactRooms, SlowStore, LocalStore], clock: ManualClock, database_url: str
) -> AsyncIterator[ArtifactRooms]:
    """The second process, which has not begun."""
    rooms = ArtifactRooms(slow[2], database_url, clock, seat="other")
    yield rooms
    slow[1].go_on.set()
    await rooms.close()


async def test_what_a_living_process_is_writing_is_left_alone(
    slow: tuple[ArtifactRooms, SlowStore, LocalStore], other: ArtifactRooms
) -> None:
    rooms, store, _ = slow
    data = content(300_000)
    sending = asyncio.create_task(rooms.put(data))
    await eventually(store.inside.is_set)
    await other.start()
    await other.ledger.hold_seat()
    await other.collection.collect()
    store.go_on.set()
    await sending
    assert await other.read(digest(data)) == data


async def test_a_slow_process_that_was_taken_for_dead_does_no_harm(
    slow: tuple[ArtifactRooms, SlowStore, LocalStore], other: ArtifactRooms, clock: ManualClock
) -> None:
    rooms, store, _ = slow
    pieces = cut(content(300_000))
    upload = await rooms.open_upload()
    sending = asyncio.create_task(rooms.send(upload, pieces))
    await eventually(store.inside.is_set)
    clock.pass_seconds(LEASE_S + 1)
    await other.start()  # takes in what is there, and forgets what is not
    store.go_on.set()
    try:
        await sending
    except Unavailable as error:
        assert error.reason == "PACK_GIVEN_UP"  # noqa: PT017 - either may happen, by how far the put was
        assert rooms.packs("chunks/") == set()
        await rooms.send(upload, pieces)
    assert await other.missing(upload, pieces) == []
    await rooms.commit(upload, b"".join(pieces), pieces)
    await other.collection.collect()
    assert await other.read(digest(b"".join(pieces))) == b"".join(pieces)


async def test_a_pack_that_may_have_become_visible_is_not_given_up(rooms: ArtifactRooms) -> None:
    """Where a commit's outcome is unknown, only a pack that is still being written may go."""
    await rooms.put(content(100_000))
    for pack in await rooms.database.read(pack_rows.in_state, PackState.READY, 10):
        assert await rooms.database.write(pack_rows.give_up, pack.id)
    await rooms.collection.collect()
    assert await rooms.read(digest(content(100_000))) == content(100_000)
