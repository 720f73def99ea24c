"""Commits: a file appears whole, verified, made of its upload's chunks only."""

import asyncio

import pytest

from nnpm.errors import DataLoss, FailedPrecondition, InvalidArgument, NotFound
from nnpm_artifact.commits import Claim
from nnpm_artifact.recipes import Chunk
from support.artifact import ArtifactRooms, ManualClock, content, cut, digest, refs


async def _commit(rooms: ArtifactRooms, upload: str, claim: Claim, chunks: list[Chunk]) -> None:
    async def recipe():
        yield chunks

    await rooms.commits.commit(upload, claim, recipe())


async def test_a_committed_file_reads_back_and_has_its_recipe(rooms: ArtifactRooms) -> None:
    data = content(3_333_333)
    await rooms.put(data)
    file = await rooms.files.get("acme", digest(data))
    assert (file.size, file.chunk_count, file.namespace) == (len(data), len(cut(data)), "acme")
    assert await rooms.read(digest(data)) == data
    assert [chunk async for part in rooms.files.recipe("acme", digest(data)) for chunk in part] == refs(cut(data))


@pytest.mark.parametrize("size", [0, 1, 65_536, 65_537])
async def test_files_of_small_sizes(rooms: ArtifactRooms, size: int) -> None:
    data = content(size)
    await rooms.put(data)
    assert await rooms.read(digest(data)) == data
    assert (await rooms.files.get("acme", digest(data))).size == size


async def test_a_recipe_of_many_parts_and_repeated_chunks(rooms: ArtifactRooms) -> None:
    pieces = [content(100 + index % 7, seed=index % 50) for index in range(3000)]
    data = b"".join(pieces)
    upload = await rooms.open_upload()
    await rooms.send(upload, pieces)
    file = await rooms.commit(upload, data, pieces)
    assert file.chunk_count == 3000
    assert await rooms.read(digest(data)) == data


async def test_chunks_of_another_upload_are_refused(rooms: ArtifactRooms) -> None:
    data = content(500_000)
    await rooms.send(await rooms.open_upload(), cut(data))
    other = await rooms.open_upload()
    with pytest.raises(FailedPrecondition) as caught:
        await rooms.commit(other, data)
    assert caught.value.reason == "CHUNK_NOT_IN_UPLOAD"
    assert await rooms.missing(other, cut(data)) == []
    await rooms.commit(other, data)


async def test_chunks_of_another_namespace_are_refused(rooms: ArtifactRooms) -> None:
    data = content(100_000)
    await rooms.put(data, "acme")
    stranger = await rooms.open_upload("mallory")
    with pytest.raises(FailedPrecondition) as caught:
        await rooms.commit(stranger, data)
    assert caught.value.reason == "CHUNK_NOT_IN_UPLOAD"
    with pytest.raises(NotFound):
        await rooms.read(digest(data), namespace="mallory")


async def test_a_recipe_that_makes_another_file_is_refused(rooms: ArtifactRooms) -> None:
    data = content(300_000)
    upload = await rooms.open_upload()
    await rooms.send(upload, cut(data))
    with pytest.raises(InvalidArgument) as caught:
        await _commit(rooms, upload, Claim(bytes(32), len(data)), refs(cut(data)))
    assert caught.value.reason == "FILE_DIGEST_MISMATCH"
    with pytest.raises(NotFound):
        await rooms.files.get("acme", bytes(32))


@pytest.mark.parametrize("difference", [-1, 1, 1 << 39])
async def test_a_recipe_of_another_size_is_refused(rooms: ArtifactRooms, difference: int) -> None:
    data = content(300_000)
    upload = await rooms.open_upload()
    await rooms.send(upload, cut(data))
    with pytest.raises(InvalidArgument) as caught:
        await _commit(rooms, upload, Claim(digest(data), len(data) + difference), refs(cut(data)))
    assert caught.value.reason == "FILE_SIZE_MISMATCH"


@pytest.mark.parametrize("size", [-1, -(2**63), (1 << 40) + 1, 2**63 - 1])
async def test_an_impossible_size_is_refused(rooms: ArtifactRooms, size: int) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await _commit(rooms, await rooms.open_upload(), Claim(bytes(32), size), [])
    assert caught.value.reason == "INVALID_FILE_SIZE"


