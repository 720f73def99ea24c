"""Uploads: leases, what is missing, and streams of chunks."""

import asyncio

import pytest

from nnpm.errors import FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted, Unavailable
from nnpm_artifact.intake import Brought
from nnpm_artifact.recipes import Chunk
from support.artifact import ArtifactRooms, ManualClock, content, cut, digest


async def test_everything_is_missing_at_first_and_nothing_after_the_upload(rooms: ArtifactRooms) -> None:
    pieces = cut(content(1_000_000))
    upload = await rooms.open_upload()
    assert await rooms.missing(upload, pieces) == pieces
    stored = await rooms.send(upload, pieces)
    assert (stored.chunks, stored.bytes) == (len(pieces), 1_000_000)
    assert await rooms.missing(upload, pieces) == []


async def test_another_upload_of_the_namespace_shares_chunks_and_another_namespace_does_not(
    rooms: ArtifactRooms,
) -> None:
    pieces = cut(content(300_000))
    await rooms.send(await rooms.open_upload("acme"), pieces)
    assert await rooms.missing(await rooms.open_upload("acme"), pieces) == []
    other = await rooms.open_upload("acme/vision")
    assert await rooms.missing(other, pieces) == pieces
    assert (await rooms.send(other, pieces)).chunks == len(pieces)


async def test_a_second_version_with_one_changed_piece_stores_that_piece_only(rooms: ArtifactRooms) -> None:
    pieces = cut(content(2_000_000))
    upload = await rooms.open_upload()
    await rooms.send(upload, pieces)
    changed = [*pieces[:7], content(len(pieces[7]), seed=9), *pieces[8:]]
    assert await rooms.missing(upload, changed) == [changed[7]]
    stored = await rooms.send(upload, changed)
    assert (stored.chunks, stored.bytes) == (1, len(changed[7]))


async def test_a_chunk_that_repeats_in_a_stream_is_stored_once(rooms: ArtifactRooms) -> None:
    piece = content(65_536)
    upload = await rooms.open_upload()
    stored = await rooms.send(upload, [piece] * 700)  # more than a pack, were each stored
    assert (stored.chunks, stored.bytes) == (1, 65_536)
    assert sum(pack.size for pack in rooms.store.list("chunks/")) < 70_000


async def test_concurrent_uploads_of_the_same_chunks_are_both_right(rooms: ArtifactRooms) -> None:
    data = content(3_000_000)
    pieces = cut(data)
    first, second = await rooms.open_upload(), await rooms.open_upload()
    stored = await asyncio.gather(rooms.send(first, pieces), rooms.send(second, pieces))
    assert sum(one.chunks for one in stored) == len(pieces)
    await asyncio.gather(rooms.commit(first, data), rooms.commit(second, data))
    assert await rooms.read(digest(data)) == data


async def test_a_chunk_that_is_not_its_digest_is_refused_and_those_before_it_stay(rooms: ArtifactRooms) -> None:
    good, bad = content(1000), content(1000, seed=1)
    upload = await rooms.open_upload()
    intake = rooms.intakes.open(await rooms.uploads.renew(upload))
    await intake.take([Brought(digest(good), good)])
    await intake.take([Brought(digest(bad), bad[:-1] + b"x")])
    with pytest.raises(InvalidArgument) as caught:
        await intake.finish()
    assert caught.value.reason == "CHUNK_DIGEST_MISMATCH"
    await intake.abandon()
    assert await rooms.missing(upload, [good, bad]) == [bad]


async def test_what_a_broken_stream_brought_is_not_asked_for_again(rooms: ArtifactRooms) -> None:
    pieces = cut(content(5_000_000))
    upload = await rooms.open_upload()

    async def stream() -> None:
        intake = rooms.intakes.open(await rooms.uploads.renew(upload))
        try:
            await intake.take([Brought(digest(piece), piece) for piece in pieces[:40]])
            arrived.set()
            await asyncio.Event().wait()
        except BaseException:
            await intake.abandon()
            raise

    arrived = asyncio.Event()
    task = asyncio.create_task(stream())
    await arrived.wait()
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert await rooms.missing(upload, pieces) == pieces[40:]


@pytest.mark.parametrize("digest_length", [0, 31, 33])
async def test_a_digest_of_a_wrong_length_is_refused(rooms: ArtifactRooms, digest_length: int) -> None:
    upload = await rooms.open_upload()
    with pytest.raises(InvalidArgument) as caught:
        await rooms.uploads.find_missing(upload, [Chunk(bytes(digest_length), 10)])
    assert caught.value.reason == "INVALID_DIGEST"


@pytest.mark.parametrize("size", [0, (1 << 20) + 1, 2**32 - 1])
async def test_a_chunk_of_an_impossible_size_is_refused(rooms: ArtifactRooms, size: int) -> None:
    upload = await rooms.open_upload()
    with pytest.raises(InvalidArgument) as caught:
        await rooms.uploads.find_missing(upload, [Chunk(bytes(32), size)])
    assert caught.value.reason == "INVALID_CHUNK_SIZE"


async def test_more_chunks_than_the_limit_are_refused(rooms: ArtifactRooms) -> None:
    upload = await rooms.open_upload()
    assert await rooms.uploads.find_missing(upload, [Chunk(bytes(32), 1)] * 8192) == b"\xff" * 1024
    with pytest.raises(InvalidArgument) as caught:
        await rooms.uploads.find_missing(upload, [Chunk(bytes(32), 1)] * 8193)
    assert caught.value.reason == "TOO_MANY_CHUNKS"


