"""The artifact service's rooms over a local store and a database of each kind, with a clock that the test turns."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nnpm_artifact.local_store import LocalStore
from support.artifact import ArtifactRooms, ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def rooms(tmp_path: Path, clock: ManualClock, database_url: str) -> AsyncIterator[ArtifactRooms]:
    """Composed and started over an empty folder, `tmp_path / "packs"`, and an empty database."""
    rooms = await ArtifactRooms(LocalStore(tmp_path / "packs"), database_url, clock).start()
    try:
        yield rooms
    finally:
        await rooms.close()
