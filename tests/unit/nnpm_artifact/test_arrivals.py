"""What was hashed when it came need not be read back; whoever lies about it gains nothing."""

import asyncio
import random
from collections.abc import AsyncIterator, Sequence

import pytest

from nnpm.errors import DataLoss, InvalidArgument, NotFound
from nnpm_artifact.arrivals import Arrivals, Place
from nnpm_artifact.commits import Claim
from nnpm_artifact.intake import Brought
from nnpm_artifact.recipes import PART_CHUNKS, Chunk
from nnpm_artifact.store import chunk_rows
from support.artifact import ArtifactRooms, content, cut, digest, placed, refs

SIZE = 5_000_000


async def _reads_of_commit(rooms: ArtifactRooms, upload: str, data: bytes, pieces: Sequence[bytes]) -> int:
    """How often the store was read."""
    before = rooms.store.reads
    await rooms.commit(upload, data, pieces)
    count = rooms.store.reads - before
    assert await rooms.read(digest(data)) == data
    return count


async def _refused(rooms: ArtifactRooms, upload: str, claimed: bytes, pieces: Sequence[bytes]) -> None:
    """Committing `pieces` under the digest of `claimed` does not work."""

    async def recipe() -> AsyncIterator[list[Chunk]]:
        yield refs(pieces)

    with pytest.raises(InvalidArgument) as caught:
        await rooms.commits.commit(upload, Claim(digest(claimed), sum(map(len, pieces))), recipe())
    assert caught.value.reason == "FILE_DIGEST_MISMATCH"
    with pytest.raises(NotFound):
        await rooms.files.get("acme", digest(claimed))


async def test_a_file_that_came_in_order_is_not_read_back(rooms: ArtifactRooms) -> None:
    data = content(SIZE)
    upload = await rooms.open_upload()
    await rooms.bring(upload, placed(cut(data), digest(data)))
    assert await _reads_of_commit(rooms, upload, data, cut(data)) == 0


async def test_files_that_share_a_stream_are_not_read_back(rooms: ArtifactRooms) -> None:
    files = [content(70_000 + seed, seed) for seed in range(40)]
    upload = await rooms.open_upload()
    await rooms.bring(upload, [one for data in files for one in placed(cut(data), digest(data))])
    for data in files:
        assert await _reads_of_commit(rooms, upload, data, cut(data)) == 0


async def test_a_recipe_of_many_parts_is_not_read_back(rooms: ArtifactRooms) -> None:
    data = content(300 * (PART_CHUNKS * 2 + 7))
    pieces = cut(data, 300)
    upload = await rooms.open_upload()
    await rooms.bring(upload, placed(pieces, digest(data)))
    assert await _reads_of_commit(rooms, upload, data, pieces) == 0


async def test_an_upload_that_broke_and_went_on_is_not_read_back(rooms: ArtifactRooms) -> None:
    data = content(SIZE)
    brought = placed(cut(data), digest(data))
    upload = await rooms.open_upload()
    intake = rooms.intakes.open(await rooms.uploads.renew(upload))
    await intake.take(brought[:20])
    await intake.take(brought[20:30])
    await intake.abandon()
    missing = set(await rooms.missing(upload, cut(data)))
    await rooms.bring(upload, [one for one in brought if one.data in missing])
    assert await _reads_of_commit(rooms, upload, data, cut(data)) == 0


async def test_a_stream_waits_until_the_one_before_has_brought_its_chunks(rooms: ArtifactRooms) -> None:
    data = content(SIZE)
    brought = placed(cut(data), digest(data))
    upload = await rooms.open_upload()
    lease = await rooms.uploads.renew(upload)
    first, second = rooms.intakes.open(lease), rooms.intakes.open(lease)
    overtaking = asyncio.create_task(second.take(brought[40:]))
    for start in range(0, 40, 8):
        await first.take(brought[start : start + 8])
    assert not overtaking.done()
    await first.finish()
    await overtaking
    await second.finish()
    assert await _reads_of_commit(rooms, upload, data, cut(data)) == 0


async def test_only_what_came_in_order_is_not_read_back(rooms: ArtifactRooms) -> None:
    data = content(40 * 65_536)
    brought = placed(cut(data), digest(data))
    upload = await rooms.open_upload()
    await rooms.bring(upload, [*brought[:30], *brought[31:], brought[30]])
    assert 0 < await _reads_of_commit(rooms, upload, data, cut(data)) < 40


async def test_what_another_upload_brought_is_read_back(rooms: ArtifactRooms) -> None:
    data = content(SIZE)
    await rooms.bring(await rooms.open_upload(), placed(cut(data), digest(data)))
    upload = await rooms.open_upload()
    assert await rooms.missing(upload, cut(data)) == []
    assert await _reads_of_commit(rooms, upload, data, cut(data)) > 0


async def test_what_the_store_did_not_confirm_is_read_back(rooms: ArtifactRooms) -> None:
    rooms.store.confirms = False
    data = content(SIZE)
    upload = await rooms.open_upload()
    await rooms.bring(upload, placed(cut(data), digest(data)))
    assert await _reads_of_commit(rooms, upload, data, cut(data)) > 0


