"""Garbage collection takes what nothing holds, and nothing else."""

import asyncio
import random
from pathlib import Path

import pytest

from nnpm.errors import FailedPrecondition, NotFound, Unavailable
from nnpm_artifact.store import upload_rows
from support.artifact import ArtifactRooms, ManualClock, content, cut, digest


async def test_what_an_upload_or_a_reference_holds_stays(rooms: ArtifactRooms) -> None:
    held, referred = content(300_000, seed=1), content(300_000, seed=2)
    await rooms.put(held)
    upload = await rooms.put(referred)
    await rooms.refer("acme/tiny@1.0.0", referred)
    await rooms.uploads.delete(upload)
    collected = await rooms.collection.collect()
    assert (collected.files, collected.chunks, collected.packs, collected.bytes) == (0, 0, 0, 0)
    assert await rooms.read(digest(held)) == held
    assert await rooms.read(digest(referred)) == referred


async def test_what_nothing_holds_goes_with_its_bytes(rooms: ArtifactRooms) -> None:
    data = content(300_000)
    await rooms.put(data, keep=False)
    dry = await rooms.collection.collect(dry_run=True)
    assert await rooms.read(digest(data)) == data
    collected = await rooms.collection.collect()
    assert collected == dry
    assert (collected.files, collected.chunks, collected.packs) == (1, len(cut(data)), 2)
    assert collected.bytes > len(data)
    assert rooms.packs() == set()
    with pytest.raises(NotFound):
        await rooms.files.get("acme", digest(data))
    assert await rooms.missing(await rooms.open_upload(), cut(data)) == cut(data)


async def test_a_removed_reference_frees_its_files_alone(rooms: ArtifactRooms) -> None:
    common, one, two = content(200_000), content(200_000, seed=1), content(200_000, seed=2)
    for data in (common, one, two):
        await rooms.put(data, keep=True)
    await rooms.refer("acme/a@1.0.0", common, one)
    await rooms.refer("acme/b@1.0.0", common, two)
    await _end_uploads(rooms)
    await rooms.references.remove("acme", "acme/a@1.0.0")
    collected = await rooms.collection.collect()
    assert collected.files == 1
    with pytest.raises(NotFound):
        await rooms.read(digest(one))
    assert await rooms.read(digest(common)) == common
    assert await rooms.read(digest(two)) == two
    assert len(rooms.packs("references/")) == 1


async def test_an_expired_upload_holds_nothing(rooms: ArtifactRooms, clock: ManualClock) -> None:
    data = content(100_000)
    await rooms.put(data)
    await rooms.send(await rooms.open_upload(), [content(500, seed=3)])
    clock.pass_seconds(3601)
    collected = await rooms.collection.collect()
    assert (collected.files, collected.chunks) == (1, len(cut(data)) + 1)
    assert rooms.packs() == set()


async def test_a_free_thing_goes_after_the_grace_period_only(rooms: ArtifactRooms, clock: ManualClock) -> None:
    data = content(100_000)
    await rooms.put(data, keep=False)
    first = await rooms.collection.collect(grace_ms=60_000)
    assert (first.files, first.waiting_files) == (0, 1)
    clock.pass_seconds(59)
    assert (await rooms.collection.collect(grace_ms=60_000)).files == 0
    clock.pass_seconds(1)
    last = await rooms.collection.collect(grace_ms=60_000)
    assert (last.files, last.chunks, last.waiting_files) == (1, len(cut(data)), 0)


async def test_holding_a_free_thing_again_starts_its_grace_period_anew(
    rooms: ArtifactRooms, clock: ManualClock
) -> None:
    data = content(100_000)
    await rooms.put(data, keep=False)
    await rooms.collection.collect(grace_ms=60_000)
    clock.pass_seconds(50)
    await rooms.put(data, keep=False)
    clock.pass_seconds(50)
    assert (await rooms.collection.collect(grace_ms=60_000)).files == 0
    assert await rooms.read(digest(data)) == data


async def test_a_mostly_empty_pack_is_rewritten_and_its_rest_stays_readable(rooms: ArtifactRooms) -> None:
    small, large = content(150_000, seed=1), content(2_000_000, seed=2)
    upload = await rooms.open_upload()
    await rooms.send(upload, cut(small) + cut(large))
    await rooms.commit(upload, small)
    await rooms.commit(upload, large)
    await rooms.refer("acme/small@1.0.0", small)
    await rooms.uploads.delete(upload)
    (before,) = rooms.packs("chunks/")
    dry = await rooms.collection.collect(dry_run=True)
    collected = await rooms.collection.collect()
    assert (dry.files, dry.chunks, dry.packs) == (collected.files, collected.chunks, collected.packs) == (1, 31, 2)
    assert collected.bytes > 1_800_000
    (after,) = rooms.packs("chunks/")
    assert after != before
    assert rooms.store.size(after) < 160_000
    assert await rooms.read(digest(small)) == small
    again = await rooms.collection.collect()
    assert (again.packs, rooms.packs("chunks/")) == (0, {after})


