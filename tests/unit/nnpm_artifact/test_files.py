"""Reading committed files: any range, verified."""

import random
from pathlib import Path

import pytest

from nnpm.errors import DataLoss, InvalidArgument, NotFound, OutOfRange
from support.artifact import ArtifactRooms, content, cut, digest


async def test_any_range_is_what_the_file_has_there(rooms: ArtifactRooms) -> None:
    pieces = [content(200 + index % 91, seed=index) for index in range(2500)]  # three parts of a recipe
    data = b"".join(pieces)
    upload = await rooms.open_upload()
    await rooms.send(upload, pieces)
    await rooms.commit(upload, data, pieces)
    draw = random.Random(7)
    for _ in range(60):
        offset, length = draw.randrange(len(data)), draw.randrange(1, 200_000)
        assert await rooms.read(digest(data), offset, length) == data[offset : offset + length]


@pytest.mark.parametrize(
    ("offset", "length", "expected"),
    [
        (0, 0, slice(0, None)),
        (5, 0, slice(5, None)),
        (65_535, 2, slice(65_535, 65_537)),
        (0, 1, slice(0, 1)),
        (199_999, 1, slice(199_999, None)),
        (199_999, 2**62, slice(199_999, None)),
        (200_000, 0, slice(0, 0)),
        (200_000, 10, slice(0, 0)),
    ],
)
async def test_edges_of_ranges(rooms: ArtifactRooms, offset: int, length: int, expected: slice) -> None:
    data = content(200_000)
    await rooms.put(data)
    assert await rooms.read(digest(data), offset, length) == data[expected]


async def test_ranges_that_cannot_be(rooms: ArtifactRooms) -> None:
    data = content(1000)
    await rooms.put(data)
    with pytest.raises(OutOfRange) as past:
        await rooms.read(digest(data), 1001)
    assert past.value.reason == "OFFSET_PAST_END"
    for offset, length in ((-1, 0), (0, -1), (-(2**63), 5)):
        with pytest.raises(InvalidArgument) as negative:
            await rooms.read(digest(data), offset, length)
        assert negative.value.reason == "INVALID_FILE_RANGE"


async def test_an_unknown_file_is_not_found(rooms: ArtifactRooms) -> None:
    for namespace in ("acme", "never-seen"):
        with pytest.raises(NotFound) as caught:
            await rooms.read(digest(b"x"), namespace=namespace)
        assert caught.value.reason == "FILE_NOT_FOUND"


async def test_a_damaged_chunk_is_never_given_out(rooms: ArtifactRooms, tmp_path: Path) -> None:
    data = content(400_000)
    await rooms.put(data)
    (pack,) = rooms.packs("chunks/")
    path = tmp_path / "packs" / f"{pack}.pack"
    stored = bytearray(path.read_bytes())
    stored[16 + 3 * 65_536] ^= 128
    path.write_bytes(stored)
    with pytest.raises(DataLoss) as caught:
        await rooms.read(digest(data))
    assert caught.value.reason == "CHUNK_CORRUPT"
    assert await rooms.read(digest(data), 0, 3 * 65_536) == data[: 3 * 65_536]
    upload = await rooms.open_upload()
    assert await rooms.missing(upload, cut(data)) == [cut(data)[3]]
    await rooms.send(upload, cut(data)[3:4])
    assert await rooms.read(digest(data)) == data


async def test_a_lost_pack_is_said_to_be_lost(rooms: ArtifactRooms) -> None:
    data = content(100_000)
    await rooms.put(data)
    (pack,) = rooms.packs("chunks/")
    rooms.store.delete(pack)
    with pytest.raises(DataLoss) as caught:
        await rooms.read(digest(data))
    assert caught.value.reason == "PACK_LOST"


async def test_a_cut_off_pack_is_said_to_be_damaged(rooms: ArtifactRooms, tmp_path: Path) -> None:
    data = content(100_000)
    await rooms.put(data)
    (pack,) = rooms.packs("chunks/")
    path = tmp_path / "packs" / f"{pack}.pack"
    path.write_bytes(path.read_bytes()[:50_000])
    with pytest.raises(DataLoss) as caught:
        await rooms.read(digest(data))
    assert caught.value.reason == "PACK_CORRUPT"
