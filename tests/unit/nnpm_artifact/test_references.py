"""References are the roots of garbage collection."""

import pytest

from nnpm.errors import DataLoss, InvalidArgument, NotFound
from nnpm_artifact.references import Reference
from support.artifact import ArtifactRooms, content, digest


async def test_a_reference_to_an_uncommitted_file_changes_nothing(rooms: ArtifactRooms) -> None:
    data = content(1000)
    await rooms.put(data, keep=False)
    with pytest.raises(NotFound) as caught:
        await rooms.refer("acme/tiny@1.0.0", data, b"never committed")
    assert caught.value.reason == "FILE_NOT_FOUND"
    assert (await rooms.collection.collect()).files == 1


async def test_adding_twice_and_removing_twice_is_no_error(rooms: ArtifactRooms) -> None:
    data = content(1000)
    await rooms.put(data, keep=False)
    await rooms.refer("acme/tiny@1.0.0", data)
    await rooms.refer("acme/tiny@1.0.0", data, data)
    assert len(rooms.packs("references/")) == 1
    await rooms.references.remove("acme", "acme/tiny@1.0.0")
    await rooms.references.remove("acme", "acme/tiny@1.0.0")
    await rooms.references.remove("never-seen", "acme/tiny@1.0.0")
    assert (await rooms.collection.collect()).files == 1


async def test_a_referrer_can_add_files_later(rooms: ArtifactRooms) -> None:
    one, two = content(1000, seed=1), content(1000, seed=2)
    await rooms.put(one, keep=False)
    await rooms.put(two, keep=False)
    await rooms.refer("acme/tiny@1.0.0", one)
    await rooms.refer("acme/tiny@1.0.0", one, two)
    assert (await rooms.collection.collect()).files == 0
    assert await rooms.read(digest(two)) == two


async def test_bad_references_are_refused(rooms: ArtifactRooms) -> None:
    for reference, reason in (
        (Reference("", (bytes(32),)), "INVALID_REFERRER"),
        (Reference("x" * 513, (bytes(32),)), "INVALID_REFERRER"),
        (Reference("acme/tiny@1.0.0", ()), "TOO_MANY_FILES"),
    ):
        with pytest.raises(InvalidArgument) as caught:
            await rooms.references.add("acme", reference)
        assert caught.value.reason == reason
    with pytest.raises(NotFound):
        await rooms.refer("acme/tiny@1.0.0", b"x", namespace="never-seen")


def test_a_reference_reads_back_from_its_bytes() -> None:
    reference = Reference("acme/größe@1.0.0", (bytes(32), digest(b"x")))
    assert Reference.decode(reference.encode()) == reference
    for damaged in (b"", reference.encode()[:-1], b"\xff\xff"):
        with pytest.raises(DataLoss):
            Reference.decode(damaged)