async def test_a_stored_chunk_with_another_size_is_refused(rooms: ArtifactRooms) -> None:
    upload = await rooms.open_upload()
    await rooms.send(upload, [b"abc"])
    with pytest.raises(InvalidArgument) as caught:
        await rooms.uploads.find_missing(upload, [Chunk(digest(b"abc"), 4)])
    assert caught.value.reason == "CHUNK_SIZE_MISMATCH"


async def test_an_expired_upload_is_said_to_be_expired_and_an_unknown_one_unknown(
    rooms: ArtifactRooms, clock: ManualClock
) -> None:
    upload = await rooms.open_upload()
    clock.pass_seconds(3601)
    with pytest.raises(FailedPrecondition) as expired:
        await rooms.missing(upload, [b"x"])
    assert expired.value.reason == "UPLOAD_EXPIRED"
    await rooms.collection.collect()
    with pytest.raises(FailedPrecondition):
        await rooms.send(upload, [b"x"])
    with pytest.raises(NotFound) as unknown:
        await rooms.missing("no-such-upload", [b"x"])
    assert unknown.value.reason == "UPLOAD_NOT_FOUND"


async def test_every_call_renews_the_lease(rooms: ArtifactRooms, clock: ManualClock) -> None:
    data = content(200_000)
    upload = await rooms.open_upload()
    for act in (rooms.missing(upload, cut(data)), rooms.send(upload, cut(data)), rooms.commit(upload, data)):
        clock.pass_seconds(3000)
        await act
    clock.pass_seconds(3599)
    assert await rooms.missing(upload, cut(data)) == []


async def test_the_same_request_id_answers_the_same_live_upload(rooms: ArtifactRooms, clock: ManualClock) -> None:
    first = await rooms.open_upload(request_id="publish-1")
    assert await rooms.open_upload(request_id="publish-1") == first
    assert await rooms.open_upload("other", request_id="publish-1") != first
    assert await rooms.open_upload() != await rooms.open_upload()
    clock.pass_seconds(3601)
    second = await rooms.open_upload(request_id="publish-1")
    assert second != first
    await rooms.uploads.delete(second)
    assert await rooms.open_upload(request_id="publish-1") != second


async def test_a_deleted_upload_is_gone_and_may_be_deleted_again(rooms: ArtifactRooms) -> None:
    upload = await rooms.open_upload()
    await rooms.uploads.delete(upload)
    await rooms.uploads.delete(upload)
    with pytest.raises(NotFound):
        await rooms.missing(upload, [b"x"])
    with pytest.raises(NotFound):
        await rooms.uploads.delete("never-was")


async def test_bad_names_are_refused(rooms: ArtifactRooms) -> None:
    with pytest.raises(InvalidArgument) as namespace:
        await rooms.open_upload("../etc")
    assert namespace.value.reason == "INVALID_NAMESPACE"
    with pytest.raises(InvalidArgument) as request_id:
        await rooms.open_upload("acme", "x" * 65)
    assert request_id.value.reason == "INVALID_REQUEST_ID"


async def test_a_message_with_too_many_bytes_is_refused(rooms: ArtifactRooms) -> None:
    intake = rooms.intakes.open(await rooms.uploads.renew(await rooms.open_upload()))
    pieces = [content(1 << 20, seed) for seed in range(5)]
    with pytest.raises(InvalidArgument) as caught:
        await intake.take([Brought(digest(piece), piece) for piece in pieces])
    assert caught.value.reason == "TOO_MANY_CHUNKS"


async def test_a_wrong_chunk_followed_by_others_is_refused_by_the_next_call(rooms: ArtifactRooms) -> None:
    intake = rooms.intakes.open(await rooms.uploads.renew(await rooms.open_upload()))
    await intake.take([Brought(bytes(32), b"x")])
    with pytest.raises(InvalidArgument) as caught:
        await intake.take([Brought(digest(b"y"), b"y")])
    assert caught.value.reason == "CHUNK_DIGEST_MISMATCH"
    await intake.abandon()


async def test_a_store_that_is_away_fails_the_stream_and_the_next_one_works(rooms: ArtifactRooms) -> None:
    pieces = cut(content(70_000_000))  # two packs are full before the stream ends
    upload = await rooms.open_upload()
    rooms.store.down = {"put"}
    with pytest.raises(Unavailable) as caught:
        await rooms.send(upload, pieces)
    assert caught.value.reason == "STORE_UNAVAILABLE"
    assert list(rooms.store.staging.iterdir()) == []
    rooms.store.down = set()
    assert await rooms.missing(upload, pieces) == pieces
    assert (await rooms.send(upload, pieces)).chunks == len(pieces)
    await rooms.collection.collect()
    assert await rooms.missing(upload, pieces) == []


async def test_a_full_disk_fails_the_stream_and_keeps_what_was_stored_before(rooms: ArtifactRooms) -> None:
    before, after = cut(content(200_000, seed=1)), cut(content(200_000, seed=2))
    upload = await rooms.open_upload()
    await rooms.send(upload, before)
    rooms.store.full = True
    with pytest.raises(ResourceExhausted) as caught:
        await rooms.send(upload, after)
    assert caught.value.reason == "DISK_FULL"
    rooms.store.full = False
    assert await rooms.missing(upload, before + after) == after
    await rooms.send(upload, after)
