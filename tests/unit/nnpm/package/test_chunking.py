import hashlib
import io
import random
import resource
import threading
import time
from pathlib import Path

import pytest

from nnpm.package.chunking import MAX_SIZE, MIN_SIZE, Chunk, cut
from nnpm.package.digest import digest_of
from support.files import chunked


def noise(size: int) -> bytes:
    """Bytes that are the same on every machine and for ever."""
    return b"".join(hashlib.sha256(b"nnpm golden %d" % number).digest() for number in range(size // 32))


GOLDEN = {
    "noise": (
        noise(1 << 20),
        [115868, 103717, 31071, 86533, 73604, 93151, 101067, 119142, 38611, 102767, 74155, 43347, 65543],
        "18d4f82bd18d6958215938c8628c9f8e986108cf5e1db3101d8ad40516ce5158",
    ),
    "zeros": (
        bytes(600_000),
        [262144, 262144, 75712],
        "fdf049030683de6afab172eca176cbfed31b5a8920dbe66a512e6e709b1d736e",
    ),
    "text": (
        b"the quick brown fox " * 40_000,
        [262144, 262144, 262144, 13568],
        "5e7b461540e15c5b47f43880cdb86df5d67b3848a7f2c2731a4b2d681abd18d6",
    ),
    "least": (noise(1 << 20)[:MIN_SIZE], [16384], "9dcd1dd0ce5104de9fee29222137582f0ce5d134c0ca55236b045160bf23cb1e"),
    "empty": (b"", [], hashlib.sha256(b"").hexdigest()),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_files_are_cut_where_they_always_were(name: str) -> None:
    content, lengths, digest = GOLDEN[name]
    found = [chunk for chunk, _ in cut(io.BytesIO(content))]
    assert [chunk.length for chunk in found] == lengths
    assert hashlib.sha256(b"".join(chunk.digest for chunk in found)).hexdigest() == digest


def test_chunks_cover_the_file_and_name_their_bytes(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(3_000_000)
    path = tmp_path / "file"
    path.write_bytes(content)
    whole = chunked(path)
    offset = 0
    for chunk in whole.chunks:
        assert chunk == Chunk(offset, chunk.length, hashlib.sha256(content[offset : offset + chunk.length]).digest())
        offset += chunk.length
    assert (whole.size, whole.digest, offset) == (len(content), digest_of(content), len(content))
    assert all(MIN_SIZE < chunk.length <= MAX_SIZE for chunk in whole.chunks[:-1])


def test_short_reads_cut_at_the_same_places() -> None:
    class Trickle(io.BytesIO):
        def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
            return super().readinto(buffer[:1000])

    content = noise(1 << 20)
    assert [chunk for chunk, _ in cut(Trickle(content))] == [chunk for chunk, _ in cut(io.BytesIO(content))]


def test_a_change_in_the_middle_changes_few_chunks() -> None:
    content = random.Random(2).randbytes(5_000_000)
    changed = content[:2_000_000] + b"something new" + content[2_000_100:]
    before = {chunk.digest for chunk, _ in cut(io.BytesIO(content))}
    after = {chunk.digest for chunk, _ in cut(io.BytesIO(changed))}
    assert len(after - before) <= 3


def test_a_file_of_a_gigabyte_takes_constant_memory_and_lets_threads_run(tmp_path: Path) -> None:
    path = tmp_path / "sparse"
    with path.open("wb") as file:
        file.truncate(1 << 30)
    ticks = 0
    stop = threading.Event()

    def tick() -> None:
        nonlocal ticks
        while not stop.wait(0.001):
            ticks += 1

    watcher = threading.Thread(target=tick)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    watcher.start()
    started = time.monotonic()
    with path.open("rb", buffering=0) as file:
        size = sum(chunk.length for chunk, _ in cut(file))
    seconds = time.monotonic() - started
    stop.set()
    watcher.join()
    assert size == 1 << 30
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 20_000  # kB
    assert ticks > seconds * 20