async def test_a_damaged_pack_is_not_rewritten_and_collection_goes_on(rooms: ArtifactRooms, tmp_path: Path) -> None:
    small, large, other = content(150_000, seed=1), content(2_000_000, seed=2), content(1000, seed=3)
    upload = await rooms.open_upload()
    await rooms.send(upload, cut(small) + cut(large))
    await rooms.commit(upload, small)
    await rooms.refer("acme/small@1.0.0", small)
    await rooms.uploads.delete(upload)
    (pack,) = rooms.packs("chunks/")
    path = tmp_path / "packs" / f"{pack}.pack"
    path.write_bytes(path.read_bytes().replace(small[1000:1010], bytes(10)))
    await rooms.put(other, keep=False)
    assert (await rooms.collection.collect()).files == 1
    assert rooms.packs("chunks/") == {pack}
    assert await rooms.read(digest(small), 65_536, 100) == small[65_536:65_636]


async def test_a_reader_goes_on_when_its_pack_is_rewritten(rooms: ArtifactRooms) -> None:
    kept, waste = content(14_000_000, seed=1), content(17_000_000, seed=2)
    upload = await rooms.open_upload()
    await rooms.send(upload, cut(waste) + cut(kept))
    await rooms.commit(upload, kept)
    await rooms.refer("acme/kept@1.0.0", kept)
    await rooms.uploads.delete(upload)
    read = bytearray()
    before = rooms.packs("chunks/")
    async for part in rooms.files.read("acme", digest(kept), 0, 0):
        if not read:
            await rooms.collection.collect()
            assert not before & rooms.packs("chunks/")
        read += part
    assert bytes(read) == kept


async def test_deletion_goes_on_where_it_was_cut_off(rooms: ArtifactRooms) -> None:
    data = content(100_000)
    await rooms.put(data, keep=False)
    rooms.store.down = {"delete"}
    with pytest.raises(Unavailable):
        await rooms.collection.collect()
    rooms.store.down = set()
    assert rooms.packs()
    assert await rooms.missing(await rooms.open_upload(), cut(data)) == cut(data)
    await rooms.collection.collect()
    assert rooms.packs() == set()


async def test_uploads_and_collections_side_by_side_lose_nothing(rooms: ArtifactRooms) -> None:
    shared = [content(20_000, seed) for seed in range(40)]
    draw = random.Random(3)
    stop = asyncio.Event()

    async def publish(number: int) -> None:
        for turn in range(6):
            pieces = [*draw.sample(shared, 15), content(5000, seed=1000 + number * 100 + turn)]
            data = b"".join(pieces)
            upload = await rooms.open_upload()
            await rooms.send(upload, await rooms.missing(upload, pieces))
            await rooms.commit(upload, data, pieces)
            if turn % 2:
                await rooms.refer(f"acme/p{number}@{turn}", data)
            await rooms.uploads.delete(upload)
            if turn % 2:
                assert await rooms.read(digest(data)) == data
                kept.append(data)
            if turn == 3:
                await rooms.references.remove("acme", f"acme/p{number}@{turn}")
                kept.remove(data)

    async def collect() -> None:
        while not stop.is_set():
            await rooms.collection.collect()

    kept: list[bytes] = []
    collecting = asyncio.create_task(collect())
    await asyncio.gather(*(publish(number) for number in range(4)))
    stop.set()
    await collecting
    await rooms.collection.collect()
    assert len(kept) == 8
    for data in kept:
        assert await rooms.read(digest(data)) == data


async def test_a_chunk_taken_before_the_commit_is_refused_not_lost(rooms: ArtifactRooms) -> None:
    data = content(1000)
    upload = await rooms.open_upload()
    await rooms.send(upload, [data])
    await rooms.uploads.delete(upload)
    await rooms.collection.collect()
    fresh = await rooms.open_upload()
    with pytest.raises(FailedPrecondition):
        await rooms.commit(fresh, data)


async def _end_uploads(rooms: ArtifactRooms) -> None:
    await rooms.database.write(upload_rows.end_expired, 10**15)