async def test_a_chunk_with_another_size_than_stored_is_refused(rooms: ArtifactRooms) -> None:
    data = content(100)
    upload = await rooms.open_upload()
    await rooms.send(upload, [data])
    with pytest.raises(InvalidArgument) as caught:
        await _commit(rooms, upload, Claim(digest(data), 101), [Chunk(digest(data), 101)])
    assert caught.value.reason == "CHUNK_SIZE_MISMATCH"


async def test_committing_again_answers_the_same_file_and_keeps_one_recipe(rooms: ArtifactRooms) -> None:
    data = content(400_000)
    upload = await rooms.put(data)
    first = await rooms.files.get("acme", digest(data))
    assert await rooms.commit(upload, data) == first
    await asyncio.gather(*(rooms.commit(upload, data) for _ in range(5)))
    await rooms.collection.collect()
    assert len(rooms.packs("recipe/")) == 1
    assert await rooms.read(digest(data)) == data


async def test_a_file_committed_by_two_at_once_is_there_once(rooms: ArtifactRooms) -> None:
    data = content(2_000_000)
    uploads = [await rooms.open_upload() for _ in range(4)]
    for upload in uploads:
        await rooms.missing(upload, cut(data))
    await rooms.send(uploads[0], cut(data))
    for upload in uploads[1:]:
        await rooms.missing(upload, cut(data))
    files = await asyncio.gather(*(rooms.commit(upload, data) for upload in uploads))
    assert len({file.id for file in files}) == 1


async def test_a_commit_on_an_expired_upload_is_refused(rooms: ArtifactRooms, clock: ManualClock) -> None:
    data = content(1000)
    upload = await rooms.open_upload()
    await rooms.send(upload, [data])
    clock.pass_seconds(3601)
    with pytest.raises(FailedPrecondition) as caught:
        await rooms.commit(upload, data)
    assert caught.value.reason == "UPLOAD_EXPIRED"


async def test_a_chunk_damaged_in_the_store_is_found_by_the_commit_and_healed_by_sending_it_again(
    rooms: ArtifactRooms, tmp_path
) -> None:
    data = content(200_000)
    pieces = cut(data)
    upload = await rooms.open_upload()
    await rooms.send(upload, pieces)
    (pack,) = rooms.packs("chunks/")
    path = tmp_path / "packs" / f"{pack}.pack"
    stored = bytearray(path.read_bytes())
    stored[16 + 65_536 + 5] ^= 1  # in the second chunk
    path.write_bytes(stored)
    with pytest.raises(DataLoss) as caught:
        await rooms.commit(upload, data)
    assert caught.value.reason == "CHUNK_CORRUPT"
    assert caught.value.metadata["digest"] == f"sha256:{digest(pieces[1]).hex()}"
    assert await rooms.missing(upload, pieces) == [pieces[1]]
    await rooms.send(upload, [pieces[1]])
    await rooms.commit(upload, data)
    assert await rooms.read(digest(data)) == data


async def test_a_caller_that_goes_away_leaves_nothing_half_done(rooms: ArtifactRooms) -> None:
    data = content(1_000_000)
    upload = await rooms.open_upload()
    await rooms.send(upload, cut(data))
    for turns in range(0, 60, 3):
        task = asyncio.create_task(rooms.commit(upload, data))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.wait([task])
    await rooms.flushes.close()
    assert list(rooms.store.staging.iterdir()) == []
    await rooms.commit(upload, data)
    await rooms.collection.collect()
    assert len(rooms.packs("recipe/")) == 1
    assert await rooms.read(digest(data)) == data


async def test_committing_again_holds_the_file_from_the_first_moment(rooms: ArtifactRooms) -> None:
    data = content(300_000)
    await rooms.put(data, keep=False)
    upload = await rooms.open_upload()
    await rooms.missing(upload, cut(data))
    halfway, go_on = asyncio.Event(), asyncio.Event()

    async def recipe():
        yield refs(cut(data)[:2])
        halfway.set()
        await go_on.wait()
        yield refs(cut(data)[2:])

    committing = asyncio.create_task(rooms.commits.commit(upload, Claim(digest(data), len(data)), recipe()))
    await halfway.wait()
    assert (await rooms.collection.collect()).files == 0
    go_on.set()
    await committing
    assert await rooms.read(digest(data)) == data
