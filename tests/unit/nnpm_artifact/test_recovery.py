"""A lost index comes back from the packs; what a crash left half done is completed or removed."""

from pathlib import Path

import pytest
from sqlalchemy import MetaData, create_engine

from nnpm.errors import NotFound, Unavailable
from nnpm_artifact.local_store import LocalStore
from nnpm_artifact.packs import PackKind
from support.artifact import ArtifactRooms, ManualClock, content, cut, digest


async def _reopened(rooms: ArtifactRooms, tmp_path: Path, clock: ManualClock, *, lose_index: bool) -> ArtifactRooms:
    await rooms.close()
    url = rooms.database_url
    if lose_index:
        _lose_index(url)
    return await ArtifactRooms(LocalStore(tmp_path / "packs"), url, clock).start()


def _lose_index(url: str) -> None:
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    tables = MetaData()
    tables.reflect(engine)
    tables.drop_all(engine)
    engine.dispose()


@pytest.fixture
async def old_rooms(tmp_path: Path, clock: ManualClock, database_url: str) -> ArtifactRooms:
    """Closed by the test, which opens them again."""
    return await ArtifactRooms(LocalStore(tmp_path / "packs"), database_url, clock).start()


async def test_a_lost_index_is_built_anew_with_files_and_references(
    old_rooms: ArtifactRooms, tmp_path: Path, clock: ManualClock
) -> None:
    kept, free, empty = content(900_000, seed=1), content(500_000, seed=2), b""
    for data in (kept, free, empty):
        await old_rooms.put(data)
    await old_rooms.put(kept, "other")
    await old_rooms.refer("acme/tiny@1.0.0", kept, empty)
    before = await old_rooms.files.get("acme", digest(kept))
    rooms = await _reopened(old_rooms, tmp_path, clock, lose_index=True)
    try:
        after = await rooms.files.get("acme", digest(kept))
        assert (after.size, after.chunk_count, after.created) == (before.size, before.chunk_count, before.created)
        for data in (kept, free, empty):
            assert await rooms.read(digest(data)) == data
        assert await rooms.read(digest(kept), namespace="other") == kept
        assert await rooms.missing(await rooms.open_upload(), cut(kept) + cut(free)) == []
        await rooms.collection.collect()
        assert await rooms.read(digest(kept)) == kept
        assert await rooms.read(digest(empty)) == empty
        with pytest.raises(NotFound):
            await rooms.files.get("other", digest(kept))
    finally:
        await rooms.close()


async def test_a_damaged_pack_is_left_out_and_the_rest_comes_back(
    old_rooms: ArtifactRooms, tmp_path: Path, clock: ManualClock
) -> None:
    good, bad = content(200_000, seed=1), content(200_000, seed=2)
    await old_rooms.put(good)
    good_packs = old_rooms.packs("chunks/")
    await old_rooms.put(bad)
    (bad_pack,) = old_rooms.packs("chunks/") - good_packs
    path = tmp_path / "packs" / f"{bad_pack}.pack"
    path.write_bytes(path.read_bytes()[:-10])
    rooms = await _reopened(old_rooms, tmp_path, clock, lose_index=True)
    try:
        assert await rooms.read(digest(good)) == good
        with pytest.raises(NotFound):
            await rooms.files.get("acme", digest(bad))
        assert await rooms.missing(await rooms.open_upload(), cut(bad)) == cut(bad)
    finally:
        await rooms.close()


async def test_a_pack_that_was_put_but_not_indexed_is_taken_in_at_the_start(
    old_rooms: ArtifactRooms, tmp_path: Path, clock: ManualClock
) -> None:
    pieces = cut(content(500_000))
    upload = await old_rooms.open_upload()
    builder = old_rooms.ledger.start(PackKind.CHUNKS, "acme")
    old_rooms.ledger.add(builder, {digest(piece): piece for piece in pieces})
    namespace_id = (await old_rooms.uploads.renew(upload)).namespace_id
    with pytest.raises(_KilledError):
        await old_rooms.ledger.keep(builder, namespace_id, _dies)
    assert len(old_rooms.packs("chunks/")) == 1
    rooms = await _reopened(old_rooms, tmp_path, clock, lose_index=False)
    try:
        assert await rooms.missing(upload, pieces) == []
    finally:
        await rooms.close()


async def test_a_pack_that_was_begun_but_never_put_is_forgotten(
    old_rooms: ArtifactRooms, tmp_path: Path, clock: ManualClock
) -> None:
    pieces = cut(content(500_000))
    upload = await old_rooms.open_upload()
    old_rooms.store.down = {"put"}
    with pytest.raises(Unavailable):
        await old_rooms.send(upload, pieces)
    rooms = await _reopened(old_rooms, tmp_path, clock, lose_index=False)
    try:
        assert await rooms.missing(upload, pieces) == pieces
        assert (await rooms.send(upload, pieces)).chunks == len(pieces)
        assert await rooms.missing(upload, pieces) == []
    finally:
        await rooms.close()


async def test_a_rebuilt_index_is_not_built_again(old_rooms: ArtifactRooms, tmp_path: Path, clock: ManualClock) -> None:
    await old_rooms.put(content(1000))
    rooms = await _reopened(old_rooms, tmp_path, clock, lose_index=True)
    try:
        assert await rooms.recovery.rebuild_if_new() == 0
    finally:
        await rooms.close()


class _KilledError(Exception):
    """What ends a process between two steps is no error that its code handles."""


def _dies(connection: object, pack: object) -> None:
    raise _KilledError
