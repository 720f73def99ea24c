"""The artifact service's rooms over a local store and SQLite, with a clock that the test turns."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from nnpm_artifact.local_store import LocalStore
from support.artifact import ArtifactRooms, ManualClock


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def rooms(tmp_path: Path, clock: ManualClock) -> AsyncIterator[ArtifactRooms]:
    """Composed and started over empty folders; `tmp_path / "packs"` and `tmp_path / "index.db"`."""
    rooms = await ArtifactRooms(LocalStore(tmp_path / "packs"), tmp_path / "index.db", clock).start()
    try:
        yield rooms
    finally:
        await rooms.close()
