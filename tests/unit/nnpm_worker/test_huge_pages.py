"""A loaded model's memory moves to huge pages: what it holds stays what it was, and no memory is taken for it."""

import mmap
import platform
import re
from pathlib import Path

import numpy as np
import pytest

from nnpm_worker import huge_pages

BYTES = 16 * huge_pages.SIZE
LINUX = tuple(int(part) for part in re.findall(r"\d+", platform.release())[:2]) if platform.system() == "Linux" else ()


@pytest.fixture
def weights() -> np.ndarray:
    """In the middle of a private mapping; its neighbours are never touched, and never joined with it."""
    memory = mmap.mmap(-1, 3 * BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(mmap.MADV_NOHUGEPAGE, 0, BYTES)
    memory.madvise(mmap.MADV_NOHUGEPAGE, 2 * BYTES, BYTES)
    return np.frombuffer(memory, np.uint8, BYTES, BYTES)


def in_smaps(array: np.ndarray, what: str) -> int:
    """Bytes that the system says of the mapping in which an array lies."""
    address = array.__array_interface__["data"][0]
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if (found := re.match(r"([0-9a-f]+)-([0-9a-f]+) ", line)) is not None:
            inside = int(found[1], 16) <= address < int(found[2], 16)
        elif inside and line.startswith(f"{what}:"):
            return int(line.split()[1]) << 10
    raise AssertionError("no such mapping")


@pytest.mark.skipif(LINUX < (6, 1), reason="needs a Linux that makes pages huge when asked to")
def test_what_is_in_use_moves_to_huge_pages(weights: np.ndarray) -> None:
    weights[:] = np.arange(BYTES, dtype=np.uint64).astype(np.uint8)
    assert in_smaps(weights, "AnonHugePages") == 0

    assert huge_pages.use(60.0) >= BYTES - huge_pages.SIZE

    assert in_smaps(weights, "AnonHugePages") >= BYTES // 2
    np.testing.assert_array_equal(weights, np.arange(BYTES, dtype=np.uint64).astype(np.uint8))


@pytest.mark.skipif(not LINUX, reason="reads what Linux says of its mappings")
def test_what_is_mostly_unused_takes_no_more_memory(weights: np.ndarray) -> None:
    weights[: BYTES // 2] = 1
    before = in_smaps(weights, "Rss")

    huge_pages.use(60.0)

    assert in_smaps(weights, "Rss") == before


@pytest.mark.skipif(not LINUX, reason="reads what Linux says of its mappings")
def test_it_ends_when_its_time_is_over(weights: np.ndarray) -> None:
    weights[:] = 7

    assert huge_pages.use(0.0) >= BYTES - huge_pages.SIZE

    assert in_smaps(weights, "AnonHugePages") == 0
    assert (weights == 7).all()
