import fcntl
import hashlib
import random
from pathlib import Path
from typing import BinaryIO

import pytest

from nnpm.client.part_file import PartFile, disk_errors
from nnpm.errors import DataLoss, FailedPrecondition, ResourceExhausted
from nnpm.package.digest import digest_of

CONTENT = random.Random(1).randbytes(100_000)
SIZES = [30_000, 50_000, 20_000]


def recipe() -> list[tuple[int, bytes]]:
    found, offset = [], 0
    for size in SIZES:
        found.append((size, hashlib.sha256(CONTENT[offset : offset + size]).digest()))
        offset += size
    return found


def test_what_comes_in_any_portions_becomes_the_file(tmp_path: Path) -> None:
    part = PartFile(tmp_path / "part", recipe())
    for start in range(0, len(CONTENT), 7_777):
        part.take(CONTENT[start : start + 7_777])
    part.finish(tmp_path / "folder" / "file", digest_of(CONTENT))
    assert (tmp_path / "folder" / "file").read_bytes() == CONTENT
    assert not (tmp_path / "part").exists()


@pytest.mark.parametrize(
    ("left", "kept"),
    [
        (b"", 0),
        (CONTENT[:29_999], 0),
        (CONTENT[:30_000], 30_000),
        (CONTENT[:85_000], 80_000),
        (CONTENT + b"more", 100_000),
        (CONTENT[:40_000] + b"?" * 60_000, 30_000),
        (b"?" * 100_000, 0),
    ],
)
def test_only_whole_right_chunks_of_a_former_run_are_kept(tmp_path: Path, left: bytes, kept: int) -> None:
    (tmp_path / "part").write_bytes(left)
    part = PartFile(tmp_path / "part", recipe())
    assert part.offset == kept
    part.take(CONTENT[kept:])
    part.finish(tmp_path / "file", digest_of(CONTENT))
    assert (tmp_path / "file").read_bytes() == CONTENT


@pytest.mark.parametrize("position", [0, 29_999, 30_000, 99_999])
def test_a_wrong_byte_is_noticed_at_its_chunk(tmp_path: Path, position: int) -> None:
    wrong = bytearray(CONTENT)
    wrong[position] ^= 1
    part = PartFile(tmp_path / "part", recipe())
    with pytest.raises(DataLoss) as caught:
        part.take(bytes(wrong))
    part.close()
    assert caught.value.reason == "CONTENT_MISMATCH"


def test_too_much_and_too_little_are_noticed(tmp_path: Path) -> None:
    part = PartFile(tmp_path / "part", recipe())
    part.take(CONTENT)
    with pytest.raises(DataLoss):
        part.take(b"x")
    part.close()
    short = PartFile(tmp_path / "short", recipe())
    short.take(CONTENT[:-1])
    with pytest.raises(DataLoss):
        short.finish(tmp_path / "file", digest_of(CONTENT))
    assert not (tmp_path / "file").exists()


def test_a_right_recipe_of_another_file_does_not_pass(tmp_path: Path) -> None:
    part = PartFile(tmp_path / "part", recipe())
    part.take(CONTENT)
    with pytest.raises(DataLoss):
        part.finish(tmp_path / "file", digest_of(b"another"))
    assert list(tmp_path.iterdir()) == []


def test_a_link_in_the_parts_place_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "part").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError):
        PartFile(tmp_path / "part", recipe())
    assert (tmp_path / "victim").read_bytes() == b"precious"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is Linux's")
def test_a_full_disk_is_said_to_be_full() -> None:
    def fill() -> None:
        with disk_errors(Path("target")), Path("/dev/full").open("wb", buffering=0) as file:
            file.write(b"x")

    with pytest.raises(ResourceExhausted) as caught:
        fill()
    assert caught.value.reason == "DISK_FULL"
    assert "target" in str(caught.value)


def test_two_do_not_write_one_part(tmp_path: Path) -> None:
    first = PartFile(tmp_path / "part", recipe())
    first.take(CONTENT[:50_000])
    with pytest.raises(FailedPrecondition) as caught:
        PartFile(tmp_path / "part", recipe())
    assert caught.value.reason == "INSTALL_IN_PROGRESS"
    first.take(CONTENT[50_000:])
    first.finish(tmp_path / "file", digest_of(CONTENT))
    assert (tmp_path / "file").read_bytes() == CONTENT
    second = PartFile(tmp_path / "part", recipe())
    assert second.offset == 0
    second.take(CONTENT[:10_000])
    second.close()
    assert (tmp_path / "file").read_bytes() == CONTENT


def test_whoever_opened_a_part_that_became_the_whole_begins_a_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = PartFile(tmp_path / "part", recipe())
    first.take(CONTENT)
    lock = fcntl.flock

    def late(file: BinaryIO, kind: int) -> None:
        monkeypatch.undo()
        first.finish(tmp_path / "file", digest_of(CONTENT))
        lock(file, kind)

    monkeypatch.setattr(fcntl, "flock", late)
    second = PartFile(tmp_path / "part", recipe())
    assert second.offset == 0
    second.take(CONTENT[:1_000])
    second.close()
    assert (tmp_path / "file").read_bytes() == CONTENT