async def test_what_is_known_to_be_damaged_is_read_back(rooms: ArtifactRooms, tmp_path) -> None:
    data = content(SIZE)
    upload = await rooms.open_upload()
    await rooms.bring(upload, placed(cut(data), digest(data)))
    (pack,) = rooms.packs("chunks/")
    path = tmp_path / "packs" / f"{pack}.pack"
    stored = bytearray(path.read_bytes())
    stored[1_000_000] ^= 1
    path.write_bytes(stored)
    lease = await rooms.uploads.renew(upload)
    await rooms.database.write(chunk_rows.mark_damaged, lease.namespace_id, digest(cut(data)[15]))
    with pytest.raises(DataLoss) as caught:
        await rooms.commit(upload, data)
    assert caught.value.reason == "CHUNK_CORRUPT"


async def test_a_lie_about_the_files_digest_is_refused(rooms: ArtifactRooms) -> None:
    data, wish = content(SIZE), content(SIZE, seed=1)
    upload = await rooms.open_upload()
    await rooms.bring(upload, placed(cut(data), digest(wish)))
    await _refused(rooms, upload, wish, cut(data))
    await rooms.commit(upload, data)
    assert await rooms.read(digest(data)) == data


async def test_a_lie_about_the_order_is_refused(rooms: ArtifactRooms) -> None:
    pieces = cut(content(10 * 65_536))
    wish = b"".join(reversed(pieces))
    upload = await rooms.open_upload()
    await rooms.bring(upload, placed(reversed(pieces), digest(wish)))
    await _refused(rooms, upload, wish, pieces)
    assert await _reads_of_commit(rooms, upload, wish, pieces[::-1]) == 0


async def test_a_chunk_that_was_kept_from_the_hash_is_refused(rooms: ArtifactRooms) -> None:
    pieces = cut(content(10 * 65_536))
    without = [*pieces[:4], *pieces[5:]]
    wish = b"".join(without)
    upload = await rooms.open_upload()
    await rooms.bring(upload, placed(without, digest(wish)))
    await rooms.send(upload, [pieces[4]])
    await _refused(rooms, upload, wish, pieces)
    await _refused(rooms, upload, wish, without[:-1])


async def test_a_chunk_of_the_same_size_in_anothers_place_is_refused(rooms: ArtifactRooms) -> None:
    data, other = content(10 * 65_536), content(65_536, seed=5)
    pieces = cut(data)
    upload = await rooms.open_upload()
    await rooms.bring(upload, placed(pieces, digest(data)))
    await rooms.send(upload, [other])
    await _refused(rooms, upload, data, [*pieces[:9], other])
    await _refused(rooms, upload, data, [other, *pieces[1:]])


async def test_a_chunk_that_is_not_what_its_digest_names_goes_into_no_hash(rooms: ArtifactRooms) -> None:
    data = content(65_536)
    upload = await rooms.open_upload()
    lie = Brought(digest(b"another"), data, Place(digest(data), 0))
    with pytest.raises(InvalidArgument) as caught:
        await rooms.bring(upload, [lie])
    assert caught.value.reason == "CHUNK_DIGEST_MISMATCH"
    assert rooms.arrivals.arrived(upload, digest(data)).count == 0


@pytest.mark.parametrize("place", [Place(b"short", 0), Place(bytes(33), 0), Place(bytes(32), -1)])
async def test_a_place_that_cannot_be_is_refused(rooms: ArtifactRooms, place: Place) -> None:
    with pytest.raises(InvalidArgument) as caught:
        await rooms.bring(await rooms.open_upload(), [Brought(digest(b"x"), b"x", place)])
    assert caught.value.reason == "INVALID_PLACE"


@pytest.mark.parametrize("seed", range(5))
async def test_whatever_is_said_no_file_is_committed_that_is_not_what_its_digest_names(
    rooms: ArtifactRooms, seed: int
) -> None:
    draw = random.Random(seed)
    pool = [content(draw.choice([50, 100]), index) for index in range(6)]
    for _ in range(12):
        upload = await rooms.open_upload(f"space{draw.randrange(1 << 40)}")
        true = draw.choices(pool, k=draw.randint(1, 8))
        claimed = draw.choice([true, true[::-1], true[:-1], draw.choices(pool, k=3)])
        file = digest(b"".join(claimed))
        told = draw.choice([true, claimed, draw.sample(pool, 4)])
        brought = placed(told, draw.choice([file, digest(b"".join(true))]), draw.choice([0, 0, 50]))
        await rooms.bring(upload, brought)
        await rooms.send(upload, pool)
        if file == digest(b"".join(true)):
            await rooms.commit(upload, b"".join(true), true)
        else:
            await _refused(rooms, upload, b"".join(claimed), true)


def test_of_too_many_files_the_one_that_was_not_touched_for_longest_is_forgotten() -> None:
    arrivals = Arrivals(limit=2)
    chunk, names = Chunk(digest(b"x"), 1), [bytes([name]) * 32 for name in range(3)]
    for name, offset in ((names[0], 0), (names[1], 0), (names[0], 1), (names[2], 0)):
        arrivals.take("upload", Place(name, offset), chunk, b"x")
    assert [arrivals.arrived("upload", name).count for name in names] == [2, 0, 1]
    arrivals.forget("upload", names[0])
    assert arrivals.arrived("upload", names[0]).count == 0
